"""Enqueuing and waiting from coroutines: one round trip for many, an error for each, a loop that goes on."""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
from typing import TYPE_CHECKING, Any

import pytest

from qcore.errors import (
    BackendUnavailable,
    EncodeError,
    PartlyEnqueued,
    PayloadTooLarge,
    ResultNotReady,
    TaskFailed,
)
from qcore.testing import captured, inline
from qcore_sqlite import SqliteBroker
from qcore_sqlite.results import SqliteResults
from tests.integration import tasks
from tests.integration.land import until

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qcore import App
    from qcore.model import Outgoing
    from tests.integration.land import Land

pytestmark = pytest.mark.portable


class Gate:
    """Holds the first call of `enqueue` until it is opened, and counts the messages of each call."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.opened = threading.Event()
        self.entered = threading.Event()
        self.counts: list[int] = []
        #: raised by a call of `enqueue` instead of enqueuing
        self.error: Callable[[Sequence[Outgoing]], Exception | None] = lambda _: None
        before = SqliteBroker.enqueue

        def enqueue(broker: SqliteBroker, messages: Sequence[Outgoing]) -> None:
            self.counts.append(len(messages))
            self.entered.set()
            assert self.opened.wait(100)
            if error := self.error(messages):
                raise error
            before(broker, messages)

        monkeypatch.setattr(SqliteBroker, "enqueue", enqueue)

    async def hold(self, sending: Any) -> asyncio.Task[Any]:
        """Begin a call, and return once it is in the broker."""
        task = asyncio.create_task(sending)
        await asyncio.to_thread(self.entered.wait, 60)
        return task


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    """Return the gate in front of the broker."""
    return Gate(monkeypatch)


def test_a_task_is_enqueued_and_its_result_awaited(land: Land) -> None:
    """Coroutines have the same jobs and results as threads."""
    app, _ = land.both()
    add = app.task(tasks.add)

    async def main() -> None:
        job = await add.aenqueue(2, 3)
        assert await job.aresult(wait=60) == 5
        result = await job.afetch()
        assert result is not None
        assert result.value == 5
        assert (await job.astatus()).state == "succeeded"
        assert await job.acancel() is False
        jobs = await app.aenqueue_many([add.bind(n, 1) for n in range(3)])
        assert await asyncio.gather(*(one.aresult(wait=60) for one in jobs)) == [1, 2, 3]
        assert await (await app.aenqueue(tasks.add, 4, 4)).aresult(wait=60) == 8
        assert await app.aenqueue_many([]) == []
        group = app.group([add.bind(n, n) for n in range(3)]).enqueue()
        assert await group.aresults(wait=60) == [0, 2, 4]

    asyncio.run(main())


def test_what_is_missing_or_failed_is_said_as_to_a_thread(land: Land) -> None:
    """The errors are those of `result`; a wait ends when its time is over, and others go on waiting."""
    app = land.app(max_attempts=1)
    add, fail = app.task(tasks.add), app.task(tasks.fail)

    async def main() -> None:
        waits = await add.aenqueue(1, 1)
        with pytest.raises(ResultNotReady, match=r"queued|no cluster"):
            await waits.aresult(wait=0.05)
        assert await waits.afetch() is None
        long = asyncio.create_task(waits.aresult(wait=60))
        land.cluster(max_attempts=1)
        with pytest.raises(TaskFailed, match="no"):
            await (await fail.aenqueue("no")).aresult(wait=60)
        assert await long == 2
        with pytest.raises(ValueError, match="not a task id"):
            await app.results.aget("abc")

    asyncio.run(main())


def test_what_is_enqueued_meanwhile_goes_out_together(land: Land, gate: Gate) -> None:
    """A thousand coroutines that enqueue while the broker is busy share one call of it."""
    add = land.app().task(tasks.add)

    async def main() -> None:
        first = await gate.hold(add.aenqueue(0, 0))
        others = [asyncio.create_task(add.aenqueue(n, n)) for n in range(999)]
        await asyncio.sleep(0)
        gate.opened.set()
        jobs = [await first, *await asyncio.gather(*others)]
        assert len({job.id for job in jobs}) == 1000

    asyncio.run(main())
    assert gate.counts[0] == 1
    assert len(gate.counts) <= 3
    assert sum(gate.counts) == 1000


def test_the_loop_goes_on_while_the_broker_does_not_answer(land: Land, gate: Gate) -> None:
    """A broker that hangs holds those that enqueue, and no other coroutine."""
    add = land.app().task(tasks.add)

    async def main() -> None:
        sending = await gate.hold(add.aenqueue(0, 0))
        for _ in range(100):
            await asyncio.sleep(0)
        assert not sending.done()
        gate.opened.set()
        await sending

    asyncio.run(main())


def test_each_caller_has_its_own_error(land: Land, gate: Gate) -> None:
    """An argument that cannot be sent, or one message too large, fails for its caller alone."""
    app = land.app()
    add = app.task(tasks.add)

    def refuse(messages: Sequence[Outgoing]) -> Exception | None:
        return PayloadTooLarge("too large") if any(len(one.body) > 5000 for one in messages) else None

    gate.error = refuse

    odd: list[Any] = [1, object(), os.urandom(9000), 2]

    async def main() -> list[object]:
        first = await gate.hold(add.aenqueue(0, 0))
        others = [asyncio.create_task(add.aenqueue(n, n)) for n in odd]
        await asyncio.sleep(0)
        gate.opened.set()
        await first
        return list(await asyncio.gather(*others, return_exceptions=True))

    one, strange, large, two = asyncio.run(main())

    assert isinstance(strange, EncodeError)
    assert isinstance(large, PayloadTooLarge)
    assert not isinstance(one, BaseException)
    assert not isinstance(two, BaseException)
    assert app.queue.size().ready == 3


def test_an_outage_is_raised_to_each(land: Land, gate: Gate) -> None:
    """Nothing is sent again by itself, because the outcome is unknown; each caller may."""
    add = land.app().task(tasks.add)

    async def main() -> list[object]:
        first = await gate.hold(add.aenqueue(0, 0))
        gate.error = lambda _: BackendUnavailable("away")
        others = [asyncio.create_task(add.aenqueue(n, n)) for n in range(3)]
        await asyncio.sleep(0)
        gate.opened.set()
        return list(await asyncio.gather(first, *others, return_exceptions=True))

    errors = asyncio.run(main())

    assert [str(one) for one in errors] == ["away"] * 4
    assert len({id(one) for one in errors}) == 4


def test_each_caller_learns_which_of_its_messages_were_accepted(land: Land, gate: Gate) -> None:
    """Of a call that the broker accepted in part, each caller learns what became of its own messages."""
    app = land.app()
    add = app.task(tasks.add)

    def half(messages: Sequence[Outgoing]) -> Exception | None:
        if len(messages) == 1:
            return None
        error = BackendUnavailable("half")
        error.accepted = [one.id for one in messages[:3]]
        return error

    gate.error = half

    async def main() -> list[Any]:
        first = await gate.hold(add.aenqueue(0, 0))
        some = [[add.bind(n, k) for k in range(2)] for n in range(3)]
        others = [asyncio.create_task(app.aenqueue_many(calls)) for calls in some]
        await asyncio.sleep(0)
        gate.opened.set()
        await first
        return list(await asyncio.gather(*others, return_exceptions=True))

    whole, part, none = asyncio.run(main())

    assert [len(job.id) for job in whole] == [32, 32]
    assert isinstance(part, PartlyEnqueued)
    assert [job is not None for job in part.jobs] == [True, False]
    assert type(none) is BackendUnavailable


def test_what_was_cancelled_before_it_went_out_is_not_enqueued(land: Land, gate: Gate) -> None:
    """A coroutine that is cancelled while the broker is busy has enqueued nothing."""
    app = land.app()
    add = app.task(tasks.add)

    async def main() -> None:
        first = await gate.hold(add.aenqueue(0, 0))
        other = asyncio.create_task(add.aenqueue(1, 1))
        await asyncio.sleep(0)
        other.cancel()
        await asyncio.sleep(0)
        gate.opened.set()
        await first
        # what comes after it in the same queue has gone out
        await add.aenqueue(2, 2)

    asyncio.run(main())
    assert app.queue.size().ready == 2


#: the app of the test that runs, for tasks that run in this process
APPS: list[App] = []


async def enqueue_and_wait() -> int:
    """Enqueue a task inside of a task, and wait for it."""
    found: int = await (await APPS[-1].aenqueue(tasks.add, 2, 3)).aresult()
    return found


REQUEST: contextvars.ContextVar[str] = contextvars.ContextVar("request", default="")


def test_hooks_see_the_context_of_the_caller(land: Land, monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages that go out together are sealed each in the context of its coroutine."""
    app = land.app()
    seen = []

    def hook(event: Any) -> None:
        seen.append(REQUEST.get())

    monkeypatch.setattr(type(app.runtime), "pre_enqueue", (hook,))
    add = app.task(tasks.add)

    async def one(name: str) -> None:
        REQUEST.set(name)
        await add.aenqueue(1, 1)

    async def main() -> None:
        await asyncio.gather(one("a"), one("b"))

    asyncio.run(main())
    assert sorted(seen) == ["a", "b"]


