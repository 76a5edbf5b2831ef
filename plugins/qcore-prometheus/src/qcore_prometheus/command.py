"""Decides what `qcore metrics` prints."""

from __future__ import annotations

import os
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import click

from qcore.cli.exit_codes import Exit
from qcore.cli.overview import statuses
from qcore.cli.text import say
from qcore_prometheus.families import families
from qcore_prometheus.page import Writer
from qcore_prometheus.queue_figures import QueueReader

if TYPE_CHECKING:
    from qcore.app import App
    from qcore.cli.session import Session


@click.command("metrics")
@click.option(
    "--output",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write to a file, in one step, as a textfile collector needs it.",
)
@click.option("--dashboard", is_flag=True, help="Print a dashboard for Grafana instead.")
@click.option("--alerts", is_flag=True, help="Print alert rules for Prometheus instead.")
@click.pass_obj
def command(session: Session, output: Path | None, dashboard: bool, alerts: bool) -> int:
    """Print the figures of the queue and its clusters for Prometheus.

    Each cluster publishes its own figures, wherever it runs. It need not serve them itself.
    """
    if dashboard and alerts:
        msg = "--dashboard and --alerts exclude each other"
        raise click.UsageError(msg)
    if dashboard or alerts:
        text = (files("qcore_prometheus") / ("dashboard.json" if dashboard else "alerts.yml")).read_text(
            "utf-8"
        )
    else:
        text = exposition(session.app)
    if output is None:
        say(text.rstrip("\n"))
    else:
        _replace(output, text)
    return Exit.OK


def exposition(app: App) -> str:
    """Return the metrics of a queue and all its clusters as text."""
    runtime = app.runtime
    with runtime.brokers.connection() as broker:
        clusters, _ = statuses(runtime, broker.statuses())
    figures = QueueReader(app).read()
    return Writer().write(families(runtime.config.name, clusters, figures)).decode()


def _replace(path: Path, text: str) -> None:
    """Write a file so that a reader sees the old text or the new."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(path)
    except OSError as exc:
        beside.unlink(missing_ok=True)
        msg = f"cannot write {str(path)!r}: {exc.strerror}; give a file in a folder that may be written"
        raise click.UsageError(msg) from exc
