"""Fixtures of the tests of every package: how supervisors start, and what Ctrl-C does."""

from __future__ import annotations

import gc
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest

from qcore_process import interpreter
from tests.discovery import discover_once
from tests.forkserver import Forked, ForkServer

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Generator, Iterator, Sequence


def pytest_configure() -> None:
    """Discover plugins once, and do not ignore Ctrl-C.

    A shell has what it runs in the background ignore it: whatever is started would.
    """
    discover_once()
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Look for no garbage among the tests: there are thousands, and they stay until the end."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(10_000, 20, 20)
        gc.enable()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes long (the marker `early`): at the end all processes would wait for it."""
    processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    early = [item for item in items if item.get_closest_marker("early")]
    others = [item for item in items if not item.get_closest_marker("early")]
    items[:] = in_shares(early, others, processes)


def in_shares(early: Sequence[Any], others: Sequence[Any], processes: int) -> list[Any]:
    """Return what each process is given, one share after the other, each with some of `early` first.

    The shares are those of xdist's `worksteal`, which gives the first part of all tests to the first process.
    """
    found: list[Any] = []
    left = list(others)
    for number in range(processes):
        mine = early[number::processes]
        size = (len(early) + len(others) - len(found)) // (processes - number)
        count = max(size - len(mine), 0)
        found += [*mine, *left[:count]]
        del left[:count]
    return found + left


@pytest.fixture(scope="session", autouse=True)
def _supervisors_are_forked() -> Iterator[None]:
    """Fork supervisors of a process that has imported what they need; a test has hundreds of them."""
    if not ForkServer.works_here():
        yield
        return
    server, as_users_do = ForkServer(), interpreter.start

    def start(program: str, fd: int) -> Forked | subprocess.Popen[bytes]:
        # a test may ask for it, too
        return server.run(program, fd) if ForkServer.works_here() else as_users_do(program, fd)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(interpreter, "start", start)
        yield
    server.close()
