"""Decides how calls become signed messages."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any, Final

from qcore.errors import EncodeError, NotSupported, SkipTask
from qcore.hookspecs import EnqueueEvent
from qcore.messages.head import read_head
from qcore.messages.workflow import Link, WorkflowHeader, encode_tail
from qcore.model import Outgoing, TaskInfo
from qcore.tasks.arguments import dump_arguments, dump_declared
from qcore.tasks.call import IN_CONFIGURATION, Call, Sealed, Unset, refuse_second_run, with_options
from qcore.tasks.unique import check_limits, claim, key_of, release_keys
from qcore_names.strict import check_strictly
from qcore_queues.names import DEFAULT_QUEUE
from qcore_queues.refusal import refuse_routes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from qcore.config import Config
    from qcore.runtime import Runtime
    from qcore.tasks.call import Options

#: see `EnqueueEvent.after`
_AFTER: Final = 32
#: deduplication key and workflow header of a call that has neither
_PLAIN: Final = ("", b"")


def seal_calls(runtime: Runtime, calls: Sequence[Call]) -> list[Sealed]:
    """Return the signed messages of calls to one queue.

    Raises:
        EncodeError: an argument cannot be serialised; the message names it.
        NotSupported: an option asks for what the broker cannot do.
        TaskNameError, TypeError: see `check_strictly`, and the arguments are not those of the function.

    """
    dumps, code = runtime.serializer.dumps, runtime.serializer.code
    seal, hooks = runtime.envelope.seal, runtime.pre_enqueue
    now = time.time_ns() // 1_000_000
    stamp, noise = now.to_bytes(6, "big"), os.urandom(7 * len(calls))
    sealed: list[Sealed] = []
    known = None
    try:
        for index, given in enumerate(calls):
            call = given
            # Ordered by time and index: random ids cost a B-tree two thirds of its rate, and a broker knows
            # at a glance that an id is newer than what has ended.
            id_ = stamp + index.to_bytes(3, "big") + noise[index * 7 : index * 7 + 7]
            if hooks:
                changed = _hooked(call, id_, now, hooks, runtime.config.name)
                if changed is None:
                    sealed.append(Sealed(call, Outgoing(id_, b""), sync=False, skipped=True))
                    continue
                call = changed
            if call.check is not None:
                call.check(call.args, call.kwargs)
            head, options = call.head, call.options
            if options is not known:
                # Calls of one task share their options, so they are evaluated once.
                known = options
                check_repetition(runtime.config, options)
                expires = runtime.clock.now_ms() + int(options.expires * 1000) if options.expires else 0
                delay, joined = options.delay, options.connection
                sync = runtime.config.sync if options.sync is None else options.sync
                route = options.route if sync else _route(runtime, options)
                strict = runtime.config.strict if options.strict is None else options.strict
                plain = not options.unique and options.concurrency is None and options.rate is None
            if strict:
                check_strictly(call.name, call.args, call.kwargs)
            try:  # as `dump_arguments` does, without the cost of a call
                if call.kwargs:
                    arguments = dumps([list(call.args), dict(call.kwargs)])
                else:
                    arguments = dumps(list(call.args)) if call.args else b""
            except EncodeError as exc:
                arguments = dump_declared(call, runtime.serializer, exc)
            unique, tail = _PLAIN if plain else _special(runtime, call)
            body = seal(id_, head, arguments, code, now, named=bool(call.kwargs), expires=expires, tail=tail)
            if unique and (holder := claim(runtime, call, unique, id_)) is not None:
                sealed.append(Sealed(call, Outgoing(holder, b""), skipped=True, duplicate=True))
                continue
            made = Outgoing(id_, body, delay, *route)
            sealed.append(Sealed(call, made, sync, unique=unique, connection=joined))
    except BaseException:
        # None of them is enqueued, so a repeated call must not find their keys taken.
        release_keys(runtime, sealed)
        raise
    return sealed


def check_repetition(config: Config | None, options: Options) -> None:
    """Refuse a task that asks for a second run where the configuration excludes one."""
    if config is not None and config.at_most_once and options.at_most_once is None:
        refuse_second_run(options, IN_CONFIGURATION)


def _route(runtime: Runtime, options: Options) -> tuple[str, int]:
    queue, priority = options.route
    if queue or priority:
        check_routes(runtime, queue, priority)
    return queue, priority


def check_routes(runtime: Runtime, queue: str, priority: int) -> None:
    """Refuse a queue or priority for a broker that does not have it.

    Raises:
        NotSupported: it has not.

    """
    with runtime.brokers.connection(create=True) as broker:
        if not broker.capabilities.queues:
            refuse_routes(runtime.config.broker, [Outgoing(b"", b"", 0.0, queue, priority)], broker)
        broker.check_route(queue, priority)


def _special(runtime: Runtime, call: Call) -> tuple[str, bytes]:
    """Return deduplication key and workflow header of a call that is unique or limited."""
    options = call.options
    if options.limited:
        check_limits(runtime, call)
    unique = key_of(call, runtime.serializer)
    return unique, encode_tail(
        WorkflowHeader(permits=[unique])
    ) if unique and options.unique_for is None else b""


def link_of(
    runtime: Runtime, call: Call, id: bytes, after: Sequence[Link] = (), passed: int = 0
) -> Link | None:
    """Return a call as a message that is not signed yet, None if a hook skips it.

    Args:
        runtime: of the queue it is for.
        call: what to do.
        id: of the task, 16 bytes.
        after: what has to end before it is enqueued; hooks get the headers of these.
        passed: how many arguments it is given before its own, by what ends before it.

    Raises:
        EncodeError: an argument cannot be serialised; the message names it.
        TypeError: the function does not take these arguments.

    """
    check_repetition(runtime.config, call.options)
    hooks = runtime.pre_enqueue
    if hooks:
        before = [read_head(one.head).headers or {} for one in after[:_AFTER]]
        changed = _hooked(call, id, time.time_ns() // 1_000_000, hooks, runtime.config.name, before)
        if changed is None:
            return None
        call = changed
    if call.check is not None:
        call.check(call.args, call.kwargs, passed)
    options = call.options
    if not (runtime.config.sync if options.sync is None else options.sync):
        _route(runtime, options)
    if runtime.config.strict if options.strict is None else options.strict:
        check_strictly(call.name, call.args, call.kwargs, passed)
    if options.unique:
        msg = f"unique= of {call.name}: a link of a chain or member of a group cannot be skipped; drop it"
        raise NotSupported(msg)
    if options.limited:
        check_limits(runtime, call)
    return Link(
        id,
        call.head,
        dump_arguments(call, runtime.serializer),
        runtime.serializer.code,
        bool(call.kwargs),
        options.delay,
        options.expires,
        options.continue_on_failure,
    )


def _hooked(  # noqa: PLR0917 - what an event is made of
    call: Call,
    id_: bytes,
    now: int,
    hooks: Sequence[Callable[[Any], None]],
    cluster: str,
    after: Sequence[Mapping[str, str]] = (),
) -> Call | None:
    """Call hooks, which may add headers and change the task; return the call, None if one skips it."""
    timeout = call.options.timeout
    task = TaskInfo(
        id=id_.hex(),
        name=call.name,
        args=call.args,
        kwargs=call.kwargs,
        group=call.options.group,
        label=call.options.label,
        timeout=None if isinstance(timeout, Unset) else timeout,
        enqueued=now / 1000,
        queue=call.options.queue or DEFAULT_QUEUE,
        priority=call.options.priority or 0,
    )
    event = EnqueueEvent(task=task, headers={}, cluster=cluster, after=after)
    try:
        for hook in hooks:
            hook(event)
    except SkipTask:
        return None
    if event.task is task and not event.headers:
        return call
    options = call.options
    if event.task.group != task.group:
        options = with_options(options, {"group": event.task.group})
    head = options.head(call.name, event.headers)
    return Call(call.name, tuple(event.task.args), event.task.kwargs, options, head, call.check)
