"""The benchmark of tasks that run at once works; how well it goes is for nobody to assert."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest


@pytest.mark.further
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_quick_run_has_every_figure() -> None:
    """`--quick` runs each of them once, and loses no task."""
    ran = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.at_once", "--quick"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert ran.returncode == 0, ran.stderr
    assert len(json.loads(ran.stdout)) == 4
