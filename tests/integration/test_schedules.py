"""Schedules on real clusters: each slot once, whoever dies."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.integration import tasks
from tests.integration.land import kill, lines, until

if TYPE_CHECKING:
    from pathlib import Path

    from qcore import App
    from tests.integration.land import Land

pytestmark = pytest.mark.portable


def whole(path: Path, start: float, count: int) -> bool:
    """Tell whether so many slots or more were run, each once and none left out."""
    found = sorted(seconds(path))
    return len(found) >= count and found == [start + number for number in range(len(found))]


def seconds(path: Path) -> list[float]:
    """Return the slots that were run, in the order they were."""
    return [datetime.fromisoformat(line).timestamp() for line in lines(path)]


@pytest.mark.early
def test_each_slot_fires_once_though_a_supervisor_is_killed(land: Land) -> None:
    """Two clusters on one queue; one loses its supervisor between two slots."""
    app, first = land.both(retry=3)
    land.cluster(retry=3)
    witness = land.file()
    start = int(time.time()) + 1.0
    for name in ("a", "b"):
        app.schedules.create(
            tasks.note,
            str(witness) + name,
            name=name,
            every=timedelta(seconds=1),
            next_run=start,
            intended_date_kwarg="text",
        )

    until(lambda: len(lines(land.file("witnessa"))) >= 3, "slots to be run")
    # between two slots, so that no task is running
    until(lambda: 0.4 < time.time() % 1 < 0.6)
    assert first.pid is not None
    kill(first.pid)
    wanted = len(lines(land.file("witnessa"))) + 4

    for name in ("a", "b"):
        path = land.file(f"witness{name}")
        # what a killed worker still held comes back when its lease ends
        until(partial(whole, path, start, wanted), f"each slot once, not {seconds(path)}")


def test_what_no_cluster_was_there_for_is_made_up_for(land: Land) -> None:
    """Every slot missed, each with its own time, oldest first."""
    app = land.app()
    start = int(time.time()) - 3600.0
    app.schedules.create(
        tasks.note,
        str(land.file()),
        name="tick",
        minutes=10,
        next_run=start,
        repeats=6,
        intended_date_kwarg="text",
    )

    land.cluster(workers=1)

    until(lambda: len(lines(land.file())) == 6, "what was missed to be run")
    assert seconds(land.file()) == [start + 600 * number for number in range(6)]
    assert app.schedules.list()[0].repeats == 0


def test_a_cluster_told_so_fires_nothing(land: Land) -> None:
    """With `scheduler` false it works on tasks alone."""
    app, quiet = land.both(scheduler=False)
    app.schedules.create(tasks.note, str(land.file()), name="tick")
    began = time.monotonic()
    until(lambda: time.monotonic() - began > 2.5)

    assert len(app.schedules.list()) == 1
    assert app.queue.size().ready == 0
    assert app.schedules.run("tick").fetch(100)
    assert len(lines(land.file())) == 1
    assert quiet.status().troubles == ()


def fault(app: App, name: str) -> str:
    """Return why a schedule is skipped."""
    return next(one.fault for one in app.schedules.list() if one.name == name)


@pytest.mark.early
def test_a_schedule_of_an_unknown_function_rests_once_a_worker_knows(land: Land) -> None:
    """Its slots fail for good, the others are run, and once it is mended it goes on."""
    app, _ = land.both(retry=2, max_attempts=2)
    app.schedules.create("no.such.function", name="broken", every=timedelta(seconds=1))
    app.schedules.create(tasks.note, str(land.file()), "sound", name="sound", every=timedelta(seconds=1))

    until(lambda: fault(app, "broken"), "it to be marked")
    count = len(lines(land.file()))
    until(lambda: len(lines(land.file())) >= count + 3, "the sound one to run")
    assert "no task 'no.such.function'" in fault(app, "broken")
    until(
        lambda: (size := app.queue.size()).dead_letters and not (size.delayed or size.ready),
        "its slots to end",
    )
    with app.runtime.brokers.connection() as broker:
        letters = broker.dead_letters()
    assert all("in attempt 2" in one.reason for one in letters)

    mended = app.schedules.update("broken", func=tasks.note, args=[str(land.file("other")), "mended"])
    assert mended.fault == ""
    until(lambda: lines(land.file("other")), "the mended one to run")


def test_a_module_that_cannot_be_imported_for_once_breaks_no_schedule(
    land: Land, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its slots are tried again, as any task is: what it asks for may be up by then."""
    folder = land.file("path")
    folder.mkdir()
    up = land.file("up")
    (folder / "flaky_module.py").write_text(
        f"import pathlib\nif not pathlib.Path({str(up)!r}).exists():\n    raise ConnectionError('down')\n"
        "def job(path):\n    open(path, 'a').write('ran\\n')\n"
    )
    monkeypatch.syspath_prepend(folder)
    app, _ = land.both(retry=1)
    app.schedules.create("flaky_module.job", str(land.file()), name="tick", repeats=1)

    until(lambda: app.queue.size().delayed, "the first try to fail")
    up.touch()

    until(lambda: lines(land.file()), "it to run")
    assert fault(app, "tick") == ""


@pytest.mark.early
def test_a_slow_schedule_does_not_overlap_itself(land: Land) -> None:
    """With `skip` slots pass while one runs, with `queue` one waits; never do two run.

    Nothing of their results is stored: their places are given up by the workers.
    """
    app, _ = land.both(workers=4)
    for way in ("skip", "queue"):
        app.schedules.create(
            tasks.alone,
            str(land.file(way)),
            2.5,
            name=way,
            every=timedelta(seconds=1),
            overlap=way,
            q_options={"save": False},
        )

    for way in ("skip", "queue"):
        until(lambda way=way: len(lines(land.file(way))) >= 6, f"{way} to run three times", within=100)  # type: ignore[misc]  # bound now

    for way in ("skip", "queue"):
        app.schedules.pause(way)
        found = lines(land.file(way))
        assert found == ["begin" if number % 2 == 0 else "end" for number in range(len(found))]
