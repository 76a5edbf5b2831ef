"""Chains, groups and what waits for all of a group."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from qcore.errors import NotSupported
from qcore.flows.builder import FlowBuilder, callback_id, chain_ids, member_id, new_flow
from qcore.flows.handles import CallbackJob, ChainJob, GroupJob
from qcore.messages.workflow import COLLECTED
from qcore.tasks.call import DEFAULT, Call, Options, with_options
from qcore.tasks.task import Job, Queue, Sender

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qcore.runtime import Runtime
    from qcore.tasks.call import Sealed

#: what a chain or a group is made of: a bound task, or a function by object or name, which is
#: called without arguments of its own, or (function, args, kwargs)
Step: TypeAlias = "Call | Sender[..., Any] | Callable[..., Any] | str | tuple[Any, ...]"


class Chain:
    """Steps one behind the other, as a member of a group; on their own `App.chain` runs them."""

    def __init__(self, steps: Iterable[Step], *, pipe_result: bool = False) -> None:
        self.steps = list(steps)
        #: each step is given what the one before returned as its first argument
        self.pipe_result = pipe_result
        if not self.steps:
            msg = "a chain of no steps; give it at least one"
            raise ValueError(msg)


class Flowing:
    """What an App says of tasks that belong together."""

    if TYPE_CHECKING:

        def _bound(
            self,
            function: Callable[..., Any] | Sender[..., Any] | str,
            args: tuple[Any, ...],
            kwargs: Mapping[str, Any],
            options: Options,
        ) -> Call: ...

        def _place(self, cluster: str | None) -> tuple[str, Runtime, Queue]: ...

        def _send_flow(self, sealed: Sequence[Sealed], *, gathers: bool, delays: bool) -> None: ...

    def chain(self, steps: Iterable[Step] | Chain, *, pipe_result: bool = False) -> ChainJob:
        """Run steps one behind the other; each is enqueued when the one before has ended.

        A step that fails for good ends the chain, unless it was made `using(continue_on_failure=True)`: the
        handle then fails and says where. Steps that ran have results of their own.

        Args:
            steps: bound tasks, or functions by object or name, or (function, args, kwargs); or a
                `Chain` of them, which says itself whether it feeds.
            pipe_result: each step is given what the one before returned as its first argument; behind
                one that failed, None.

        Raises:
            EncodeError: an argument cannot be serialised; the message names it.
            NotSupported: they are for several queues.
            TypeError: a step is enqueued already, or a chain.
            ValueError: there are no steps.

        """
        made = steps if isinstance(steps, Chain) else Chain(steps, pipe_result=pipe_result)
        calls = [self._call(step) for step in made.steps]
        queue, runtime, app = self._place(_cluster(calls))
        last = new_flow()
        weaver = FlowBuilder(runtime, queue, calls)
        self._send_flow(
            weaver.chain(calls, last, pipe_result=made.pipe_result or pipe_result),
            gathers=False,
            delays=weaver.delays,
        )
        return _handle(app, calls, last)

    def group(self, members: Iterable[Step | Chain | list[Any]]) -> Group:
        """Return tasks that are enqueued together, and may have a callback.

        Args:
            members: bound tasks, or functions by object or name, or (function, args, kwargs); a
                list of these, or a `Chain`, is a chain.

        """
        made = []
        for member in members:
            chain = (
                member
                if isinstance(member, Chain)
                else Chain(member if isinstance(member, list) else [member])
            )
            made.append(([self._call(step) for step in chain.steps], chain.pipe_result))
        return Group(self, made)

    def iter(
        self, function: Callable[..., Any] | Sender[..., Any] | str, args: Iterable[Any], /, **options: Any
    ) -> CallbackJob:
        """Call a function once for each item; the handle's result is the list of what they returned.

        Args:
            function: what to call; a declared task keeps its options.
            args: for each call a tuple of arguments, or a single one.
            **options: of the collected result, fields of `Options`.

        Raises:
            EncodeError: an argument cannot be serialised; the message names it.
            NotSupported: the result store cannot gather results.

        """
        items = [item if isinstance(item, tuple) else (item,) for item in args]
        calls = [self._bound(function, item, {}, DEFAULT) for item in items]
        # It was asked for as one result: that is kept where other successes are not.
        made = with_options(Options(save=True), options)
        if made.cluster is None:
            made = with_options(made, {"cluster": _cluster(calls)})
        return Group(self, [([call], False) for call in calls]).then(self._bound(COLLECTED, (), {}, made))

    def _call(self, step: Step | Job | Chain | list[Any]) -> Call:
        if isinstance(step, Call):
            return step
        if isinstance(step, (Job, Chain, list)):
            kind = (
                "enqueued already"
                if isinstance(step, Job)
                else "a chain, which only a group may have for one"
            )
            msg = f"a step is a task with its arguments, such as task.bind(1), and {step!r:.80} is {kind}"
            raise TypeError(msg)
        if not isinstance(step, tuple):
            return self._bound(step, (), {}, DEFAULT)
        if not 1 <= len(step) <= 3:
            msg = f"a step is (function, args, kwargs), and {step!r} has {len(step)} parts"
            raise ValueError(msg)
        function, args, kwargs = (*step, (), {})[:3] if len(step) == 1 else (*step, {})[:3]
        if isinstance(args, str | bytes | Mapping) or not isinstance(args, Iterable):
            msg = (
                "the arguments of a step are a list or a tuple, such as (1,) for a single one, "
                f"got {args!r:.80} in {step!r:.80}"
            )
            raise TypeError(msg)
        if kwargs is not None and not isinstance(kwargs, Mapping):
            msg = f"the named arguments of a step are a mapping, got {kwargs!r:.80} in {step!r:.80}"
            raise TypeError(msg)
        return self._bound(function, tuple(args), kwargs or {}, DEFAULT)


class Group:
    """Tasks that are enqueued together."""

    def __init__(self, app: Flowing, members: Sequence[tuple[Sequence[Call], bool]]) -> None:
        self._app = app
        self._members = members

    def __len__(self) -> int:
        return len(self._members)

    def enqueue(self) -> GroupJob:
        """Put all members on the queue.

        Up to as many as the broker takes at once (its `bulk`) are accepted together or not at all.

        Raises:
            EncodeError: an argument cannot be serialised; the message names it.
            NotSupported: they are for several queues.

        """
        flow = new_flow()
        self._send(flow, None, whole=False)
        return self._job(flow)

    def then(self, callback: Step, *, results: bool = False) -> CallbackJob:
        """Put all members on the queue, and have a callback called once when all have ended.

        Its first argument is the list of what they returned, in their order. If a member failed
        for good it is not called, and its handle fails and says which.

        Args:
            callback: a bound task, or a function by object or name, or (function, args, kwargs).
            results: it is called however they ended, with the list of their `Result`s.

        Raises:
            EncodeError: an argument cannot be serialised; the message names it.
            NotSupported: the result store cannot gather results, or they are for several queues.
            PayloadTooLarge: the callback's arguments are too large to be carried by each member.

        """
        flow = new_flow()
        app = self._send(flow, self._app._call(callback), whole=results)  # noqa: SLF001 - made by it
        return CallbackJob(app, callback_id(flow).hex(), self._job(flow))

    def _send(self, flow: bytes, callback: Call | None, *, whole: bool) -> Queue:
        calls = [call for chain, _ in self._members for call in chain]
        if callback is not None:
            calls.append(callback)
        queue, runtime, app = self._app._place(_cluster(calls))  # noqa: SLF001 - as above
        weaver = FlowBuilder(runtime, queue, calls)
        sealed = weaver.group(self._members, flow, callback, whole=whole)
        self._app._send_flow(sealed, gathers=callback is not None, delays=weaver.delays)  # noqa: SLF001 - as above
        return app

    def _job(self, flow: bytes) -> GroupJob:
        calls = [call for chain, _ in self._members for call in chain]
        _, _, app = self._app._place(_cluster(calls))  # noqa: SLF001 - as above
        jobs = [_handle(app, chain, member_id(flow, index)) for index, (chain, _) in enumerate(self._members)]
        return GroupJob(app, flow.hex(), [job.jobs[0] if len(job) == 1 else job for job in jobs])


def collected(values: list[Any]) -> list[Any]:
    """Return what is gathered: the task `App.iter` waits for."""
    return values


def _handle(app: Queue, calls: Sequence[Call], last: bytes) -> ChainJob:
    return ChainJob(app, [Job(app, id_.hex()) for id_ in chain_ids(last, len(calls))])


def _cluster(calls: Iterable[Call]) -> str | None:
    """Return the queue that a flow is for; None = the app's own."""
    found = {call.options.cluster or None for call in calls}
    if len(found) > 1:
        named = ", ".join(sorted(repr(one) for one in found))
        msg = f"a chain or a group stays in one queue, and its tasks ask for {named}; give all one cluster"
        raise NotSupported(msg)
    return found.pop() if found else None
