"""When a queue counts as healthy."""

from __future__ import annotations

import contextlib
import signal
import time
from typing import TYPE_CHECKING, Final

import click

from qcore.cli.exit_codes import Exit
from qcore.cli.formatting import busy
from qcore.cli.overview import look, unserved, unserved_text
from qcore.cli.text import json_option, say, say_json
from qcore.errors import BackendUnavailable, Interrupted
from qcore_text.sanitize import line
from qcore_text.wording import counted, typed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qcore.cli.overview import QueueOverview
    from qcore.cli.session import Session

#: Seconds by which the time in a status may differ from our clock: clusters publish every few seconds.
_STALE: Final = 300.0
#: Seconds between two checks of a queue on which nothing moves.
_AGAIN: Final = 0.25
#: Seconds that the broker has to answer, beside those in which something must move.
_ANSWER: Final = 10.0
#: Seconds until a check that is late is interrupted again: the first time it may be in a callback.
_INTERRUPT: Final = 0.5


class _Late(Interrupted):
    """Interrupts a check whose time is over; no plugin takes it for an error of its connection."""


@click.command("health")
@click.option(
    "--stalled-after",
    type=click.FloatRange(min=0),
    default=10.0,
    show_default=True,
    help="Seconds in which something must move while messages are ready.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    help="Seconds for the whole check; 10 more than --stalled-after if not given.",
)
@json_option
@click.pass_obj
def command(session: Session, stalled_after: float, timeout: float | None, as_json: bool) -> int:
    """Check that the queue is being worked on: exit code 0 if so, 1 if not.

    A queue is healthy if it has a cluster that reports no trouble and that takes messages or runs
    tasks while messages are ready. A worker that is connected but gets nothing is not healthy. A
    paused queue is healthy. If the broker keeps no status of clusters, the messages alone decide:
    while some are ready, they must become fewer or be leased. If the broker does not answer in time,
    the exit code is 69.
    """
    with _within(stalled_after + _ANSWER if timeout is None else timeout):
        first = look(session.app)
        faults = examine(session, first, stalled_after)
    if as_json:
        say_json(
            {
                "healthy": not faults,
                "faults": faults,
                "clusters_known": first.status,
                "name": first.name,
                "broker": first.broker,
                "configuration": first.configuration,
            }
        )
    else:
        if faults:
            say(line(f"queue {first.name}: {first.broker}; configuration: {first.configuration}"))
        for fault in faults:
            say(f"unhealthy: {line(fault)}")
        if not faults:
            say(
                "healthy"
                if first.status
                else f"healthy, judged by the queue alone; clusters: {first.no_clusters}"
            )
    return Exit.FAILED if faults else Exit.OK


@contextlib.contextmanager
def _within(seconds: float) -> Iterator[None]:
    """Interrupt what takes longer, whatever limits and retries a plugin has of its own."""

    def interrupt(*_: object) -> None:
        raise _Late

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds, _INTERRUPT)
    try:
        yield
    except _Late:
        msg = f"the broker has not answered within {counted(seconds, 'second')}"
        raise BackendUnavailable(msg) from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def examine(session: Session, first: QueueOverview, stalled_after: float) -> list[str]:
    """Return what is wrong, the first fault seen first; nothing if the queue is healthy."""
    ready = counted(first.queue.ready, "message")
    if not first.status:
        if _moves(session, first, stalled_after):
            return []
        fault = (
            f"{ready} ready, but none was taken in {counted(stalled_after, 'second')}; "
            f"read the workers' log, or start a cluster with: {typed('run MODULE:APP')}"
        )
        return [fault]
    if not first.clusters:
        return [f"no cluster works on queue {first.name!r}; start one with: {typed('run MODULE:APP')}"]
    faults = [
        f"cluster {one.label} on {one.host} (pid {one.pid}): {trouble}"
        for one in first.clusters
        for trouble in one.troubles
    ]
    now = time.time()
    faults += [
        f"cluster {one.label} on {one.host} (pid {one.pid}): its status is "
        f"{counted(round(abs(now - one.published)), 'second')} "
        f"{'old' if now > one.published else 'ahead'}; set the clocks of both hosts, "
        "or somebody else has written it"
        for one in first.clusters
        if abs(now - one.published) > _STALE
    ]
    faults += map(unserved_text, unserved(first.queues, first.clusters))
    if not faults and not _moves(session, first, stalled_after):
        workers = sum(len(one.workers) for one in first.clusters)
        faults.append(
            f"{ready} ready and {counted(workers, 'worker')} idle, but none was taken in "
            f"{counted(stalled_after, 'second')}; read the workers' log, then restart the cluster"
        )
    return faults


def _moves(session: Session, first: QueueOverview, stalled_after: float) -> bool:
    """Wait until a message is taken or a task runs, or no message is ready."""
    end = time.monotonic() + stalled_after
    now = before = first
    while True:
        if not now.takeable or now.paused or any(map(busy, now.clusters)) or _done(now) != _done(first):
            return True
        # Compared with the last check, because more messages may come than go.
        if now.takeable < before.takeable or (not now.status and now.queue.leased):
            return True
        left = end - time.monotonic()
        if left <= 0:
            return False
        time.sleep(min(_AGAIN, left))
        before, now = now, look(session.app)


def _done(found: QueueOverview) -> int:
    return sum(one.finished for one in found.clusters)
