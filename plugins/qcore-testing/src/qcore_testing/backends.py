"""Settings of a queue for tests of reporters and other hooks."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


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
            yield {"redis": f"unix://{path}"}
        finally:
            server.kill()
            server.wait()
