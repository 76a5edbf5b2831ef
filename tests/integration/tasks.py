"""Tasks the integration tests run, most of them badly behaved."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import contextvars
import ctypes
import decimal
import gc
import io
import itertools
import logging
import multiprocessing
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import attrs

import qcore
from qcore import App, Config, Retry
from qcore.errors import TaskTimeout

#: never used as a producer: tests enqueue what it declares through an app of their own
app = App(Config.from_dict({"name": "declared", "sqlite": {"path": ":memory:"}, "secret_key": "k" * 40}))

#: what survives from task to task in one worker
KEPT: list[Any] = []
#: which process imported this module
IMPORTED_BY = os.getpid()


def note(path: str, text: str = "") -> None:
    """Append a line to a file, whole."""
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(file, f"{text or os.getpid()}\n".encode())
    os.close(file)


def alone(path: str, seconds: float) -> None:
    """Record the beginning and the end of something that takes its time."""
    note(path, "begin")
    time.sleep(seconds)
    note(path, "end")


def hold(path: str, seconds: float = 60.0) -> None:
    """Wait until a file is there."""
    end = time.monotonic() + seconds
    while not os.path.exists(path) and time.monotonic() < end:
        time.sleep(0.005)


# -- plain --------------------------------------------------------------------------------------


def who_am_i() -> dict[str, Any] | None:
    """Return what this task learns of itself."""
    found = qcore.current()
    return None if found is None else attrs.asdict(found) | {"headers": dict(found.headers)}


async def who_am_i_async() -> dict[str, Any] | None:
    """Return the same, asked for in another thread."""
    return await asyncio.to_thread(who_am_i)


def add(x: int, y: int) -> int:
    """Return the sum."""
    return x + y


def echo(value: Any = None, **named: Any) -> Any:
    """Return what was given."""
    return {**named, "value": value} if named else value


def pid(path: str | None = None) -> int:
    """Return, and note, who runs it."""
    if path is not None:
        note(path)
    return os.getpid()


def nap(seconds: float, path: str | None = None) -> int:
    """Sleep; note the start."""
    if path is not None:
        note(path, f"{time.time()}")
    time.sleep(seconds)
    return os.getpid()


def hold_on(started: str, gate: str) -> int:
    """Note the start and wait for a file."""
    note(started)
    hold(gate)
    return os.getpid()


def slow_once(path: str, seconds: float) -> None:
    """Sleep if a file is there, and note it."""
    if os.path.exists(path):
        note(path, "slept")
        time.sleep(seconds)


def fail(text: str = "no", path: str | None = None) -> None:
    """Raise; note the run."""
    if path is not None:
        note(path, f"{time.time()}")
    raise RuntimeError(text)


def fail_first(times: int, path: str) -> str:
    """Fail so many times, then succeed; note the runs."""
    note(path, f"{time.time()}")
    with open(path) as file:
        runs = len(file.readlines())
    if runs <= times:
        message = f"run {runs}"
        raise OSError(message)
    return f"run {runs}"


def later(path: str, times: int, counted: bool) -> dict[str, Any]:
    """Ask to run later so many times, then return what this run knows of itself."""
    note(path)
    if len(Path(path).read_text().splitlines()) <= times:
        raise Retry.later(0.1, "the other side is busy", counted=counted)
    found = who_am_i()
    assert found is not None
    return found


def blob(size: int) -> bytes:
    """Return so many bytes."""
    return b"x" * size


def cpus() -> list[int]:
    """Return the processors this worker may use."""
    return sorted(os.sched_getaffinity(0))


def parent() -> tuple[int, int, int]:
    """Return who imported this module, who runs it, and who forked that."""
    return IMPORTED_BY, os.getpid(), os.getppid()


def hoard(megabytes: int) -> int:
    """Keep memory for ever."""
    KEPT.append(bytearray(b"x") * (megabytes << 20))
    return os.getpid()


@app.task(retry=Retry(max_attempts=3, backoff=0.2, on=(OSError,)))
def choosy(kind: str, path: str) -> None:
    """Raise one of two errors, of which the policy retries one."""
    note(path, f"{time.time()}")
    raise OSError(kind) if kind == "os" else ValueError(kind)


@app.task(retry=Retry(max_attempts=4, backoff=0.4, jitter=True))
def jittery(path: str) -> None:
    """Fail under a policy with jitter."""
    note(path, f"{time.time()}")
    raise RuntimeError


def spread(settings: dict[str, Any], count: int) -> list[str]:
    """Enqueue further tasks from inside a task."""
    inner = App(Config.from_dict(settings))
    ids = [inner.enqueue(add, number, number).id for number in range(count)]
    inner.close()
    return ids


@app.task(at_most_once=True)
def pay(path: str) -> None:
    """Note the run, and take the worker along."""
    note(path)
    os._exit(9)


TENANT: contextvars.ContextVar[str] = contextvars.ContextVar("tenant")


def evaluate(source: str) -> Any:
    """Return the value of an expression; what cannot be stored is told by its type."""
    from tests.integration import tasks

    names = {"tasks": tasks, "decimal": decimal, "gc": gc, "io": io, "logging": logging, "socket": socket}
    found = eval(source, globals() | names)  # noqa: S307 - the tests' own text
    return found if isinstance(found, (bool, int, float, str, list, tuple)) else str(type(found))


async def tenant(name: str) -> str | None:
    """Return the tenant that was set before, and set another."""
    before = TENANT.get(None)
    TENANT.set(name)
    return before


def start_family(path: str, hang: bool = False) -> None:
    """Start processes in every way, note them, and wait."""
    if hang:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    note(path, f"child {subprocess.Popen(['sleep', '300']).pid}")
    process = multiprocessing.get_context("fork").Process(target=time.sleep, args=(300,))
    process.start()
    note(path, f"process {process.pid}")
    # The shell goes on to `wait`, so the sleeper is a grandchild; the second one's parent has ended.
    subprocess.Popen(["sh", "-c", f"sleep 300 & echo grandchild $! >> {path}; wait"])
    subprocess.run(["sh", "-c", f"sleep 300 & echo orphan $! >> {path}"], check=True)
    note(path, f"daemon {subprocess.Popen(['sleep', '300'], start_new_session=True).pid}")
    time.sleep(300)


def wait_for_another(settings: dict[str, Any], many: bool) -> None:
    """Enqueue a task and wait for it, twice."""
    inner = App(Config.from_dict(settings))
    for _ in range(2):
        job = inner.enqueue(add, 1, 2)
        if many:
            inner.results.fetch_many([job.id], wait=0.2)
        else:
            job.fetch(wait=0.2)
    inner.close()


# -- late ---------------------------------------------------------------------------------------


def burn(path: str) -> int:
    """Hold the GIL in a C loop that never looks for signals."""
    note(path)
    return len(collections.deque(itertools.repeat(1), maxlen=0))


def power(path: str) -> int:
    """Compute in C for minutes."""
    note(path)
    large: int = 7 ** (10**8)
    return large.bit_length()


def backtrack(path: str) -> bool:
    """Let a regular expression backtrack for minutes."""
    note(path)
    return re.match(r"(a+)+$", "a" * 40 + "b") is None


def deaf(path: str) -> None:
    """Block every signal, then hang."""
    note(path)
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    while True:
        time.sleep(60)


def stubborn(path: str) -> None:
    """Swallow whatever interrupts it."""
    note(path)
    while True:
        try:
            time.sleep(60)
        except BaseException:
            note(path, "swallowed")


def tidy_up(path: str) -> None:
    """Hang, and clean up when interrupted."""
    try:
        time.sleep(60)
    except TaskTimeout:
        note(path, "cleaned up")
        raise


def swallow_once() -> str:
    """Hang, but return when interrupted."""
    with contextlib.suppress(TaskTimeout):
        time.sleep(60)
    return "late but done"


async def sleep_async(seconds: float, path: str | None = None) -> str:
    """Sleep in the event loop."""
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        if path is not None:
            note(path, "cancelled")
        raise
    return "slept"


async def block_loop() -> None:
    """Block the event loop itself."""
    while True:
        time.sleep(0.1)


async def leave_running(path: str) -> str:
    """Return while a task of our own still runs."""

    async def later() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            note(path, "ended")

    KEPT.append(asyncio.get_running_loop().create_task(later()))
    await asyncio.sleep(0)
    return "left"


async def raise_async(kind: str) -> None:
    """Raise from a coroutine."""
    await asyncio.sleep(0)
    raise_it(kind)


# -- badly behaved --------------------------------------------------------------------------------


class Mute(Exception):
    """An error whose text cannot be had."""

    def __init__(self, how: type[BaseException]) -> None:
        self.how = how

    def __str__(self) -> str:
        """Raise."""
        raise self.how("in __str__")

    __repr__ = __str__


def raise_it(kind: str) -> None:
    """Raise what tasks should not."""
    if kind == "mute":
        raise Mute(ValueError)
    if kind == "mute-exit":
        raise Mute(SystemExit)
    if kind == "surrogate":
        raise ValueError("\ud800")
    if kind == "long":
        raise ValueError("x" * 10_000_000)
    if kind == "group":
        raise ExceptionGroup("several", [ValueError("1"), OSError("2")])
    if kind == "exit-code":
        sys.exit(3)
    raise {
        "exit": SystemExit,
        "interrupt": KeyboardInterrupt,
        "generator": GeneratorExit,
        "timeout": TaskTimeout,
        "cancelled": asyncio.CancelledError,
        "stop": StopIteration,
        "memory": MemoryError,
        "base": BaseException,
    }[kind]


def recurse(depth: int = 0) -> int:
    """Never end."""
    return recurse(depth + 1) + 1


def greedy() -> bytearray:
    """Ask for more memory than there is."""
    return bytearray(1 << 60)


def unwritable(kind: str) -> Any:
    """Return what no serializer writes."""
    if kind == "loop":
        loop: list[Any] = []
        loop.append(loop)
        return loop
    if kind == "deep":
        deep: list[Any] = []
        for _ in range(100_000):
            deep = [deep]
        return deep
    return {"lock": threading.Lock(), "generator": (n for n in [1])}[kind]


def close_files(path: str) -> str:
    """Close every descriptor but the standard ones."""
    note(path)
    os.closerange(3, 4096)
    return "closed"


def close_and_take(path: str) -> str:
    """Close every descriptor and open others in their places."""
    note(path)
    os.closerange(3, 4096)
    KEPT.extend(os.open("/dev/null", os.O_RDWR) for _ in range(30))
    return "taken"


def disturb() -> None:
    """Change what the next task relies on."""
    os.chdir("/")
    os.umask(0o777)
    for number in (signal.SIGTERM, signal.SIGALRM, signal.SIGINT, signal.SIGCHLD):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGALRM])
    signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)


def surroundings() -> tuple[str, int]:
    """Return the working directory and the umask."""
    umask = os.umask(0)
    os.umask(umask)
    return os.getcwd(), umask


def die(how: str, path: str | None = None) -> None:
    """End the worker."""
    if path is not None:
        note(path, f"{time.time()}")
    if how == "exit":
        os._exit(5)
    if how == "clean":
        os._exit(0)
    if how == "abort":
        os.abort()
    if how == "segfault":
        ctypes.string_at(0)
    os.kill(os.getpid(), signal.SIGKILL)


def fork(how: str, path: str) -> int:
    """Fork, and let the child come back to the worker."""
    child = os.fork()
    if child == 0:
        note(path, "child")
        if how == "raise":
            raise RuntimeError("in the child")
        if how == "exit":
            sys.exit(0)
        return -1
    os.waitpid(child, 0)
    note(path, "parent")
    return os.getpid()


def orphan(path: str) -> int:
    """Leave a child behind."""
    child = subprocess.Popen(["sleep", "600"])
    note(path, str(child.pid))
    KEPT.append(child)
    return child.pid


def family() -> list[int]:
    """Use multiprocessing, subprocess and threads from inside a task."""
    found: list[int] = []
    threads = [threading.Thread(target=found.append, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with multiprocessing.get_context("fork").Pool(2) as pool:
        found += pool.map(abs, [-3, -4])
    found.append(int(subprocess.check_output(["echo", "5"])))
    return sorted(found)


def say_and_sleep(ready: Any) -> None:
    """Tell that we are there, and sleep."""
    ready.set()
    time.sleep(60)


def terminate_child(name: str, *, started: bool) -> int | None:
    """Signal a child of our own, at once or once it has started, and tell how it ended."""
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    child = context.Process(target=say_and_sleep, args=(ready,))
    child.start()
    if started:
        ready.wait()
    number = signal.Signals[name]
    os.kill(child.pid or 0, number)
    if number == signal.SIGINT:
        end = time.monotonic() + 60
        # KeyboardInterrupt is lost if it is raised in a finalizer, so that one is repeated.
        while child.exitcode is None and time.monotonic() < end:
            child.join(0.5)
            if child.exitcode is None:
                os.kill(child.pid or 0, number)
    child.join(60)
    status = child.exitcode
    child.kill()
    child.join()
    return status


def interrupt_program() -> int:
    """Interrupt a program of our own and tell how it ended."""
    with subprocess.Popen(["sleep", "60"]) as child:
        child.send_signal(signal.SIGINT)
        try:
            return child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()
            raise


def leave_thread() -> str:
    """Return while a thread goes on for ever."""
    threading.Thread(target=time.sleep, args=(600,)).start()
    return "left"


def shout(megabytes: int) -> str:
    """Print a lot."""
    for _ in range(megabytes):
        sys.stdout.write("x" * (1 << 20) + "\n")
        sys.stderr.write("y" * 1000 + "\n")
    return "shouted"


def named(name: str, value: Any) -> dict[str, Any]:
    """Return a value under a name that is not in the arguments as a key."""
    return {name: value}
