"""What one task leaves in its process does not reach the next, nor end the worker."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration import tasks
from tests.integration.land import final, lines, until, worker_pids

if TYPE_CHECKING:
    from tests.integration.land import Land

#: what a task does to its process, and how the next one would notice
HARM = {
    "directory": ("os.chdir('/')", "os.getcwd()"),
    "umask": ("os.umask(0o777)", "(os.umask(0o22), os.umask(0o22))[1]"),
    "context": ("tasks.TENANT.set('shop')", "tasks.TENANT.get(None)"),
    "decimals": ("setattr(decimal.getcontext(), 'prec', 3)", "decimal.getcontext().prec"),
    "stdout closed": ("sys.stdout.close()", "(sys.stdout.closed, print('to be seen'))"),
    "stderr closed": ("sys.stderr.close()", "(sys.stderr.closed, logging.getLogger().warning('seen'))"),
    "stdin closed": ("sys.stdin.close()", "sys.stdin.closed"),
    "stdout replaced": ("setattr(sys, 'stdout', io.StringIO())", "type(sys.stdout).__name__"),
    "stderr none": ("setattr(sys, 'stderr', None)", "sys.stderr is None"),
    "descriptors closed": ("[os.close(fd) for fd in (0, 1, 2)]", "[os.fstat(fd).st_ino for fd in (0, 1, 2)]"),
    "descriptor taken": ("os.dup2(os.open('/dev/zero', os.O_RDWR), 1)", "os.fstat(1).st_ino"),
    "sockets": ("socket.setdefaulttimeout(0.001)", "socket.getdefaulttimeout()"),
    "garbage": ("gc.disable()", "gc.isenabled()"),
    "handlers": (
        "len([signal.signal(one, signal.SIG_IGN) for one in (15, 14, 2)])",
        "[signal.getsignal(one) is signal.SIG_IGN for one in (15, 14, 2)]",
    ),
    "mask": ("signal.pthread_sigmask(signal.SIG_BLOCK, [15])", "len(signal.pthread_sigmask(0, ()))"),
}


@pytest.mark.parametrize("name", HARM)
def test_next_task_finds_what_the_table_says(land: Land, name: str) -> None:
    """It is restored, the worker is the same, and the task that did it has succeeded."""
    app, cluster = land.both(workers=1)
    harm, look = HARM[name]
    before = app.enqueue(tasks.evaluate, look).result(wait=100)
    (worker,) = worker_pids(cluster)

    assert final(app.enqueue(tasks.evaluate, harm)).success
    after = app.enqueue(tasks.evaluate, look).result(wait=100)

    assert after == before
    assert worker_pids(cluster) == [worker]
    assert dict(cluster.status().reincarnations) == {}


def test_worker_goes_on_whatever_a_failing_task_did_to_its_log(land: Land) -> None:
    """The line about the failure is written after the streams are restored."""
    app, cluster = land.both(workers=1, ack_failures=True)

    harm = "(sys.stderr.close(), sys.stdout.close(), logging.shutdown(), 1 / 0)"
    jobs = [app.enqueue(tasks.evaluate, harm) for _ in range(3)]

    assert [final(job).error.partition(":")[0] for job in jobs] == ["ZeroDivisionError"] * 3
    assert app.enqueue(tasks.add, 1, 2).result(wait=100) == 3
    assert dict(cluster.status().reincarnations) == {}


def test_context_of_a_coroutine_is_its_own_too(land: Land) -> None:
    """The event loop of a worker lives longer than a task, its context does not."""
    app, _ = land.both(workers=1)

    assert app.enqueue(tasks.tenant, "shop").result(wait=100) is None
    assert app.enqueue(tasks.tenant, "other").result(wait=100) is None


# -- the beginning and the end of a worker ------------------------------------------------------

MODULE = """
import atexit, os, time
from qcore import App, Config

app = App(Config.from_dict({settings!r}))
here = {path!r}


