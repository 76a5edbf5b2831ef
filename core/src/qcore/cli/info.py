"""How a queue and its clusters are shown."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, TypedDict

import click
import msgspec

from qcore.cli.exit_codes import Exit
from qcore.cli.formatting import busy, causes, progress_line, rate, short, span, spread
from qcore.cli.overview import look
from qcore.cli.text import columns, cut, json_option, max_width, say, say_json, seconds
from qcore_text.sanitize import clean, line
from qcore_text.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qcore.cli.overview import OutboxInfo, QueueOverview
    from qcore.cli.session import Session
    from qcore.status import ClusterStatus, WorkerStatus
    from qcore_queues.view import QueueInfo


class _Fitting(TypedDict):
    """How columns are set; see `columns`."""

    right: tuple[str, ...]
    soft: tuple[str, ...]
    max_width: int | None


@click.command("info")
@click.option("--ids", is_flag=True, help="Print the ids of the clusters, one a line; exit code 1 if none.")
@click.option("--config", "with_config", is_flag=True, help="Show every setting, secrets hidden.")
@json_option
@click.pass_obj
def command(session: Session, ids: bool, with_config: bool, as_json: bool) -> int:
    """Show broker, queue, results, the clusters that work on it and what they run.

    Each cluster publishes its own figures, wherever it runs: rate and times of the last minute
    (50 and 99 of 100 tasks were faster), and the workers replaced since its start.
    """
    found = look(session.app)
    if ids:
        return _print_ids(found, as_json=as_json)
    config = session.config.redacted() if with_config else None
    if as_json:
        record = found.record() if config is None else {**found.record(), "config": config}
        say_json(msgspec.to_builtins(record, str_keys=True))
        return Exit.OK
    for text in lines_of(found, max_width()):
        say(text)
    if config is not None:
        say()
        for key, value in config.items():
            say(clean(f"{key} = {value!r}"))
    return Exit.OK


def _print_ids(found: QueueOverview, *, as_json: bool) -> Exit:
    if as_json:
        say_json({"ids": [one.id for one in found.clusters]})
    else:
        for one in found.clusters:
            say(line(one.id))
        if not found.clusters:
            say(f"clusters of queue {found.name!r}: {found.no_clusters}", error=True)
    return Exit.OK if found.clusters else Exit.FAILED


def lines_of(found: QueueOverview, max_width: int | None = None) -> Iterator[str]:
    """Yield the lines that show a queue, its clusters and their running tasks."""
    fitting: _Fitting = {"right": _NUMBERS, "soft": _SOFT, "max_width": max_width}
    yield from columns(_rows(found))
    if found.clusters:
        yield ""
        yield from columns([_cluster(one) for one in found.clusters], _CLUSTER, **fitting)
        yield ""
        yield from columns([_figures(one) for one in found.clusters], _FIGURES, **fitting)
    running = [_running(*pair) for pair in found.running()]
    if running:
        yield ""
        # The text of a task may be long; figures and troubles are printed whole.
        yield from (cut(text, max_width) for text in columns(running, _RUNNING, **fitting))
    for one in found.clusters:
        if one.reports or one.reports_lost:
            made, lost = counted(one.reports, "error report"), f"{one.reports_lost:,}"
            yield f"reports of {line(one.label)} (pid {one.pid}): {made} made, {lost} lost"
        for trouble in one.troubles:
            yield f"trouble of {line(one.label)} (pid {one.pid}): {line(trouble)}"


def _rows(found: QueueOverview) -> Iterator[tuple[str, str]]:
    queue = msgspec.to_builtins(found.queue)
    sizes = [_size(count, state) for state, count in queue.items()]
    results = [f"{count:,} {state}" for state, count in found.record()["results"].items()]
    yield "queue", found.name + (" (paused)" if found.paused else "")
    yield "broker", found.broker
    yield "settings", found.configuration
    yield "messages", ", ".join(sizes)
    if len(found.queues) > 1 or any(one.paused for one in found.queues):
        yield "queues", ", ".join(map(_queue, found.queues))
    if found.outbox is not None:
        yield "outbox", outbox_text(found.outbox)
    yield "results", ", ".join(results)
    if found.interrupted:
        text = "compare with what they act on, and enqueue them again where it is not done"
        yield "interrupted", f"{found.interrupted:,} {found.examined}; {text}"
    if not found.clusters:
        yield "clusters", found.no_clusters
    if found.unreadable:
        yield "", f"{counted(found.unreadable, 'cluster')} signed with a key that is not ours"


def _queue(one: QueueInfo) -> str:
    oldest = "" if one.oldest is None else f", oldest {span(one.oldest)}"
    return f"{one.name} {one.ready:,} ready{oldest}{' (paused)' if one.paused else ''}"


def outbox_text(one: OutboxInfo) -> str:
    """Return how many messages an outbox has, and since when the oldest waits."""
    oldest = "" if one.oldest is None else f", the oldest for {span(one.oldest)}"
    refused = f", {one.refused:,} refused by the broker" if one.refused else ""
    return f"{one.store}: {counted(one.waiting, 'task')} to be moved to the broker{oldest}{refused}"


def _size(count: int | None, state: str) -> str:
    if state == "dead_letters" and count is not None:
        return counted(count, "dead letter")
    return f"{'?' if count is None else f'{count:,}'} {state.replace('_', ' ')}"


#: columns of figures end at one edge
_NUMBERS: Final = ("pid", "workers", "busy", "finished", "rate", "up", "seen", "for")
#: columns of names, cut if there is no room
_SOFT: Final = ("cluster", "host", "running", "worker")
_CLUSTER: Final = ("cluster", "host", "pid", "state", "workers", "busy", "finished", "up", "seen")
_FIGURES: Final = ("cluster", "id", "rate", "run p50/p99", "wait p50/p99", "replaced")
_RUNNING: Final = ("running", "for", "worker", "task id", "progress")


def _cluster(one: ClusterStatus) -> tuple[object, ...]:
    state = "paused" if one.paused and one.state == "idle" else one.state
    return (
        one.label,
        one.host,
        one.pid,
        state,
        len(one.workers),
        busy(one),
        f"{one.finished:,}",
        seconds(one.uptime),
        f"{seconds(time.time() - one.published)} ago",
    )


def _figures(one: ClusterStatus) -> tuple[object, ...]:
    return (
        one.label,
        short(one.id),
        rate(one.rate),
        spread(one.run_time),
        spread(one.wait_time),
        causes(one.reincarnations),
    )


def _running(one: ClusterStatus, worker: WorkerStatus) -> tuple[object, ...]:
    where = f"{one.label}:{worker.slot}"
    return (worker.task, span(worker.running_for), where, worker.task_id, progress_line(worker.progress))
