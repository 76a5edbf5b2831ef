"""`qcore run` as a service manager, a terminal and a container see it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from qcore import State
from tests.integration.land import alive, final, until
from tests.integration.service import Service, surroundings

if TYPE_CHECKING:
    from collections.abc import Callable

#: makes a namespace of processes and the command its first one
UNSHARE = ("unshare", "--pid", "--fork", "--mount-proc")
#: what a module has called in workers
HOOKS = """
import atexit

def note(text):
    with open("noted", "a") as file:
        file.write(text + "\\n")

app.on_worker_start(lambda: note("start"))
app.on_worker_stop(lambda: note("stop"))
atexit.register(note, "atexit")
"""


@pytest.mark.portable
def test_it_runs_the_tasks_of_a_module_in_the_working_directory(service: Service) -> None:
    """`qcore run shop:app` finds shop.py, and SIGTERM ends it with 0."""
    process = service.start("run", "shop:app", "--config", "served.toml")

    value = service.call("add", 2, 3)
    process.send_signal(signal.SIGTERM)

    assert value == 5
    assert process.wait(100) == 0
    assert "cluster served has stopped, 1 task finished" in service.log()


def test_it_is_the_supervisor_itself(service: Service) -> None:
    """One process less: its child forks the workers."""
    process = service.start("run", "shop:app", "--config", "served.toml")

    (zygote,) = psutil.Process(process.pid).children()
    workers = zygote.children()

    assert f"supervisor {process.pid}" in service.log()
    assert len(workers) == 2


@pytest.mark.portable
def test_a_configuration_alone_is_enough(service: Service) -> None:
    """Without MODULE:APP tasks are found by their dotted names."""
    service.start("run", "--config", "served.toml")

    assert service.call("add", 2, 3) == 5
    assert final(service.app.enqueue("math.copysign", 2, -2)).value == -2


@pytest.mark.portable
def test_what_a_task_enqueues_goes_to_the_same_queue(service: Service) -> None:
    """An `App()` in a worker reads the file that `--config` named."""
    service.start("run", "shop:app", "--config", "served.toml")

    other = service.call("enqueue_another")

    assert service.app.results.get(other, wait=100) == 23


@pytest.mark.portable
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

    assert process.wait(100) == 0
    assert final(job).value == "waited"


def test_the_second_signal_waits_for_nothing(service: Service) -> None:
    """What ran goes back to the queue, and no attempt is charged."""
    settings = service.folder / "served.toml"
    settings.write_text(settings.read_text().replace("shutdown_timeout = 10", "shutdown_timeout = 600"))
    process = service.start("run", "shop:app", "--config", "served.toml")
    job = service.app.enqueue("shop.wait_for", str(service.folder / "go"))
    until((service.folder / "begun").exists, "the task to begin")

    process.send_signal(signal.SIGTERM)
    until(lambda: "cluster served stops" in service.log(), "the cluster to stop")
    process.send_signal(signal.SIGTERM)

    assert process.wait(100) == 0
    assert job.fetch() is None
    (service.folder / "go").touch()
    service.start("run", "shop:app", "--config", "served.toml")
    assert (final(job).state, final(job).attempts) == (State.SUCCESS, 1)


def test_a_module_that_cannot_be_imported_ends_it(service: Service) -> None:
    """With the traceback in the module; nothing is left running."""
    (service.folder / "broken.py").write_text("from qcore import App\napp = App()\nimport nothing_like_it\n")

    process = service.start("run", "broken:app", "--config", "served.toml")

    assert process.wait(100) != 0
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

    assert service.started[0].wait(100) == 0
    assert final(job).value == "waited"
    assert not alive(first.pid)


@pytest.mark.portable
def test_module_of_the_command_line_has_its_hooks_called(service: Service) -> None:
    """What it declares for workers, and what it registers with atexit, runs in each of them."""
    with (service.folder / "shop.py").open("a") as file:
        file.write(HOOKS)
    process = service.start("run", "shop:app", "--config", "served.toml")
    assert service.call("add", 2, 3) == 5

    process.send_signal(signal.SIGTERM)

    assert process.wait(100) == 0
    noted = (service.folder / "noted").read_text().split()
    assert sorted(noted) == ["atexit"] * 2 + ["start"] * 2 + ["stop"] * 2
