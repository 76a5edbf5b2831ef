"""The benchmark runs; how fast anything is, is for nobody to assert."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks import contest, environments

RUN = Path(__file__).with_name("run.py")


@pytest.mark.early
@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("alone", [True, pytest.param(False, marks=pytest.mark.further)])
def test_a_quick_run_fills_every_row(alone: bool) -> None:
    """`--quick --json` fills each row, of qcore or of all; no task is lost or runs twice."""
    peers = () if alone else contest.PEERS
    for peer in peers:
        try:
            environments.interpreter(peer, environments.default_cache())
        except subprocess.CalledProcessError:
            pytest.skip(f"{peer.name} cannot be installed here: no package index within reach")

    ran = subprocess.run(
        [sys.executable, str(RUN), "--quick", "--json", *(["--alone"] if alone else [])],
        capture_output=True,
        text=True,
        check=False,
    )

    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)
    assert [row.label for row in contest.ROWS] == [row["label"] for row in told["rows"]]
    names = {contest.OURS.name, *(peer.name for peer in peers)}
    assert all(names == row["medians"].keys() for row in told["rows"])
    assert all(figure >= 0 for row in told["rows"] for figure in row["medians"].values())


def test_a_wrong_row_is_named_with_those_there_are() -> None:
    """`--only` with a text no row has says which rows there are."""
    ran = subprocess.run(
        [sys.executable, str(RUN), "--only", "luck"], capture_output=True, text=True, check=False
    )

    assert ran.returncode == 2
    assert "no row has 'luck' in its label" in ran.stderr
    assert contest.ROWS[0].label in ran.stderr
