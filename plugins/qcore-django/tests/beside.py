"""Runs programs with django-q2 in processes of their own, and reads what they print."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from once import made_once

HERE = Path(__file__).parent


def need() -> None:
    """Skip a test where django-q2 is not installed, and fail it in CI."""
    if importlib.util.find_spec("django_q") is None:
        if os.environ.get("CI"):
            pytest.fail("django-q2 is not installed, and CI compares with it")
        pytest.skip("django-q2 is not installed; the extra `test` of this package has it")


def said(script: str, *arguments: object, **env: str) -> Any:
    """Run a program of this folder and return what it has printed as JSON."""
    kept = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    done = subprocess.run(
        [sys.executable, str(HERE / script), *map(str, arguments)],
        capture_output=True, text=True, check=False, env={**kept, **env},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def both(script: str, names: tuple[str, str], factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Return what a program says of Django-Q, and what it says of this package."""
    need()

    def ask(folder: Path) -> None:
        for name in names:
            (folder / name).mkdir()
            (folder / f"{name}.json").write_text(json.dumps(said(script, name, folder / name)))

    folder = made_once(factory, script.removesuffix(".py"), ask)
    return [json.loads((folder / f"{name}.json").read_text()) for name in names]
