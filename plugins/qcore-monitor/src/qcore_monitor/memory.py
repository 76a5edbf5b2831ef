"""What is shown of the memory of clusters and workers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from qcore.cli.exit_codes import Exit
from qcore.cli.formatting import NONE, size
from qcore.cli.overview import statuses
from qcore.cli.text import counted, json_option, say, say_json, table

if TYPE_CHECKING:
    from qcore.cli.session import Session
    from qcore.status import ClusterStatus, WorkerStatus


@click.command("memory")
@click.option("--workers", "each", is_flag=True, help="A row for each worker.")
@json_option
@click.pass_obj
def command(session: Session, each: bool, as_json: bool) -> int:
    """Show how much memory clusters and their workers have, wherever they run.

    RSS is what a process has in memory, PSS counts what it shares with others in parts; the
    peak is the most it ever had, the limit is where a worker is replaced (`max_rss`).
    """
    runtime = session.runtime
    with runtime.brokers.connection() as broker:
        broker.ping()
        known = broker.capabilities.cluster_status
        found, unreadable = statuses(runtime, broker.statuses())
    if as_json:
        records = [_record(one, each=each) for one in found]
        say_json({"name": session.config.name, "clusters": records, "unreadable_clusters": unreadable})
        return Exit.OK
    if unreadable:
        say(f"{counted(unreadable, 'cluster')} signed with a key that is not ours", error=True)
    if not found:
        why = "" if known else ": this broker keeps no status of clusters"
        say(f"no cluster is seen on queue {session.config.name!r}{why}", error=True)
    if each:
        table(
            [_of_worker(one, worker) for one in found for worker in one.workers],
            _WORKER,
            right=_NUMBERS,
            soft=_SOFT,
        )
    elif found:
        table({one.host: _of_machine(one) for one in found}.values(), _MACHINE, right=_NUMBERS, soft=_SOFT)
        say()
        table([_of_cluster(one) for one in found], _CLUSTER, right=_NUMBERS, soft=_SOFT)
    return Exit.OK


#: columns of figures end at one edge
_NUMBERS: Final = (
    *("available", "total", "free", "pid", "supervisor", "workers", "slot"),
    *("rss", "pss", "peak", "limit"),
)
#: columns of names, cut where there is no room
_SOFT: Final = ("cluster", "host")
_MACHINE: Final = ("host", "available", "total", "free")
_CLUSTER: Final = ("cluster", "host", "pid", "supervisor", "workers", "rss", "pss", "limit")
_WORKER: Final = ("cluster", "host", "slot", "pid", "state", "rss", "pss", "peak", "limit")


def _of_machine(one: ClusterStatus) -> tuple[object, ...]:
    known = one.memory_total > 0 and one.memory_available > 0
    free = f"{100 * one.memory_available // one.memory_total} %" if known else NONE
    return one.host, size(one.memory_available), size(one.memory_total), free


def _of_cluster(one: ClusterStatus) -> tuple[object, ...]:
    return (
        one.label,
        one.host,
        one.pid,
        size(one.rss),
        len(one.workers),
        size(_sum(one, "rss")),
        size(_sum(one, "pss")),
        _limit(one),
    )


def _of_worker(one: ClusterStatus, worker: WorkerStatus) -> tuple[object, ...]:
    return (
        one.label,
        one.host,
        worker.slot,
        worker.pid or NONE,
        worker.state,
        size(worker.rss),
        size(worker.pss),
        size(worker.peak),
        _limit(one),
    )


def _limit(one: ClusterStatus) -> str:
    return size(one.max_rss) if one.max_rss > 0 else "none"


def _sum(one: ClusterStatus, what: str) -> int:
    return sum(getattr(worker, what) for worker in one.workers)


def _record(one: ClusterStatus, *, each: bool) -> dict[str, Any]:
    """Return bytes; 0 = not known, and for the limit that there is none."""
    record: dict[str, Any] = {
        "id": one.id,
        "label": one.label,
        "host": one.host,
        "pid": one.pid,
        "memory_total": one.memory_total,
        "memory_available": one.memory_available,
        "supervisor": {"rss": one.rss, "pss": one.pss},
        "workers": {"count": len(one.workers), "rss": _sum(one, "rss"), "pss": _sum(one, "pss")},
        "max_rss": one.max_rss,
    }
    if each:
        record["each"] = [
            {
                "slot": worker.slot,
                "pid": worker.pid,
                "state": worker.state,
                "rss": worker.rss,
                "pss": worker.pss,
                "peak": worker.peak,
            }
            for worker in one.workers
        ]
    return record
