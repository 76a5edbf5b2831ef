"""The picture of the screen in the documents; run as a script, it draws it."""

from __future__ import annotations

import io
import time
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from rich.console import Console
from rich.terminal_theme import MONOKAI

from qcore.cli.dead_letter import DeadLetterView
from qcore.cli.overview import QueueOverview
from qcore.model import QueueSize, Result, State
from qcore.status import ClusterStatus, Percentiles, Progress, WorkerStatus
from qcore_calendar.schedule import Schedule
from qcore_monitor.glyphs import UNICODE
from qcore_monitor.layout import frame
from qcore_monitor.snapshot import Snapshot
from qcore_monitor.view import Panel, View

if TYPE_CHECKING:
    from collections.abc import Iterator

PICTURE: Final = Path(__file__).resolve().parents[3] / "docs" / "pictures" / "monitor.svg"
#: columns and lines of the terminal on the picture
SIZE: Final = (96, 25)
#: 2026-11-23 16:01:04 UTC, when the screen was taken
NOW: Final = 1_795_449_664.0
#: rich's own layout, without its web fonts: a picture asks no other machine for anything
SVG: Final = """\
<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg" role="img">
<title>qcore monitor</title>
<style>
.{unique_id}-matrix {{
  font-family: "DejaVu Sans Mono", Menlo, Consolas, monospace;
  font-size: {char_height}px;
  line-height: {line_height}px;
  white-space: pre;
}}
.{unique_id}-title {{ font: bold 18px "DejaVu Sans", Verdana, sans-serif }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix" xml:space="preserve">
{matrix}
</g>
</g>
</svg>
"""


def monitor() -> str:
    """Draw the screen of qcore-monitor, as its own layout makes it from sample figures."""
    console = Console(
        record=True,
        width=SIZE[0],
        file=io.StringIO(),
        force_terminal=True,
        color_system="truecolor",
        legacy_windows=False,
    )
    for line in frame(View(panel=Panel.RUNNING), snapshot(NOW), SIZE, UNICODE, NOW):
        console.print(line, no_wrap=True, overflow="crop", crop=True)
    drawn = console.export_svg(title="qcore monitor", theme=MONOKAI, code_format=SVG, unique_id="qcore")
    return "\n".join(line.strip() for line in drawn.splitlines() if line.strip()) + "\n"


def snapshot(now: float) -> Snapshot:
    """Return what the monitor of a busy queue has read at a moment."""
    return Snapshot(
        taken=now,
        overview=QueueOverview(
            name="shop",
            broker="Redis 7.0.15, db.internal:6379/0",
            queue=QueueSize(128, 5, 12, 2),
            results={State.SUCCESS: 25210, State.FAILED: 59},
            clusters=_clusters(now),
            unreadable=0,
        ),
        failures=_failures(now),
        dead_letters=_dead_letters(now),
        schedules=_schedules(now),
    )


def _worker(slot: int, task: str, seconds: float, progress: Progress | None) -> WorkerStatus:
    return WorkerStatus(
        slot=slot,
        pid=4300 + slot,
        state="busy",
        task=task,
        running_for=seconds,
        task_id=f"{0xC0C1DD68 + int(seconds) * 0x3E71A0B3 & 0xFFFFFFFF:08x}".rjust(32, "0"),
        progress=progress,
        rss=46 << 20,
    )


def _clusters(now: float) -> tuple[ClusterStatus, ...]:
    day = ClusterStatus(
        id="ea1457e5".rjust(32, "0"),
        name="shop",
        label="day",
        host="web1",
        pid=4001,
        state="working",
        workers=(
            _worker(0, "shop.report", 13, Progress(done=312, total=500, note="page 312 of 500")),
            _worker(1, "shop.thumbnails", 4, Progress(done=18, total=24, note="photo 18")),
        ),
        finished=18210,
        reincarnations={"recycled": 36},
        uptime=86_400 * 3 + 7200,
        published=now - 0.4,
        rate=42.5,
        run_time=Percentiles(p50=0.0116, p99=0.164),
        wait_time=Percentiles(p50=0.0009, p99=0.010),
    )
    night = ClusterStatus(
        id="090f9c82".rjust(32, "0"),
        name="shop",
        label="night",
        host="web2",
        pid=4002,
        state="working",
        workers=(
            _worker(0, "shop.invoices", 62, Progress(done=75, total=100, note="customer 75")),
            WorkerStatus(slot=1, pid=4411, state="idle"),
            _worker(2, "shop.report", 2, Progress(done=20, total=500, note="page 20 of 500")),
        ),
        finished=7059,
        reincarnations={"recycled": 14, "crashed": 3},
        uptime=7300,
        published=now - 0.7,
        rate=17.0,
        run_time=Percentiles(p50=0.082, p99=1.64),
        wait_time=Percentiles(p50=0.001, p99=0.116),
    )
    return day, night


def _failures(now: float) -> tuple[Result, ...]:
    told = (
        ("shop.price", "ValueError: no price for article 80", 12.0),
        ("shop.mail", "TimeoutError: smtp.internal did not answer", 95.0),
        ("shop.price", "ValueError: no price for article 17", 610.0),
    )
    return tuple(
        Result(
            id=f"{number:032x}",
            name=name,
            state=State.FAILED,
            error=error,
            kind="failure",
            started=now - ago - 0.1,
            finished=now - ago,
        )
        for number, (name, error, ago) in enumerate(told, 1)
    )


def _dead_letters(now: float) -> tuple[DeadLetterView, ...]:
    told = (
        ("shop.resize", "crashed its worker 3 times", 240.0),
        ("shop.mail", "failure in attempt 5: TimeoutError", 4000.0),
    )
    return tuple(
        DeadLetterView(
            id=str(number),
            task_id=f"{number:032x}",
            task=task,
            fault="",
            reason=reason,
            dead_since=now - ago,
            failures=0,
            crashes=3,
            size=99,
        )
        for number, (task, reason, ago) in enumerate(told, 1)
    )


def _schedules(now: float) -> tuple[Schedule, ...]:
    return (
        Schedule(name="sweep", task="shop.sweep", rule="every 900", next_run=now + 480),
        Schedule(name="nightly", task="shop.clean", rule="0 3 * * *", next_run=now + 39_536),
    )


def words(svg: str) -> list[str]:
    """Return the texts of a picture, in their order; colours and coordinates may change with rich."""
    return ["".join(node.itertext()) for node in ET.fromstring(svg).iter() if node.tag.endswith("}text")]  # noqa: S314 - our own file


@pytest.fixture
def greenwich(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have the process live where the picture was taken: the screen shows local times."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("greenwich")
def test_the_picture_shows_the_screen_of_today() -> None:
    """After a change of the screen run this file as a script, and look at the picture."""
    assert words(monitor()) == words(PICTURE.read_text(encoding="utf-8"))


if __name__ == "__main__":
    PICTURE.write_text(monitor(), encoding="utf-8")
