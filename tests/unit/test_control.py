"""What follows from calling a waiting task off, on a queue in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from qcore import App, Config
from qcore.errors import BackendUnavailable, BadSignature, EnvelopeError
from qcore.messages.head import read_head
from qcore.model import ID_AT, Outgoing, State
from qcore.status import Progress
from qcore_queues.flags import PAUSED, ControlFlags
from tests.unit.test_batch import Moody

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.portable


def task(number: int = 0) -> int:
    """Stand for work."""
    return number


def fails() -> None:
    """Fail."""
    raise ValueError


def told(result: object) -> None:
    """Stand for a hook."""


@pytest.fixture
def app() -> Iterator[App]:
    """Yield a producer on an empty queue."""
    made = App(Config.from_dict({"name": "steered", "secret_key": "k" * 40, "memory": {}}))
    yield made
    made.close()


def waiting(app: App) -> list[str]:
    """Return the names of the tasks in the queue, which is emptied."""
    with app.runtime.brokers.connection() as broker:
        opened = [app.runtime.envelope.open(one.body) for one in broker.lease(100, 0.0)]
    return [read_head(one.head).name for one in opened]


def test_the_callback_of_a_cancelled_task_is_called(app: App) -> None:
    """It learns of the failure, as of any."""
    job = app.task(task).using(hook=told).enqueue(1)

    assert job.cancel()

    assert [f"{__name__}.told"] == waiting(app)


def test_a_cancelled_unique_task_may_be_enqueued_again(app: App) -> None:
    """Its place is given up at once."""
    once = app.task(task).using(unique=True)
    first = once.enqueue(1)
    assert once.enqueue(1).id == first.id

    assert first.cancel()

    assert once.enqueue(1).id != first.id
    assert app.queue.size().ready == 1


def test_a_message_that_is_not_ours_goes_back(app: App) -> None:
    """A message that cannot be verified is dead-lettered by a worker, not dropped by a producer."""
    job = app.task(task).enqueue(1)
    with app.runtime.brokers.connection() as broker:
        (body,) = broker.remove_messages([bytes.fromhex(job.id)])
        broker.enqueue([Outgoing(body[ID_AT], body[:-1] + bytes([body[-1] ^ 1]))])

    with pytest.raises(EnvelopeError):
        job.cancel()

    assert app.queue.size().ready == 1
    assert job.fetch() is None
    with app.runtime.brokers.connection() as broker, pytest.raises(BadSignature):
        app.runtime.envelope.open(broker.lease(1, 0.0)[0].body)


def test_a_task_whose_end_cannot_be_written_goes_back(app: App) -> None:
    """It was out of the queue already when the store failed: nothing would be left of it."""
    job = app.task(task).enqueue(1)
    broker = app.runtime.make_broker()
    broken: Any = Moody(broker, "commit_and_lease", [BackendUnavailable("gone")])
    app.runtime.brokers.give(broken)

    with pytest.raises(BackendUnavailable, match="gone"):
        job.cancel()

    assert app.queue.size().ready == 1
    assert job.cancel()
    assert app.queue.size().ready == 0


def test_a_result_that_came_first_stays(app: App) -> None:
    """A task that has succeeded or failed for good is not cancelled, and none is cancelled twice."""
    job = app.task(task).using(sync=True).enqueue(1)
    off = app.task(task).enqueue(2)

    assert [job.cancel(), off.cancel(), off.cancel()] == [False, True, False]

    results = [job.fetch(), off.fetch()]
    assert [(one.state, one.kind) for one in results if one] == [
        (State.SUCCESS, "success"),
        (State.FAILED, "cancelled"),
    ]
    assert ["succeeded", "cancelled"] == [job.status().state, off.status().state]


def test_a_queue_is_paused_by_a_mark_of_ours(app: App) -> None:
    """One that was copied from another place does not count."""
    assert not app.queue.is_paused()
    app.queue.pause()
    assert app.queue.is_paused()
    app.queue.resume()
    assert not app.queue.is_paused()

    marks = ControlFlags(app.runtime.control_sealer)
    assert marks.verify(PAUSED, marks.sign(PAUSED))
    assert not marks.verify(PAUSED, marks.sign("cancel:00"))
    assert not marks.verify(PAUSED, None)


def test_a_bar_of_an_ended_task_comes_to_its_end(app: App) -> None:
    """Whoever polls the progress sees the task complete, and not None."""
    job, failing = app.task(task).using(sync=True).enqueue(), app.task(fails).using(sync=True).enqueue()

    assert Progress(done=1.0, total=1.0) == job.status().progress
    assert failing.status().progress is None
