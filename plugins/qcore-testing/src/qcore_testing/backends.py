"""Settings of a queue for tests of reporters and other hooks."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import pytest

from qcore import App, Cluster, Config

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

#: seconds within which a server has to accept connections
_START: Final = 60.0


@contextmanager
def queue_settings(kind: str, folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the settings of a queue in a file (`sqlite`), or on a private server (`redis`).

    Where there is no server the test is skipped; it fails with CI in the environment.
    """
    if kind == "sqlite":
        yield {"sqlite": {"path": str(folder / "queue.db")}}
        return
    program = shutil.which("redis-server")
    if program is None or importlib.util.find_spec("qcore_redis") is None:
        said = (
            "there is no redis-server or no qcore-redis; apt install redis-server, and install that package"
        )
        if os.environ.get("CI"):
            pytest.fail(said)
        pytest.skip(said)
    # The path of a socket must be short.
    with tempfile.TemporaryDirectory() as short:
        path = f"{short}/r.sock"
        server = subprocess.Popen([program, "--port", "0", "--unixsocket", path, "--save", ""])  # noqa: S603 - found by `which`
        try:
            _wait_for(server, path)
            yield {"redis": f"unix://{path}"}
        finally:
            server.kill()
            server.wait()


def _wait_for(server: subprocess.Popen[bytes], path: str) -> None:
    """Wait until a server accepts connections at a socket."""
    end = time.monotonic() + _START
    while True:
        with socket.socket(socket.AF_UNIX) as tried:
            if not tried.connect_ex(path):
                return
        if server.poll() is not None or time.monotonic() > end:
            pytest.fail(f"redis-server accepts no connection at {path}; its exit code is {server.returncode}")
        time.sleep(0.01)


@contextmanager
def clusters(
    folder: Path, monkeypatch: pytest.MonkeyPatch, module: str, source: str, **common: Any
) -> Iterator[Callable[..., tuple[App, Cluster]]]:
    """Yield a function that starts a cluster and returns a producer for it, and the cluster.

    The function takes settings by name. All that it has started ends with the block.

    Args:
        folder: of the module and of the state.
        monkeypatch: of the test.
        module: name of a module with tasks, which workers can import.
        source: its text.
        **common: settings of all clusters.

    """
    (folder / f"{module}.py").write_text(source)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.setenv("XDG_STATE_HOME", str(folder))
    apps: list[App] = []
    started: list[Cluster] = []

    def start(**settings: Any) -> tuple[App, Cluster]:
        config = Config.from_dict({"name": "shop", "workers": 1, **common} | settings)
        apps.append(App(config))
        started.append(Cluster(config))
        started[-1].start()
        return apps[-1], started[-1]

    yield start
    for cluster in started:
        cluster.stop(timeout=0)
    for app in apps:
        app.close()
