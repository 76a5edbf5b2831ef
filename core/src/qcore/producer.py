"""Calls into signed messages, and messages run where they were made."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from qcore.call import Sealed, Unset
from qcore.errors import EncodeError, SkipTask
from qcore.execute import Executor
from qcore.hookspecs import EnqueueEvent
from qcore.model import Kind, Outgoing, State, Task
from qcore.plan import Planner
from qcore.settle import decide

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qcore.call import Call
    from qcore.runtime import Runtime


def seal_calls(runtime: Runtime, calls: Sequence[Call]) -> list[Sealed]:
    """Make calls into signed messages.

    Raises:
        EncodeError: an argument cannot be serialised; the message names it.

    """
    dumps = runtime.serializer.dumps
    code = runtime.serializer.code
    seal = runtime.envelope.seal
    hooks = runtime.hooks("qcore_pre_enqueue")
    always_sync = runtime.config.sync
    now = time.time_ns() // 1_000_000
    stamp = now.to_bytes(6, "big")
    noise = os.urandom(10 * len(calls))
    sealed: list[Sealed] = []
    for index, call in enumerate(calls):
        # Ids are ordered by time: random keys cost a B-tree two thirds of its rate.
        id_ = stamp + noise[index * 10 : index * 10 + 10]
        head = call.head
        if hooks:
            changed = _with_headers(call, id_, now, hooks)
            if changed is None:
                sealed.append(Sealed(call, Outgoing(id_, b""), sync=False, skipped=True))
                continue
            head = changed
        options = call.options
        try:
            if call.kwargs:
                arguments = dumps([list(call.args), dict(call.kwargs)])
            else:
                arguments = dumps(list(call.args)) if call.args else b""
        except EncodeError as exc:
            raise _culprit(call, dumps, exc) from exc
        expires = now + int(options.expires * 1000) if options.expires else 0
        body = seal(id_, head, arguments, code, now, named=bool(call.kwargs), expires=expires)
        sync = always_sync if options.sync is None else options.sync
        sealed.append(Sealed(call, Outgoing(id_, body, options.delay), sync=sync))
    return sealed


def run_inline(runtime: Runtime, sealed: Sequence[Sealed]) -> None:
    """Run messages in this process as a worker would, and store their results."""
    executor = Executor(
        runtime.serializers,
        runtime.hooks("qcore_pre_execute"),
        runtime.hooks("qcore_post_execute"),
        runtime.reporters().report,
        let_out=(KeyboardInterrupt,),
    )
    config = runtime.config
    rules = runtime.rules()
    planner = Planner(rules, timeout=None, save=runtime.save_successes, allowed=config.tasks_allowed)
    for one in sealed:
        opened = runtime.envelope.open(one.message.body)
        plan = planner.plan(opened.head)
        outcome, value = runtime.results.dump(executor.run(opened, plan, 1, 0))
        # Nobody presents it again: what failed here has failed.
        kind = Kind.UNSAVABLE if outcome.kind in {Kind.FAILURE, Kind.REJECTED} else outcome.kind
        state = decide(kind, rules).state
        if state is State.FAILED or (state is State.SUCCESS and plan.save):
            record = runtime.results.seal(
                opened.id, plan.head, state, outcome, value, created=opened.created, attempts=1, crashes=0
            )
            with runtime.stores.lend() as store:
                store.save([record])
    executor.close()


def _culprit(call: Call, dumps: Callable[[Any], bytes], error: EncodeError) -> EncodeError:
    """Return an error that names the argument which cannot be written."""
    named = [(f"argument {index}", value) for index, value in enumerate(call.args, 1)]
    named += [(f"argument {key!r}", value) for key, value in call.kwargs.items()]
    for name, value in named:
        try:
            dumps(value)
        except EncodeError as exc:
            return EncodeError(f"{name} of {call.name} cannot be enqueued: {exc}")
    return EncodeError(f"the arguments of {call.name} cannot be enqueued: {error}")


def _with_headers(call: Call, id_: bytes, now: int, hooks: Sequence[Callable[[Any], None]]) -> bytes | None:
    """Let hooks see the task and add headers; None if one of them leaves it out."""
    timeout = call.options.timeout
    task = Task(
        id=id_.hex(),
        name=call.name,
        args=call.args,
        kwargs=call.kwargs,
        group=call.options.group,
        timeout=None if isinstance(timeout, Unset) else timeout,
        enqueued=now / 1000,
    )
    event = EnqueueEvent(task=task, headers={})
    try:
        for hook in hooks:
            hook(event)
    except SkipTask:
        return None
    return call.options.head(call.name, event.headers) if event.headers else call.head
