"""`qcore run` as a service manager, a terminal and a container see it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from qcore import App, Config, State
from tests.integration.land import SECRET, alive, final, lines, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

#: makes a namespace of processes and the command its first one
UNSHARE = ("unshare", "--pid", "--fork", "--mount-proc")
CONFIG = f"""
name = "served"
workers = 2
secret_key = "{SECRET}"
shutdown_timeout = 10
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

    def start(self, *arguments: str, wrapper: tuple[str, ...] = ()) -> subprocess.Popen[bytes]:
        """Start `qcore` and return once its workers wait for tasks."""
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
        until(lambda: "is ready" in self.log() or process.poll() is not None, "the cluster to be ready")
        return process

    def log(self) -> str:
        """Return what the cluster has logged."""
        return "\n".join(lines(self.folder / "log"))

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


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """Return a folder with a program."""
    made = Service(tmp_path)
    yield made
    made.leave()


def test_it_runs_the_tasks_of_a_module_in_the_working_directory(service: Service) -> None:
    """`qcore run shop:app` finds shop.py, and SIGTERM ends it with 0."""
    process = service.start("run", "shop:app", "--config", "served.toml")

    value = service.call("add", 2, 3)
    process.send_signal(signal.SIGTERM)

    assert value == 5
    assert process.wait(10) == 0
    assert "cluster served has stopped, 1 task finished" in service.log()


def test_it_is_the_supervisor_itself(service: Service) -> None:
    """One process less: its child forks the workers."""
    process = service.start("run", "shop:app", "--config", "served.toml")

    (zygote,) = psutil.Process(process.pid).children()
    workers = zygote.children()

    assert f"supervisor {process.pid}" in service.log()
    assert len(workers) == 2


def test_a_configuration_alone_is_enough(service: Service) -> None:
    """Without MODULE:APP tasks are found by their dotted names."""
    service.start("run", "--config", "served.toml")

    assert service.call("add", 2, 3) == 5
    assert final(service.app.enqueue("math.copysign", 2, -2)).value == -2


def test_what_a_task_enqueues_goes_to_the_same_queue(service: Service) -> None:
    """An `App()` in a worker reads the file that `--config` named."""
    service.start("run", "shop:app", "--config", "served.toml")

    other = service.call("enqueue_another")

    assert service.app.results.get(other, wait=45) == 23


def test_options_are_laid_over_the_configuration(service: Service) -> None:
    """--workers and --label say it for this cluster alone; info shows it."""
    service.start("run", "shop:app", "--config", "served.toml", "--workers", "3", "--label", "third")

    (cluster,) = until(lambda: clusters(service), "the status to be published")

    assert (cluster["label"], len(cluster["workers"])) == ("third", 3)


def clusters(service: Service) -> list[dict[str, Any]]:
    """Return what `qcore info` shows of clusters."""
    done = subprocess.run(
        [sys.executable, "-m", "qcore", "--config", "served.toml", "info", "--json"],
        cwd=service.folder,
        capture_output=True,
        check=True,
        env=surroundings(),
    )
    told = json.loads(done.stdout)
    assert told["unreadable_clusters"] == 0
    found: list[dict[str, Any]] = told["clusters"]
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_lets_running_tasks_end(service: Service, number: signal.Signals) -> None:
    """Ctrl-C, a service manager and a closed terminal alike."""
    process = service.start("run", "shop:app", "--config", "served.toml")
    job = service.app.enqueue("shop.wait_for", str(service.folder / "go"))
    until((service.folder / "begun").exists, "the task to begin")

    process.send_signal(number)
    until(lambda: "cluster served stops" in service.log(), "the cluster to stop")
    (service.folder / "go").touch()

    assert process.wait(10) == 0
    assert final(job).value == "waited"


def test_the_second_signal_waits_for_nothing(service: Service) -> None:
    """What ran goes back to the queue, and no attempt is charged."""
    process = service.start("run", "shop:app", "--config", "served.toml")
    job = service.app.enqueue("shop.wait_for", str(service.folder / "go"))
    until((service.folder / "begun").exists, "the task to begin")

    process.send_signal(signal.SIGTERM)
    until(lambda: "cluster served stops" in service.log(), "the cluster to stop")
    process.send_signal(signal.SIGTERM)

    assert process.wait(8) == 0
    assert job.fetch() is None
    (service.folder / "go").touch()
    service.start("run", "shop:app", "--config", "served.toml")
    assert (final(job).state, final(job).attempts) == (State.SUCCESS, 1)


def test_a_module_that_cannot_be_imported_ends_it(service: Service) -> None:
    """With the traceback in the module; nothing is left running."""
    (service.folder / "broken.py").write_text("from qcore import App\napp = App()\nimport nothing_like_it\n")

    process = service.start("run", "broken:app", "--config", "served.toml")

    assert process.wait(10) != 0
    assert "nothing_like_it" in service.log()


def _can_unshare() -> bool:
    tried = subprocess.run(
        ["unshare", "--pid", "--fork", "--mount-proc", "true"], capture_output=True, check=False
    )
    return tried.returncode == 0


@pytest.fixture
def contained(service: Service) -> Callable[[], psutil.Process]:
    """Return what starts the cluster as the first process of a namespace of processes."""
    if sys.platform != "linux" or not _can_unshare():
        pytest.skip("needs the right to make a namespace of processes")

    def start() -> psutil.Process:
        outer = service.start(
            "run",
            "shop:app",
            "--config",
            "served.toml",
            wrapper=("unshare", "--pid", "--fork", "--mount-proc"),
        )
        (first,) = psutil.Process(outer.pid).children()
        return first

    return start


def test_the_first_process_of_a_container_reaps_orphans(
    service: Service, contained: Callable[[], psutil.Process]
) -> None:
    """What tasks leave behind becomes its child and does not stay as a zombie."""
    first = contained()

    for _ in range(5):
        service.call("leave_an_orphan")

    (supervisor,) = until(lambda: len(found := first.children()) == 1 and found, "orphans to be reaped")
    assert supervisor.status() != psutil.STATUS_ZOMBIE


def test_the_first_process_of_a_container_passes_signals_on(
    service: Service, contained: Callable[[], psutil.Process]
) -> None:
    """SIGTERM to it ends the cluster in order, and it ends as the cluster did."""
    first = contained()
    job = service.app.enqueue("shop.wait_for", str(service.folder / "go"))
    until((service.folder / "begun").exists, "the task to begin")

    first.send_signal(signal.SIGTERM)
    until(lambda: "cluster served stops" in service.log(), "the cluster to stop")
    (service.folder / "go").touch()

    assert service.started[0].wait(10) == 0
    assert final(job).value == "waited"
    assert not alive(first.pid)
