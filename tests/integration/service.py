"""A folder with a program, and `qcore run` in it as a service manager starts it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from qcore import App, Config
from tests.integration.land import SECRET, final, lines, until

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = f"""
name = "served"
workers = 2
secret_key = "{SECRET}"
shutdown_timeout = 10
retry = 2
[sqlite]
path = "queue.db"
"""
MODULE = """
import os, pathlib, subprocess, time
from qcore import App

app = App()

@app.task
def add(x: int, y: int) -> int:
    return x + y

@app.task
def wait_for(file: str) -> str:
    pathlib.Path("begun").write_text("")
    while not os.path.exists(file):
        time.sleep(0.01)
    return "waited"

@app.task
def enqueue_another() -> str:
    return add.enqueue(20, 3).id

@app.task
def leave_an_orphan() -> None:
    subprocess.run(["sh", "-c", "(exit 3) & exit 0"], check=True)
"""


def surroundings() -> dict[str, str]:
    """Return an environment without settings: the mark of the tests would be taken for one."""
    return {key: value for key, value in os.environ.items() if not key.startswith("QCORE_")}


class Service:
    """A folder with a program, and what is started in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "served.toml").write_text(CONFIG)
        (folder / "shop.py").write_text(MODULE)
        self.app = App(Config.load(folder / "served.toml", sqlite={"path": str(folder / "queue.db")}, env={}))
        self.started: list[subprocess.Popen[bytes]] = []

    def start(
        self, *arguments: str, wrapper: tuple[str, ...] = (), wait: Path | None = None
    ) -> subprocess.Popen[bytes]:
        """Start `qcore` and return once its workers wait for tasks, or once there is a file."""
        with (self.folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [*wrapper, sys.executable, "-m", "qcore", *arguments],
                cwd=self.folder,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                env=surroundings(),
                # the tests themselves may have been started with nohup
                preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # noqa: PLW1509 - as said
            )
        self.started.append(process)

        def started() -> bool:
            return wait.exists() if wait else "is ready" in self.log()

        until(lambda: started() or process.poll() is not None, "the cluster to be ready")
        return process

    def log(self) -> str:
        """Return what the cluster has logged."""
        return "\n".join(lines(self.folder / "log"))

    def health(self) -> str:
        """Return what a health probe prints."""
        done = subprocess.run(
            [sys.executable, "-m", "qcore", "--config", "served.toml", "health", "--stalled-after", "0"],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            text=True,
            check=False,
            env=surroundings(),
        )
        assert done.returncode == (0 if done.stdout == "healthy\n" else 1)
        return done.stdout

    def call(self, name: str, *arguments: Any) -> Any:
        """Enqueue a task and return its result."""
        return final(self.app.enqueue(f"shop.{name}", *arguments)).value

    def leave(self) -> None:
        """End what still runs."""
        for process in self.started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self.app.close()