def note(text):
    fd = os.open(here, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(fd, f"{{text}} {{os.getpid()}}\\n".encode())
    os.close(fd)


@app.on_worker_start
def begin():
    note("start")


@app.on_worker_start
def broken():
    raise SystemExit("no")


@app.on_worker_stop
def finish():
    note("stop")


@app.on_worker_stop
def broken_too():
    raise ValueError("no")


@app.task
def work(hang=""):
    atexit.register(note, "exit")
    if hang == "exit":
        atexit.register(time.sleep, 60)
    if hang == "stop":
        app.on_worker_stop(lambda: time.sleep(60))
    return os.getpid()


atexit.register(note, "exit of the module")
"""


@pytest.fixture
def module(land: Land, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Write a module with functions for the start and stop of workers; return it."""
    name = f"own_hooks_{os.getpid()}_{id(land)}"
    (land.folder / f"{name}.py").write_text(MODULE.format(settings=land.settings(), path=str(land.file())))
    monkeypatch.syspath_prepend(str(land.folder))
    return name


@pytest.mark.parametrize("preloaded", [True, False])
@pytest.mark.parametrize("how", ["recycled", "stopped"])
def test_what_is_to_run_before_a_worker_ends_runs(
    land: Land, module: str, how: str, *, preloaded: bool
) -> None:
    """`on_worker_stop`, `atexit`: once in each worker, in the order of a program's end."""
    settings: dict[str, Any] = {"workers": 1, "recycle": 1 if how == "recycled" else 500}
    cluster = land.cluster(**settings, preload=[module] if preloaded else [])
    app = land.app()

    pid = app.enqueue(f"{module}.work").result(wait=100)
    if how == "stopped":
        cluster.stop()

    mine = until(
        lambda: len(own := [one for one in lines(land.file()) if one.endswith(f" {pid}")]) >= 4 and own
    )
    assert mine == [f"{what} {pid}" for what in ("start", "stop", "exit", "exit of the module")]


def test_a_module_that_a_task_imports_has_its_worker_begin_too(land: Land, module: str) -> None:
    """What it declares for the start of a worker is called before its own first task."""
    app, _ = land.both(workers=1)

    # what it returns cannot be stored, and the module is imported all the same
    final(app.enqueue("importlib.import_module", module))
    pid = app.enqueue(f"{module}.work").result(wait=100)

    assert lines(land.file()) == [f"start {pid}"]


@pytest.mark.parametrize("hang", ["exit", "stop"])
def test_what_hangs_at_the_end_of_a_worker_is_cut_off(land: Land, module: str, hang: str) -> None:
    """Its successor works after two seconds, and nothing counts as a crash."""
    cluster = land.cluster(workers=1, recycle=1, preload=[module])
    app = land.app()

    first = app.enqueue(f"{module}.work", hang).result(wait=100)
    second = app.enqueue(f"{module}.work").result(wait=100)

    assert first != second
    until(lambda: sum(cluster.status().reincarnations.values()) == 2)
    assert dict(cluster.status().reincarnations) == {"recycled": 2}


def test_exit_handlers_of_the_program_do_not_run_in_workers(land: Land) -> None:
    """A temporary folder of the program is still there after a worker has ended."""
    land.file("keep.py").write_text(
        "import atexit, sys, tempfile, os\n"
        "from qcore import Cluster, Config\n"
        "folder = tempfile.TemporaryDirectory()\n"
        f"atexit.register(print, 'the end of the program', file=open({str(land.file('said'))!r}, 'a'))\n"
        f"cluster = Cluster(Config.from_dict({land.settings(workers=1, recycle=1)!r})).start()\n"
        "print(folder.name, flush=True)\n"
        "sys.stdin.read()\n"
        "assert os.path.isdir(folder.name)\n"
        "cluster.stop()\n"
    )
    app = land.app()
    process = subprocess.Popen(
        [sys.executable, str(land.file("keep.py"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert process.stdout is not None
    folder = process.stdout.readline().strip()
    pids = {app.enqueue(tasks.pid).result(wait=100) for _ in range(3)}

    assert len(pids) == 3
    assert os.path.isdir(folder)
    process.communicate("")
    assert process.returncode == 0
    assert lines(land.file("said")) == ["the end of the program"]