def test_other_queues_and_tests_take_the_same_way(land: Land, monkeypatch: pytest.MonkeyPatch) -> None:
    """The option `queue` leads to its queue; what a test captures or runs inline reaches no broker."""
    monkeypatch.setenv("XDG_STATE_HOME", str(land.folder))
    app = land.app(sqlite={})
    APPS.append(app)
    add = app.task(tasks.add)

    async def both() -> None:
        mixed = [add.bind(1, 1), add.using(cluster="aside").bind(2, 2)]
        assert len(await app.aenqueue_many(mixed)) == 2
        await add.using(cluster="aside").aenqueue(3, 3)

    async def run() -> None:
        assert await (await add.aenqueue(2, 2)).aresult() == 4
        assert await (await app.aenqueue(enqueue_and_wait)).aresult() == 5

    asyncio.run(both())
    assert (app.queue.size().ready, app.for_cluster("aside").queue.size().ready) == (1, 2)
    with captured(app) as found:
        asyncio.run(both())
        assert len(found) == 3
    with inline(app):
        asyncio.run(run())
    assert app.queue.size().ready == 1


def test_a_forked_child_has_a_thread_of_its_own(land: Land) -> None:
    """A child enqueues and waits although the threads of its parent are not there."""
    app, _ = land.both()
    add = app.task(tasks.add)

    async def main() -> int:
        found: int = await (await add.aenqueue(20, 1)).aresult(wait=60)
        return found

    assert asyncio.run(main()) == 21
    if (pid := os.fork()) == 0:
        try:
            os._exit(asyncio.run(main()))
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 21


