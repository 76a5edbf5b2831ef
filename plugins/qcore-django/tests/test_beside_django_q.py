"""Signatures and behavior of `qcore_django.tasks` are those of django-q2, function by function."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
#: what each of the two is asked, see there
SCENES = (
    "alone", "options", "failed", "hooks", "groups", "waits", "chains", "links", "iters", "classes", "cached",
    "unknown", "schedules",
)  # fmt: skip


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what Django-Q said, and what this package said."""
    if importlib.util.find_spec("django_q") is None:
        if os.environ.get("CI"):
            pytest.fail("django-q2 is not installed, and CI compares with it")
        pytest.skip("django-q2 is not installed; the extra `test` of this package has it")
    return tuple(
        _said(module, tmp_path_factory.mktemp("site")) for module in ("django_q.tasks", "qcore_django.tasks")
    )  # type: ignore[return-value]  # two of them


def test_each_function_takes_what_the_original_takes(both: tuple[dict[str, Any], dict[str, Any]]) -> None:
    """By the same names, in the same places; some take further keywords."""
    theirs, ours = (one["signatures"] for one in both)
    wrong = {}
    for name, parameters in theirs.items():
        here = ours.get(name)
        by_keyword = [one for one in here or () if one[1] == "KEYWORD_ONLY"]
        kept = [one for one in here or () if one not in by_keyword]
        if kept[: len(parameters)] != parameters:
            wrong[name] = (parameters, here)

    assert len(theirs) > 40
    assert not wrong


@pytest.mark.parametrize("scene", SCENES)
def test_each_function_does_what_the_original_does(
    both: tuple[dict[str, Any], dict[str, Any]], scene: str
) -> None:
    """The same calls, in this process, have the same results."""
    theirs, ours = (one["behavior"] for one in both)

    assert theirs[scene] == ours[scene]
    assert set(theirs) == set(SCENES)


def _said(module: str, folder: Path) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, str(HERE / "beside_django_q.py"), module, str(folder)],
        capture_output=True, text=True, check=False, cwd=folder,
        env={name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    return said
