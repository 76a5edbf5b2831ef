"""What holds for every test: no trace of the user's own settings, no process left behind."""

from __future__ import annotations

import os
import tomllib
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import psutil
import pytest

from tests.forkserver import SERVERS

if TYPE_CHECKING:
    from collections.abc import Iterator

#: seconds what a test has started is given to end when all tests are done
TIMEOUT = 45.0

# A further Python repeats the examples of the oldest one, so that a few are enough there.
_EXAMPLES = int(os.environ.get("TEST_QCORE_EXAMPLES", "100"))
# A machine that does other things as well is not a fault of the code, so there is no deadline.
hypothesis.settings.register_profile("house", deadline=None, print_blob=True, max_examples=_EXAMPLES)
hypothesis.settings.load_profile("house")


def pytest_sessionstart() -> None:
    """Refuse an environment that was made before the core had its plugins of today."""
    text = (Path(__file__).parents[1] / "core" / "pyproject.toml").read_text(encoding="utf-8")
    wanted = tomllib.loads(text)["project"]["entry-points"]["qcore"]
    there = {
        one.name: one.value for one in metadata.distribution("qcore").entry_points if one.group == "qcore"
    }
    if wanted != there:
        msg = "the entry points of core have changed since it was installed: uv pip install -e ./core"
        raise pytest.UsageError(msg)


@pytest.fixture(scope="session", autouse=True)
def _own_surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the user's settings out of the tests and the tests out of the user's state."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("QCORE_")]:
            patch.delenv(name)
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="session", autouse=True)
def _no_process_left_behind() -> Iterator[None]:
    """See that everything the tests have started has ended."""
    # servers that plugins' tests have started before keep running until those end their session
    before = set(psutil.Process().children(recursive=True))
    yield
    # multiprocessing keeps its resource tracker until the interpreter ends
    children = [p for p in psutil.Process().children(recursive=True) if p not in before]
    started = [p for p in children if "resource_tracker" not in _told(p) and p.pid not in SERVERS]
    _, left = psutil.wait_procs(started, timeout=TIMEOUT)

    assert not left, f"still running: {[_told(process) for process in left]}"


def _told(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""
