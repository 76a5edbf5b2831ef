"""A queue whose files are deleted, replaced or moved while a cluster works on it."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from functools import partial
from typing import TYPE_CHECKING

import pytest

from qcore import App, Config
from qcore.cli.exit_codes import Exit
from qcore.errors import ConfigError, QueueMissing
from tests.integration.land import final, until
from tests.integration.service import surroundings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.portable

#: lines of a log that a person reads to the end
READABLE = 60


class Place:
    """A folder with a queue, its cluster and a producer that has it open."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.queue = self.data / "queue.db"
        folder.mkdir()
        self.file = folder / "qcore.toml"
        self.file.write_text('workers = 2\nshutdown_timeout = 5\nsqlite.path = "data/queue.db"\n')
        self.app = App(Config.load(self.file, env={}))
        self.started: list[subprocess.Popen[bytes]] = []

    def start(self) -> subprocess.Popen[bytes]:
        """Start a cluster with a log of its own."""
        with (self.folder / "log").open("wb") as log:
            program = [sys.executable, "-m", "qcore", "run"]
            env = surroundings()
            self.started.append(subprocess.Popen(program, cwd=self.folder, stdout=log, stderr=log, env=env))
        return self.started[-1]

    def log(self) -> str:
        """Return what the cluster has said."""
        return (self.folder / "log").read_text()

    def works(self) -> bool:
        """Whether the cluster runs a task."""
        return bool(final(self.app.enqueue("math.sqrt", 4)).value == 2)


@pytest.fixture
def places(tmp_path: Path) -> Iterator[Callable[[str], Place]]:
    """Return what makes a place."""
    made: list[Place] = []

    def make(name: str) -> Place:
        made.append(Place(tmp_path / name))
        return made[-1]

    yield make
    for place in made:
        place.app.close()
        for process in place.started:
            process.kill()
            process.wait()


def deleted(suffix: str) -> Callable[[Place], object]:
    """Return what deletes one file."""
    return lambda place: place.queue.with_name(f"queue.db{suffix}").unlink()


def replaced(place: Place) -> None:
    """Put a copy in the place of the file."""
    shutil.copy(place.queue, place.data / "copy")
    (place.data / "copy").replace(place.queue)


def moved(place: Place) -> None:
    """Move the folder away."""
    place.data.rename(place.folder / "elsewhere")


def all_deleted(place: Place) -> None:
    """Delete everything, the folder included."""
    shutil.rmtree(place.data)


LOSSES: dict[str, Callable[[Place], object]] = {
    "the database": deleted(""),
    "the log": deleted("-wal"),
    "the shared memory": deleted("-shm"),
    "replaced": replaced,
    "moved": moved,
    "everything": all_deleted,
}


def test_a_cluster_ends_when_its_queue_is_gone(places: Callable[[str], Place]) -> None:
    """An init system sees the exit code, a person reads the log, and no producer writes into nothing."""
    made = {name: places(name) for name in LOSSES}
    clusters = {name: place.start() for name, place in made.items()}
    for place in made.values():
        assert place.works()

    for name, lose in LOSSES.items():
        lose(made[name])

    for name, place in made.items():
        until(partial(refuses, place.app), f"the producer of {name} to notice")
    for name, cluster in clusters.items():
        log = made[name].log
        assert cluster.wait(100) == Exit.UNAVAILABLE, f"{name}:\n{log()}"
        assert "was deleted, moved or replaced while it was in use" in log(), name
        assert len(log().splitlines()) < READABLE, f"{name}:\n{log()}"
    there = {name for name, place in made.items() if place.queue.exists()}
    assert there == {"the log", "the shared memory", "replaced"}, "a queue was made anew"


def refuses(app: App) -> bool:
    """Whether a producer is told that its queue is gone."""
    try:
        app.enqueue("math.sqrt", 4)
    except QueueMissing:
        return True
    return False


def test_a_queue_that_is_put_back_goes_on(places: Callable[[str], Place]) -> None:
    """Whoever moves the folder by mistake has a moment to move it back."""
    place = places("shop")
    cluster = place.start()
    assert place.works()

    moved(place)
    until(lambda: "was deleted, moved or replaced" in place.log(), "the cluster to notice")
    (place.folder / "elsewhere").rename(place.data)

    assert place.works()
    cluster.send_signal(signal.SIGTERM)
    assert cluster.wait(100) == 0


def test_a_cluster_whose_key_file_is_gone_does_not_start_again(places: Callable[[str], Place]) -> None:
    """It works on with the key it has read; the next start asks for the key instead of making another."""
    place = places("shop")
    cluster = place.start()
    assert place.works()

    place.queue.with_suffix(".key").unlink()

    assert place.works()
    cluster.send_signal(signal.SIGTERM)
    assert cluster.wait(100) == 0
    assert place.start().wait(100) == Exit.CONFIG
    # it does not start first, and does not try again
    assert "is ready" not in place.log()
    assert place.log().count("queue.key' is gone, and nothing in the queue") == 1
    assert not place.queue.with_suffix(".key").exists()
    with pytest.raises(ConfigError, match="restore it from a backup, or start over with"):
        App(Config.load(place.file, env={})).enqueue("math.sqrt", 4)
