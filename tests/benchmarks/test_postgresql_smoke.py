"""The benchmark on PostgreSQL runs qcore's part; how fast anything is, is for nobody to assert."""

from __future__ import annotations

import importlib.util
import sys
from contextlib import closing

import pytest

from tests.benchmarks.lacking import lacking
from tests.benchmarks.onpostgresql import __main__ as onpostgresql


@pytest.mark.further
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_each_measure_of_qcore_is_taken() -> None:
    """No task is lost or runs twice; the peer needs a package index and is left out."""
    if importlib.util.find_spec("qcore_sql") is None or onpostgresql.servers().installation(18) is None:
        lacking("needs the plugin with its servers: pip install ./plugins/qcore-sql[test]")
    ours, _ = onpostgresql.PEERS
    with closing(onpostgresql.started()) as server:
        for what in onpostgresql.MEASURES:
            server.create(what)
            assert onpostgresql.measure(ours, sys.executable, what, 40, server.url(what)) > 0
