"""What users test their own code with."""

from __future__ import annotations

import pytest

from qcore import App, Config
from qcore.errors import EncodeError, TaskFailed
from qcore.testing import captured, inline


@pytest.fixture
def app() -> App:
    """Return an app on a queue in memory."""
    return App(Config.from_dict({"name": "kit", "secret_key": "k" * 40, "memory": {}}))


def test_what_is_enqueued_is_kept_and_not_sent(app: App) -> None:
    """Names, arguments and options are kept in order; the broker sees nothing."""
    with captured(app) as queue:
        job = app.enqueue("math.copysign", 2, -2)
        app.async_task("math.sqrt", 4, group="roots")

    assert queue.names == ["math.copysign", "math.sqrt"]
    assert queue.one("math.copysign").args == (2, -2)
    assert queue.one("math.copysign").id == job.id
    assert queue.one("math.sqrt").options.group == "roots"
    assert [task.name for task in queue] == queue.names
    assert len(queue) == 2
    assert app.queue.size().ready == 0


def test_what_was_not_enqueued_is_told(app: App) -> None:
    """The message of a failed assertion shows what was enqueued instead."""
    with captured(app) as queue:
        queue.assert_nothing_enqueued()
        app.enqueue("builtins.dict", 1, key="x")

    queue.assert_enqueued("builtins.dict", 1, key="x")
    with pytest.raises(
        AssertionError, match=r"dict\(1\) was not enqueued; enqueued: builtins\.dict\(1, key='x'\)"
    ):
        queue.assert_enqueued("builtins.dict", 1)
    with pytest.raises(AssertionError, match="nothing should have been enqueued; enqueued: builtins"):
        queue.assert_nothing_enqueued()
    with pytest.raises(AssertionError, match=r"math\.sqrt was enqueued 0 times, not once"):
        queue.one("math.sqrt")


def test_what_was_kept_may_be_run(app: App) -> None:
    """Running the captured tasks stores their results."""
    with captured(app) as queue:
        job = app.enqueue("math.copysign", 2, -2)
        queue.run()
        assert len(queue) == 0

    assert job.result() == -2.0


def test_what_was_kept_may_be_forgotten(app: App) -> None:
    """A test may look at its second half only."""
    with captured(app) as queue:
        app.enqueue("math.sqrt", 4)
        queue.clear()

    queue.assert_nothing_enqueued()


def test_arguments_are_checked_though_nothing_is_sent(app: App) -> None:
    """What could not be sent in earnest cannot be captured."""
    with captured(app), pytest.raises(EncodeError):
        app.enqueue("builtins.print", object())


def test_tasks_run_where_they_are_enqueued(app: App) -> None:
    """The result is there as soon as the task is enqueued."""
    with inline(app):
        assert app.enqueue("math.copysign", 2, -2).result() == -2.0

    assert app.queue.size().ready == 0


def test_a_task_that_fails_inline_fails_in_its_result(app: App) -> None:
    """Enqueuing does not raise what the task raises; the result does."""
    with inline(app):
        job = app.enqueue("math.sqrt", -1)

    with pytest.raises(TaskFailed, match="ValueError"):
        job.result()


def test_the_blocks_end(app: App) -> None:
    """After the block, also after an error in it, tasks go to the broker again."""
    with pytest.raises(KeyError), captured(app):
        raise KeyError
    with inline(app):
        pass

    app.enqueue("math.sqrt", 4)

    assert app.queue.size().ready == 1


def test_what_is_enqueued_on_other_queues_is_captured_too() -> None:
    """By the option, by the App of that queue and the other way round; each runs with its own key."""
    app = App(Config.from_dict({"name": "kit", "secret_key": "k" * 40, "memory": {}}))
    mail = app.for_cluster("mail")

    with captured(app) as seen:
        by_option = app.async_task("math.sqrt", 4, cluster="mail")
        sent = mail.enqueue("math.sqrt", 9)
        ours = mail.for_cluster("kit").enqueue("math.sqrt", 16)
        assert [task.args for task in seen] == [(4,), (9,), (16,)]
        seen.run()

    assert mail.for_cluster("kit") is app
    assert [mail.results.get(by_option), sent.result(), ours.result()] == [2.0, 3.0, 4.0]
    assert mail.queue.size().ready == app.queue.size().ready == 0


def test_an_app_delivers_to_the_broker_again_after_the_block(app: App) -> None:
    """Also when the block ends with an error, and for blocks in blocks."""
    with captured(app) as outer:
        with inline(app), pytest.raises(TaskFailed):
            app.enqueue("math.sqrt", -4).result()
        with pytest.raises(RuntimeError), inline(app):
            raise RuntimeError
        app.enqueue("math.sqrt", 9)

    assert outer.names == ["math.sqrt"]
    app.enqueue("math.sqrt", 16)
    assert app.queue.size().ready == 1
    assert (app.queue.purge(), app.queue.size().ready) == (1, 0)
