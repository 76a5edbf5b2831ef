"""The benchmark of reporters runs; how much they cost is for nobody to assert."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks.lacking import lacking

PLUGINS = ("qcore_redis", "qcore_otel", "qcore_sentry", "qcore_rollbar", "qcore_prometheus")


@pytest.mark.further
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_quick_run_measures_each_reporter() -> None:
    """`--quick` drains with and without each reporter, and prints a line for each in each table."""
    if missing := [one for one in PLUGINS if importlib.util.find_spec(one) is None]:
        lacking(f"needs {', '.join(missing)}: see CONTRIBUTING.md")
    if shutil.which("redis-server") is None:
        lacking("needs redis-server: apt install redis-server")
    from tests.benchmarks.reporters import __main__ as reporters

    ran = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.reporters", "--quick"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )

    assert ran.returncode == 0, ran.stdout + ran.stderr
    for one in (*reporters.CALM, *reporters.FAILING):
        # in a table for workers that stay, and in one for workers that are recycled
        assert ran.stdout.count(f"  {one.title} ") == 2, ran.stdout
