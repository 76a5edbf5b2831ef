"""Schedules declared in code, on real clusters."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.integration.land import SECRET, lines, until

if TYPE_CHECKING:
    from qcore import App
    from tests.integration.land import Land

pytestmark = pytest.mark.portable

SCRIPT = """
import time
from datetime import timedelta
from qcore import App, Cluster, Config, every
app = App(Config.from_dict({settings!r}))

@app.task(schedule=every(timedelta(seconds=1), args=["ran"]))
def note(text: str) -> None:
    with open({witness!r}, "a") as file:
        print(text, file=file)

if __name__ == "__main__":
    with Cluster(app):
        end = time.monotonic() + 45
        while time.monotonic() < end:
            try:
                if len(open({witness!r}).readlines()) >= 2:
                    break
            except FileNotFoundError:
                pass
            time.sleep(0.05)
    print([(one.name, one.declared) for one in app.schedules.list()])
"""
CONFIG = f"""
name = "land"
workers = 1
secret_key = "{SECRET}"
[sqlite]
path = "queue.db"
"""
SHOP = """
from qcore import App, Config, cron, every

app = App(Config.load("qcore.toml", env={}))

"""
TASK = """
@app.task(schedule={schedule})
def {name}() -> None:
    with open("{name}", "a") as file:
        print("ran", file=file)
"""


def test_a_script_declares_its_own(land: Land) -> None:
    """The cluster it starts keeps and fires it."""
    path = land.folder / "nightly.py"
    path.write_text(SCRIPT.format(settings=land.settings(preload=[]), witness=str(land.file())))

    done = subprocess.run(
        [sys.executable, str(path)], cwd=land.folder, capture_output=True, text=True, timeout=150, check=False
    )

    assert done.stdout == "[('nightly.note', 'nightly')]\n", done.stderr
    assert set(lines(land.file())) == {"ran"}


def write(land: Land, **schedules: str) -> None:
    """Write the module that `qcore run` is given, newer than any compiled one."""
    text = SHOP + "".join(TASK.format(name=name, schedule=told) for name, told in schedules.items())
    (land.folder / "shop.py").write_text(text)
    (land.folder / "qcore.toml").write_text(CONFIG)


def served(land: Land) -> subprocess.Popen[bytes]:
    """Start `qcore run`."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("QCORE_")}
    return subprocess.Popen(
        [sys.executable, "-m", "qcore", "run", "shop:app"],
        cwd=land.folder,
        env={**environment, "PYTHONDONTWRITEBYTECODE": "1"},
    )


def stop(process: subprocess.Popen[bytes]) -> None:
    """End it as a service manager does."""
    process.send_signal(signal.SIGTERM)
    assert process.wait(100) == 0


def names(app: App) -> set[str]:
    """Return the names of the schedules there are."""
    return {one.name for one in app.schedules.list()}


def test_each_start_keeps_what_the_module_says_by_then(land: Land) -> None:
    """What it says no more is dropped, what was made by hand is not."""
    app = land.app(preload=[])
    app.schedules.create("shop.old", name="by hand", minutes=5, next_run=2_000_000_000)
    write(land, old="every(seconds=1)", other='cron("0 3 1 1 *")')
    process = served(land)
    until(lambda: lines(land.folder / "old"), "the first to run", within=100)
    assert names(app) == {"shop.old", "shop.other", "by hand"}
    stop(process)

    write(land, new="every(seconds=1)", other='cron("0 4 1 1 *", tz="Asia/Tokyo")')
    process = served(land)
    until(lambda: lines(land.folder / "new"), "the second to run", within=100)
    ran = len(lines(land.folder / "old"))
    stop(process)

    found = {one.name: one for one in app.schedules.list()}
    assert set(found) == {"shop.new", "shop.other", "by hand"}
    assert (found["shop.other"].rule, found["shop.other"].time_zone) == ("0 4 1 1 *", "Asia/Tokyo")
    assert len(lines(land.folder / "old")) == ran


def test_a_module_to_preload_declares_too(land: Land, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the app whose queue the cluster works on; with `scheduler` off nothing is touched."""
    write(land, sweep="every(seconds=1)")
    monkeypatch.chdir(land.folder)
    monkeypatch.syspath_prepend(str(land.folder))
    app = land.app(preload=[])

    quiet = land.cluster(preload=["shop"], scheduler=False)
    assert app.schedules.list() == []
    quiet.stop()
    land.cluster(preload=["shop"])

    until(lambda: lines(land.folder / "sweep"), "it to run")
    assert names(app) == {"shop.sweep"}
