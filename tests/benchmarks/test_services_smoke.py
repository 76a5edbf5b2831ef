"""The benchmark on services runs; how fast anything is, is for nobody to assert."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks.lacking import lacking

NEEDED = ("qcore_sqs", "qcore_ironmq", "qcore_disque", "moto", "flask", "flask_cors")


@pytest.mark.early
@pytest.mark.further
@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_quick_run_on_services_counts_requests() -> None:
    """Few requests a task are what is asserted: they are the same on any machine."""
    if any(importlib.util.find_spec(name) is None for name in NEEDED):
        lacking("needs the plugins of the services with their extra `test`")
    root = Path(__file__).resolve().parents[2]

    ran = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.services", "--quick", "--json"],
        capture_output=True,
        text=True,
        check=False,
        cwd=root,
    )

    assert ran.returncode == 0, ran.stdout + ran.stderr
    found = json.loads(ran.stdout)
    (sqs,), (ironmq,), (disque,) = found["sqs"], found["ironmq"], found["disque"]
    assert 0.1 <= sqs["enqueue in bulk, requests a task"] < 0.12
    assert ironmq["enqueue in bulk, requests a task"] < 0.02
    # batches grow from one: with few tasks many of them are small
    assert sqs["drain, requests a task"] < 0.45
    assert ironmq["drain, requests a task"] < 0.6
    assert disque["drain, requests a task"] < 0.6
