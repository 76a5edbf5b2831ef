"""`qcore run --reload`: workers follow the files of their modules."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from tests.integration.land import TIMEOUT, alive, final, until
from tests.integration.service import Service, surroundings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MODULE = """
import os, pathlib, time
from qcore import App

app = App()

@app.task
def version() -> int:
    return {version}

@app.task
def wait_for(file: str) -> int:
    with open("begun", "a") as begun:
        begun.write("once\\n")
    while not os.path.exists(file):
        time.sleep(0.01)
    return {version}
"""
IMPORTED = "your changed modules are imported"
RUN = ("run", "shop:app", "--config", "served.toml", "--reload")


class Shop(Service):
    """A folder whose module changes."""

    def write(self, text: str) -> None:
        """Replace the module as an editor does, whole."""
        (self.folder / "new").write_text(text)
        (self.folder / "new").replace(self.folder / "shop.py")

    def reloads(self) -> int:
        """Return how often the workers were replaced."""
        return self.log().count(IMPORTED)

    def version(self) -> Any:
        """Return the version of the module that a worker has."""
        return self.call("version")


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    """Return a folder with the first version."""
    made = Shop(tmp_path)
    made.write(MODULE.format(version=1))
    yield made
    made.leave()


def ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether nothing is left of a cluster that is told to stop by Ctrl-C."""
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    until(lambda: process.poll() is not None, "the cluster to stop")
    until(lambda: not any(alive(one.pid) for one in children), "its processes to end")
    return process.returncode == 0


def test_a_change_reaches_the_workers_and_a_running_task_ends_once(shop: Shop) -> None:
    """What runs is finished by the old code, and what follows has the new."""
    process = shop.start(*RUN)
    job = shop.app.enqueue("shop.wait_for", "go")
    until((shop.folder / "begun").exists, "the task to begin")

    shop.write(MODULE.format(version=2))

    until(lambda: shop.reloads() == 1, "the new code")
    until(lambda: shop.version() == 2, "a worker with the new code")
    assert job.fetch() is None
    (shop.folder / "go").touch()
    assert final(job).value == 1
    assert (shop.folder / "begun").read_text() == "once\n"
    # the zygote that forked its worker has nothing to do any more
    until(lambda: len(psutil.Process(process.pid).children()) == 2, "one zygote, and what watches files")
    assert ended(process)


def test_an_import_error_is_shown_and_the_old_workers_go_on(shop: Shop) -> None:
    """Until it is mended."""
    process = shop.start(*RUN)

    shop.write(MODULE.format(version=2) + "raise ValueError('half written')\n")

    until(lambda: "half written" in shop.log(), "the error")
    assert "your changed modules cannot be imported; the workers go on with the code as it was" in shop.log()
    assert shop.version() == 1
    shop.write(MODULE.format(version=3))
    until(lambda: shop.reloads() == 1, "the new code")
    until(lambda: shop.version() == 3, "a worker with the new code")
    assert ended(process)


def test_a_change_of_the_same_second_and_size_is_seen(shop: Shop) -> None:
    """Compiled code is recognised by second and size, so that of a changed file is removed."""
    shop.start(*RUN)
    now = (shop.folder / "shop.py").stat().st_mtime
    (shop.folder / "new").write_text(MODULE.format(version=2))
    os.utime(shop.folder / "new", (now, now))

    (shop.folder / "new").replace(shop.folder / "shop.py")

    until(lambda: shop.reloads() == 1, "the new code")
    until(lambda: shop.version() == 2, "a worker with the new code")


def test_ctrl_c_ends_a_cluster_that_reloads(shop: Shop) -> None:
    """The process that imports ends with it."""
    process = shop.start(*RUN)
    slow = "import pathlib, time\npathlib.Path('importing').touch()\ntime.sleep(600)\n"

    shop.write(slow)

    until((shop.folder / "importing").exists, "the import to begin")
    assert shop.version() == 1
    assert ended(process)
    assert "Traceback" not in shop.log()


def test_a_change_during_an_import_begins_it_anew(shop: Shop) -> None:
    """The import of what is out of date is given up."""
    shop.start(*RUN)
    shop.write("import pathlib, time\npathlib.Path('importing').touch()\ntime.sleep(600)\n")
    until((shop.folder / "importing").exists, "the import to begin")

    shop.write(MODULE.format(version=2))

    until(lambda: shop.reloads() == 1, "the new code")
    until(lambda: shop.version() == 2, "a worker with the new code")


def test_without_the_extra_it_says_what_to_install(tmp_path: Path) -> None:
    """Nothing is started."""
    program = (
        "import importlib.util; find = importlib.util.find_spec;"
        "importlib.util.find_spec = lambda name, *more: None if name == 'watchfiles' else find(name, *more);"
        "from qcore.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "run", "--reload"],
        cwd=tmp_path,
        env=surroundings(),
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT,
    )

    assert done.returncode != 0
    assert "--reload needs the package watchfiles" in done.stderr
    assert "pip install ./core[reload]" in done.stderr
