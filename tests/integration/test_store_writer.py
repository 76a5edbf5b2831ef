"""What somebody can do who writes to broker and stores, and has no key."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from qcore.cli.overview import statuses
from qcore.coordination import BarrierMember
from qcore.errors import EnvelopeError, ResultNotReady, TaskFailed
from qcore.messages.sealer import STATUS, Sealer
from qcore.messages.workflow import barrier_key, read_workflow
from qcore.model import ID_AT, Outgoing, State
from qcore_queues.flags import PAUSED, ControlFlags, cancel_key
from tests.integration import flow_tasks, tasks
from tests.integration.land import final, lines, until

if TYPE_CHECKING:
    from qcore import App
    from tests.integration.land import Land

pytestmark = pytest.mark.portable

#: a key that is not ours
STRANGE = "a key of somebody else, which no process of ours knows"


def coordination(app: App) -> Any:
    """Return a connection to the coordination store."""
    return app.runtime.coordination_stores.connection()


def forged_flags(app: App, key: str) -> list[bytes]:
    """Return what somebody without the key can put under the key of a flag."""
    name = app.config.name
    other = ControlFlags(app.runtime.control_sealer).sign("cancel:" + "00" * 16)
    wrong_purpose = app.runtime.status_sealer.seal(key.encode(), b"")
    strange = ControlFlags(Sealer([STRANGE], "control", name)).sign(key)
    return [b"1", b"", other, wrong_purpose, strange, strange[:20]]


# -- prevented by the seal ----------------------------------------------------------------------


def test_a_queue_is_not_paused_by_a_forged_flag(land: Land) -> None:
    """Only a flag signed under this very key pauses: junk and flags from elsewhere are ignored."""
    app, cluster = land.both()
    for forged in forged_flags(app, PAUSED):
        with coordination(app) as store:
            store.set_flag(PAUSED, forged, 60)

        assert app.enqueue(tasks.add, 1, 1).result(wait=100) == 2
        assert not app.queue.is_paused()
    assert not cluster.status().paused


def test_a_task_is_not_cancelled_by_a_forged_flag(land: Land) -> None:
    """A flag of another task, or one that is signed with another key, cancels nothing."""
    app = land.app()
    jobs = [app.enqueue(tasks.nap, 0.5) for _ in range(6)]
    for job, forged in zip(jobs, forged_flags(app, cancel_key(bytes(16))), strict=True):
        with coordination(app) as store:
            store.set_flag(cancel_key(bytes.fromhex(job.id)), forged, 60)

    land.cluster(workers=3)

    assert all(final(job).success for job in jobs)


@pytest.mark.parametrize("state", [State.SUCCESS, State.FAILED])
def test_a_result_is_not_forged(land: Land, state: State) -> None:
    """A result of another task, a changed one and junk are refused; the state beside it is not believed."""
    app, _ = land.both(max_attempts=1)
    good, bad = app.enqueue(tasks.add, 1, 1), app.enqueue(tasks.fail)
    final(good)
    final(bad)
    with app.runtime.stores.connection() as store:
        ours, other = store.get([bytes.fromhex(good.id), bytes.fromhex(bad.id)])
        assert ours is not None
        assert other is not None
        body = ours.body
        for forged in (other.body, body[:-1] + bytes([body[-1] ^ 1]), body[:40], b"", b"\0" * 200):
            store.delete([ours.id])
            store.save([msgspec.structs.replace(ours, body=forged, state=state)])
            with pytest.raises(EnvelopeError):
                app.results.get(good.id)
        store.delete([other.id])
        store.save([msgspec.structs.replace(other, state=State.SUCCESS)])
    with pytest.raises(TaskFailed):
        app.results.get(bad.id)


def test_a_callback_is_never_called_with_forged_members(land: Land) -> None:
    """Members that came by another way end the barrier early, but the callback is not called with them."""
    app = land.app()
    members = [(flow_tasks.double, (number,)) for number in range(3)]
    job = app.group(members).then((flow_tasks.total, (str(land.file()),)))
    opened = app.runtime.envelope.open(bodies(land)[0])
    member = read_workflow(opened.tail).member
    assert member is not None
    with coordination(app) as store:
        store.join_barrier([BarrierMember(barrier_key(member.flow), 2, b"forged")], 600)

    land.cluster(workers=1)

    result = until(lambda: job.fetch(1.0), "the callback to be decided")
    assert result.kind == "skipped"
    assert "cannot be trusted" in result.error
    assert lines(land.file()) == []


def test_a_status_is_not_forged(land: Land) -> None:
    """What was not signed with our key is not a cluster."""
    app = land.app()
    status = Sealer([STRANGE], "status", app.config.name).seal(STATUS, b"{}")
    with app.runtime.brokers.connection() as broker:
        for number, forged in enumerate((b"", b"junk", status, status[:36] + b"{}")):
            broker.publish_status(f"forged {number}", forged, 60)
        found, unreadable = statuses(app.runtime, broker.statuses())

    assert found == []
    assert unreadable


def test_junk_fills_no_backend(land: Land) -> None:
    """However many messages nobody has signed, few of them are kept at any time, and tasks run beside."""
    app = land.app(unsigned_limit=50)
    with app.runtime.brokers.connection() as broker:
        for start in range(0, 3000, 1000):
            broker.enqueue([Outgoing(bytes(16), b"junk %d" % (start + number)) for number in range(1000)])
    job = app.enqueue(tasks.add, 1, 1)

    land.cluster(unsigned_limit=50)

    most = 0
    while not (found := job.fetch(0.0)):
        most = max(most, app.queue.size().dead_letters or 0)
    assert found.value == 2
    most = max(most, app.queue.size().dead_letters or 0)
    assert 0 < most <= 150


# -- not prevented ------------------------------------------------------------------------------


def test_a_captured_pause_pauses_again(land: Land) -> None:
    """Who can write can withhold: by a flag that was ours, as well as by removing the messages."""
    app = land.app()
    app.queue.pause()
    with coordination(app) as store:
        (captured,) = store.get_flags([PAUSED])
    app.queue.resume()

    with coordination(app) as store:
        store.set_flag(PAUSED, captured, 60)

    assert app.queue.is_paused()


def test_a_delayed_task_can_be_made_ready_early(land: Land) -> None:
    """When a message is due stands beside it, not in it."""
    app, _ = land.both()
    job = app.task(tasks.add).using(delay=3600).enqueue(1, 1)
    with closing(sqlite3.connect(land.folder / "queue.db")) as file, file:
        file.execute("update returned set at = 0")
    app.enqueue(tasks.add, 1, 1)

    assert job.result(wait=100) == 2


def test_permits_can_be_taken_from_their_tasks(land: Land) -> None:
    """Limits and locks are kept beside the queue: who holds all permits has the tasks wait."""
    app = land.app()
    limited = app.task(tasks.add).using(concurrency=1, limit_key="one")
    with coordination(app) as store:
        assert store.acquire("limit:one", b"nobody's", 1, 600.0) is None
    land.cluster()

    job = limited.enqueue(1, 1)

    with pytest.raises(ResultNotReady):
        job.result(wait=1.0)


def test_a_copy_runs_once_the_ids_of_ended_messages_are_deleted(land: Land) -> None:
    """Replay is prevented by what is kept, and who can delete that can replay."""
    app = land.app()
    app.enqueue(tasks.pid, str(land.file()))
    (captured,) = bodies(land)
    land.cluster()
    until(lambda: len(lines(land.file())) == 1 and not bodies(land), "the first run")

    with closing(sqlite3.connect(land.folder / "queue.db")) as file, file:
        file.execute("delete from ended")
    with app.runtime.brokers.connection() as broker:
        broker.enqueue([Outgoing(captured[ID_AT], captured)])

    until(lambda: len(lines(land.file())) == 2, "the second run")


def bodies(land: Land) -> list[bytes]:
    """Return the messages in the file, as whoever can read it sees them."""
    with closing(sqlite3.connect(land.folder / "queue.db")) as file:
        return [body for (body,) in file.execute("select body from queue order by seq")]
