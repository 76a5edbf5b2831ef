"""Chains, groups of tasks, and the callback that waits for a group."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from qcore.errors import NotSupported
from qcore.flows.builder import FlowBuilder, callback_id, chain_ids, member_id, new_flow
from qcore.flows.handles import CallbackJob, ChainJob, GroupJob
from qcore.messages.workflow import COLLECTED
from qcore.tasks.call import Call, Options, with_options
from qcore.tasks.task import Job, Sender, bind

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qcore.tasks.task import Producer

#: what a chain or a group is made of: a bound task, or a function by object or name, which is
#: called without arguments of its own, or (function, args, kwargs)
Step: TypeAlias = "Call | Sender[..., Any] | Callable[..., Any] | str | tuple[Any, ...]"


class Chain:
    """Steps that run one after the other: a member of a group, or what `App.chain` takes."""

    def __init__(self, steps: Iterable[Step], *, pipe_result: bool = False) -> None:
        self.steps = list(steps)
        #: each step is given what the step before returned, as its first argument
        self.pipe_result = pipe_result
        if not self.steps:
            msg = "a chain has no steps; give it at least one"
            raise ValueError(msg)


def start_chain(app: Producer, steps: Iterable[Step] | Chain, *, pipe_result: bool) -> ChainJob:
    """Enqueue the first link of a chain, which carries the others; see `App.chain`."""
    made = steps if isinstance(steps, Chain) else Chain(steps, pipe_result=pipe_result)
    calls = [_call(step) for step in made.steps]
    there = app.for_cluster(_cluster(calls))
    last = new_flow()
    builder = FlowBuilder(there.runtime, calls)
    sealed = builder.chain(calls, last, pipe_result=made.pipe_result or pipe_result)
    there.send_flow(sealed, delays=builder.delays)
    return _handle(there, calls, last)


def group_of(app: Producer, members: Iterable[Step | Chain | list[Any]]) -> Group:
    """Return tasks that are enqueued together; see `App.group`."""
    made = []
    for member in members:
        chain = (
            member if isinstance(member, Chain) else Chain(member if isinstance(member, list) else [member])
        )
        made.append(([_call(step) for step in chain.steps], chain.pipe_result))
    return Group(app, made)


def collect(
    app: Producer,
    function: Callable[..., Any] | Sender[..., Any] | str,
    args: Iterable[Any],
    options: Mapping[str, Any],
) -> CallbackJob:
    """Call a function for each item and collect what it returns; see `App.iter`."""
    items = [item if isinstance(item, tuple) else (item,) for item in args]
    calls = [bind(function, item, {}) for item in items]
    # The list was asked for as one result, so it is stored where other successes are not.
    made = with_options(Options(save=True), options)
    if made.cluster is None:
        made = with_options(made, {"cluster": _cluster(calls) or None})
    return Group(app, [([call], False) for call in calls]).then(bind(COLLECTED, (), {}, made))


class Group:
    """Tasks that are enqueued together."""

    def __init__(self, app: Producer, members: Sequence[tuple[Sequence[Call], bool]]) -> None:
        self._app = app
        self._members = members

    def __len__(self) -> int:
        return len(self._members)

    def enqueue(self) -> GroupJob:
        """Enqueue all members.

        Up to as many as the broker takes at once (its `max_batch`) are accepted together or not at all.

        Raises:
            EncodeError: an argument cannot be serialised; the message names it.
            NotSupported: they are for several queues.

        """
        return self._send(new_flow(), None, whole=False)

    def then(self, callback: Step, *, results: bool = False) -> CallbackJob:
        """Enqueue all members, and have a callback called once when all have ended.

        Its first argument is the list of what they returned, in their order. If a member failed
        for good, the callback is not called, and its handle fails and names that member.

        Args:
            callback: a bound task, or a function by object or name, or (function, args, kwargs).
            results: call it however they ended, with the list of their `Result`s.

        Raises:
            EncodeError: an argument cannot be serialised; the message names it.
            NotSupported: the result store cannot join results, or they are for several queues.
            PayloadTooLarge: the callback's arguments are too large to be carried by each member.

        """
        flow = new_flow()
        members = self._send(flow, _call(callback), whole=results)
        return CallbackJob(members._app, callback_id(flow).hex(), members)  # noqa: SLF001 - made here

    def _send(self, flow: bytes, callback: Call | None, *, whole: bool) -> GroupJob:
        calls = [call for chain, _ in self._members for call in chain]
        if callback is not None:
            calls.append(callback)
        app = self._app.for_cluster(_cluster(calls))
        builder = FlowBuilder(app.runtime, calls)
        sealed = builder.group(self._members, flow, callback, whole=whole)
        app.send_flow(sealed, delays=builder.delays)
        jobs = [_handle(app, chain, member_id(flow, index)) for index, (chain, _) in enumerate(self._members)]
        return GroupJob(app, flow.hex(), [job.jobs[0] if len(job) == 1 else job for job in jobs])


def collected(values: list[Any]) -> list[Any]:
    """Return the joined results: the task that `App.iter` waits for."""
    return values


def _call(step: Step | Job[Any] | Chain | Group | GroupJob | list[Any]) -> Call:
    if isinstance(step, Call):
        return step
    if isinstance(step, (Group, GroupJob)):
        msg = (
            f"a group is not a step of a chain or a member of a group, and {step!r:.80} is one; put its "
            "members into the outer group, or enqueue it from a task: its callback can start what follows"
        )
        raise NotSupported(msg)
    if isinstance(step, (Job, Chain, list)):
        kind = "enqueued already" if isinstance(step, Job) else "a chain, which only a group takes"
        msg = f"a step is a task with its arguments, such as task.bind(1), and {step!r:.80} is {kind}"
        raise TypeError(msg)
    if not isinstance(step, tuple):
        return bind(step, (), {})
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
    return bind(function, tuple(args), kwargs or {})


def _handle(app: Producer, calls: Sequence[Call], last: bytes) -> ChainJob:
    return ChainJob(app, [Job(app, id_.hex()) for id_ in chain_ids(last, len(calls))])


def _cluster(calls: Iterable[Call]) -> str:
    """Return the name of the cluster that a flow is for; empty = the app's own."""
    found = {call.options.cluster or "" for call in calls}
    if len(found) > 1:
        named = ", ".join(sorted(repr(one or None) for one in found))
        msg = (
            f"a chain or a group stays with one cluster, and its tasks ask for {named}; give all one cluster="
        )
        raise NotSupported(msg)
    return found.pop() if found else ""
