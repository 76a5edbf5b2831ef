"""The benchmark on SQS runs; how fast anything is, is for nobody to assert."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

NEEDED = ("qcore_sqs", "moto", "flask", "flask_cors")


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_quick_run_on_sqs_counts_requests() -> None:
    """Few requests a task are what is asserted: they are the same on any machine."""
    if any(importlib.util.find_spec(name) is None for name in NEEDED):
        pytest.skip("needs qcore-sqs with its extra: pip install qcore-sqs[test]")
    root = Path(__file__).resolve().parents[2]

    ran = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.onsqs", "--quick", "--json"],
        capture_output=True,
        text=True,
        check=False,
        cwd=root,
    )

    assert ran.returncode == 0, ran.stdout + ran.stderr
    (figures,) = json.loads(ran.stdout)
    assert 0.1 <= figures["enqueue in bulk, requests a task"] < 0.12
    # two workers each begin with one, two, four and eight
    assert figures["drain, requests a task"] < 0.45
