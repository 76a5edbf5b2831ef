"""An environment for each peer, made once and kept in a cache."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.benchmarks.contest import Peer


def default_cache() -> Path:
    """Return the folder the environments are kept in."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "qcore-benchmarks"


def interpreter(peer: Peer, cache: Path) -> str:
    """Return the Python a peer is measured with, after installing it where that is due.

    Raises:
        subprocess.CalledProcessError: pip could not install it; its output says why.

    """
    if not peer.requirements:
        return sys.executable
    asked = "\n".join((sys.version, *peer.requirements))
    folder = cache / f"{peer.module}-{hashlib.sha256(asked.encode()).hexdigest()[:12]}"
    python = folder / "bin" / "python"
    ready = folder / "ready"
    if not ready.exists():
        # what an interrupted run left is of no use
        shutil.rmtree(folder, ignore_errors=True)
        venv.create(folder, with_pip=True, symlinks=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *peer.requirements], check=True)
        ready.touch()
    return str(python)


def version(peer: Peer, python: str) -> str:
    """Return the version that is installed."""
    program = f"import importlib.metadata as m; print(m.version({peer.distribution!r}))"
    return subprocess.run([python, "-c", program], check=True, capture_output=True, text=True).stdout.strip()