def test_a_loop_that_is_gone_stops_nobody(land: Land, gate: Gate) -> None:
    """A program that ends its loop while a message is on its way can go on with another loop."""
    app = land.app()
    add = app.task(tasks.add)

    async def leave() -> None:
        await gate.hold(add.aenqueue(0, 0))

    asyncio.run(leave())
    gate.opened.set()
    asyncio.run(add.aenqueue(1, 1))
    until(lambda: app.queue.size().ready == 2, "both messages to be there")


@pytest.mark.parametrize("error", [SystemExit, StopIteration, KeyboardInterrupt, GeneratorExit])
def test_whatever_a_hook_raises_the_next_call_is_served(
    land: Land, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    """Its caller gets an error, and the thread that enqueues for all coroutines goes on."""
    app = land.app()
    add = app.task(tasks.add)

    def hook(event: Any) -> None:
        del event
        raise error

    async def main() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(type(app.runtime), "pre_enqueue", (hook,))
            with pytest.raises(RuntimeError, match=error.__name__):
                await asyncio.wait_for(add.aenqueue(1, 1), 60)
        await asyncio.wait_for(add.aenqueue(2, 2), 60)

    asyncio.run(main())
    assert app.queue.size().ready == 1


def test_whatever_a_store_raises_the_next_wait_is_served(land: Land, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its caller gets an error, and the thread that looks for results goes on."""
    app, _ = land.both()
    job = app.task(tasks.add).enqueue(1, 1)

    def get(*_: object) -> None:
        raise SystemExit

    async def main() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(SqliteResults, "get", get)
            with pytest.raises(RuntimeError, match="SystemExit"):
                await asyncio.wait_for(job.aresult(wait=60), 60)
        assert await asyncio.wait_for(job.aresult(wait=60), 60) == 2

    asyncio.run(main())
