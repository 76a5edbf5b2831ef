"""The models do what those of django-q2 do."""

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
SCENES = ("constants", "creating", "changing", "next_runs", "filtering", "results", "queued")
#: Django-Q moves a yearly slot by an hour if the clocks are changed meanwhile.
MOVED = "Y 2027-03-27 07:30:00+00:00"


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Return what Django-Q said, and what this package said."""
    if importlib.util.find_spec("django_q") is None:
        if os.environ.get("CI"):
            pytest.fail("django-q2 is not installed, and CI compares with it")
        pytest.skip("django-q2 is not installed; the extra `test` of this package has it")
    return [_said(package, tmp_path_factory.mktemp("site")) for package in ("django_q", "qcore_django")]


@pytest.mark.parametrize("scene", SCENES)
def test_each_model_does_what_the_model_of_django_q_does(both: list[dict[str, Any]], scene: str) -> None:
    """The same calls, in this process, have the same results."""
    theirs, ours = both
    hours = [one["next_runs"].pop(MOVED, "")[11:13] for one in both]

    assert theirs[scene] == ours[scene]
    assert set(theirs) == set(SCENES)
    assert hours in (["07", "06"], ["", ""])


def _said(package: str, folder: Path) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, str(HERE / "beside_models.py"), package, str(folder)],
        capture_output=True, text=True, check=False, cwd=folder,
        env={name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    return said
