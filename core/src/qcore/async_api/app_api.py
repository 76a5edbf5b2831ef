"""What an `App` offers to coroutines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qcore.lazy import cached
from qcore.tasks.call import Call
from qcore.tasks.task import bind
from qcore_values import validators

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from qcore.async_api.group_commit import GroupCommit, Sends
    from qcore.tasks.task import Job, Sender


class EnqueuesAsync:
    """Enqueues from coroutines of any event loop, which goes on meanwhile.

    What is enqueued in the same moment goes to the broker in one round trip. Each caller has its own
    error.
    """

    @cached
    def group_commit(self) -> GroupCommit:
        """What enqueues for coroutines; its thread begins with the first."""
        from qcore.async_api.group_commit import GroupCommit  # noqa: PLC0415 - for programs with asyncio only

        return GroupCommit()

    async def aenqueue(
        self: Sends, function: Callable[..., Any] | Sender[..., Any] | str, /, *args: Any, **kwargs: Any
    ) -> Job[Any]:
        """Enqueue a call of any importable function; see `App.enqueue`."""
        return (await self.asend([bind(function, args, kwargs)]))[0]

    async def aenqueue_many(self: Sends, calls: Iterable[Call]) -> list[Job[Any]]:
        """Enqueue many bound tasks in one round trip; all are accepted, or none."""
        return await self.asend(validators.calls(calls, Call))

    async def asend(self: Sends, calls: Sequence[Call]) -> list[Job[Any]]:
        """Seal calls and deliver them; those that join a transaction of the caller's in its thread.

        An asynchronous connection is awaited in the caller's loop, which goes on meanwhile.
        """
        if not calls:
            return []
        if connections := [one for call in calls if (one := call.options.connection) is not None]:
            from qcore_loop.lending import in_thread, is_asynchronous  # noqa: PLC0415 - as above

            return await in_thread(self.send, calls) if is_asynchronous(connections[0]) else self.send(calls)
        return await self.group_commit.send(self, calls)
