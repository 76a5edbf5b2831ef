"""What is shown of a queue and its clusters."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import attrs
import click
import msgspec

from qcore.cli.exits import Exit
from qcore.cli.text import clean, line, say, say_json, seconds, table
from qcore.errors import EnvelopeError
from qcore.model import State
from qcore.sealer import STATUS
from qcore.status import ClusterStatus

if TYPE_CHECKING:
    from qcore.cli.session import Session
    from qcore.runtime import Runtime

_decode = msgspec.json.Decoder(ClusterStatus).decode


@click.command("info")
@click.option("--config", "with_config", is_flag=True, help="Show every setting, secrets hidden.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_obj
def command(session: Session, with_config: bool, as_json: bool) -> int:
    """Show broker, queue, results and the clusters that work on it."""
    found = look(session.runtime)
    if with_config:
        found["config"] = session.config.redacted()
    if as_json:
        say_json(msgspec.to_builtins(found, str_keys=True))
    else:
        _tell(found)
    return Exit.OK


def look(runtime: Runtime) -> dict[str, Any]:
    """Return what can be known of a queue."""
    with runtime.brokers.lend() as broker, runtime.stores.lend() as store:
        broker.ping()
        clusters, unreadable = statuses(runtime, broker.statuses())
        counts = store.counts()
        return {
            "name": runtime.config.name,
            "broker": broker.info(),
            "queue": msgspec.to_builtins(broker.size()),
            "results": {state.name.lower(): counts.get(state, 0) for state in reversed(State)},
            "clusters": [attrs.asdict(one) for one in clusters],
            "unreadable_clusters": unreadable,
        }


def statuses(runtime: Runtime, bodies: Any) -> tuple[list[ClusterStatus], int]:  # noqa: ANN401 - sequence of bytes
    """Return the clusters whose status is signed with our key, and how many others there are."""
    found, unreadable = [], 0
    for body in bodies:
        try:
            found.append(_decode(runtime.status_sealer.open(STATUS, body)))
        except (EnvelopeError, msgspec.MsgspecError):
            unreadable += 1
    return sorted(found, key=lambda one: (one.label, one.host, one.pid)), unreadable


def _tell(found: dict[str, Any]) -> None:
    sizes = [f"{'?' if count is None else f'{count:,}'} {state}" for state, count in found["queue"].items()]
    results = [f"{count:,} {state}" for state, count in found["results"].items()]
    rows = [
        ("queue", found["name"]),
        ("broker", found["broker"]),
        ("messages", ", ".join(sizes)),
        ("results", ", ".join(results)),
    ]
    if not found["clusters"]:
        rows.append(("clusters", "none; start one with: qcore run MODULE:APP"))
    if found["unreadable_clusters"]:
        rows.append(("", f"{found['unreadable_clusters']} clusters signed with a key that is not ours"))
    table(rows)
    if found["clusters"]:
        say()
        table([_row(one) for one in found["clusters"]], _HEADS)
    for one in found["clusters"]:
        for trouble in one["troubles"]:
            say(f"trouble of {line(one['label'])} (pid {one['pid']}): {line(trouble)}")
    if "config" in found:
        say()
        for key, value in found["config"].items():
            say(clean(f"{key} = {value!r}"))


_HEADS = ("cluster", "host", "pid", "state", "workers", "busy", "finished", "up", "seen")


def _row(one: dict[str, Any]) -> tuple[object, ...]:
    busy = sum(worker["state"] == "busy" for worker in one["workers"])
    ago = f"{seconds(time.time() - one['published'])} ago"
    up = seconds(one["uptime"])
    return (
        *(one[key] for key in ("label", "host", "pid", "state")),
        len(one["workers"]),
        busy,
        f"{one['finished']:,}",
        up,
        ago,
    )
