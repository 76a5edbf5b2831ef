"""An environment for each peer, made once and kept in a cache."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.benchmarks.contest import Peer

_ROOT: Final = Path(__file__).resolve().parents[2]


def default_cache() -> Path:
    """Return the folder the environments are kept in."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "qcore-benchmarks"


def interpreter(name: str, requirements: Sequence[str], cache: Path) -> str:
    """Return the Python a system is measured with, after installing it where that is due.

    Args:
        name: what the system is called, in file names.
        requirements: what is installed; a folder of this tree is a package.
        cache: the folder the environments are kept in.

    Raises:
        subprocess.CalledProcessError: pip could not install it; its output says why.

    """
    # qcore too has an environment of its own: the hooks of other plugins would cost it time.
    ours = [one for one in requirements if (_ROOT / one / "pyproject.toml").exists()]
    wanted = [str(_ROOT / one) if one in ours else one for one in requirements]
    asked = "\n".join((sys.version, *wanted, *map(_state, ours)))
    folder = cache / f"{name}-{hashlib.sha256(asked.encode()).hexdigest()[:12]}"
    python = folder / "bin" / "python"
    ready = folder / "ready"
    if not ready.exists():
        # what an interrupted run left is of no use
        shutil.rmtree(folder, ignore_errors=True)
        venv.create(folder, with_pip=True, symlinks=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *wanted], check=True)
        ready.touch()
    return str(python)


def _state(folder: str) -> str:
    """Return what tells one state of a package of this tree from another."""
    files = sorted(file for file in (_ROOT / folder / "src").rglob("*") if file.suffix in {".py", ".lua"})
    return hashlib.sha256(b"".join(str(file).encode() + file.read_bytes() for file in files)).hexdigest()


def version(peer: Peer, python: str) -> str:
    """Return the version that is installed."""
    program = f"import importlib.metadata as m; print(m.version({peer.distribution!r}))"
    return subprocess.run([python, "-c", program], check=True, capture_output=True, text=True).stdout.strip()
