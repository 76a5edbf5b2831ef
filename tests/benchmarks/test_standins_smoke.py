"""The benchmark on stand-ins runs; how fast anything is, is for nobody to assert."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

NEEDED = ("qcore_ironmq", "qcore_disque")


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_quick_run_on_stand_ins_counts_requests() -> None:
    """Few requests a task are what is asserted: they are the same on any machine."""
    if any(importlib.util.find_spec(name) is None for name in NEEDED):
        pytest.skip("needs qcore-ironmq and qcore-disque")
    root = Path(__file__).resolve().parents[2]

    ran = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.onstandins", "--quick", "--json"],
        capture_output=True,
        text=True,
        check=False,
        cwd=root,
    )

    assert ran.returncode == 0, ran.stdout + ran.stderr
    found = json.loads(ran.stdout)
    (ironmq,), (disque,) = found["ironmq"], found["disque"]
    assert ironmq["enqueue in bulk, requests a task"] < 0.02
    # batches grow from one: with few tasks most of them are small
    assert ironmq["drain, requests a task"] < 0.6
    assert disque["drain, requests a task"] < 0.6
