"""The benchmark runs; how fast anything is, is for nobody to assert."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.benchmarks import contest, environments

RUN = Path(__file__).with_name("run.py")
#: the same measurements with other settings
FURTHER: Final = [pytest.param(name, marks=pytest.mark.further) for name in ("tuned", "")]


@pytest.mark.early
@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("only", ["no results, d", *FURTHER])
def test_a_quick_run_fills_its_rows(only: str) -> None:
    """`--quick --json` fills each row, of qcore or of all; no task is lost or runs twice.

    Each measurement is taken with the tuned settings, and the others once; all of them, and of the peers
    too, with the repetitions.
    """
    peers = () if only else contest.PEERS
    for peer in peers:
        try:
            environments.interpreter(peer.module, peer.requirements, environments.default_cache())
        except subprocess.CalledProcessError:
            pytest.skip(f"{peer.name} cannot be installed here: no package index within reach")
    wanted = [row for row in contest.ROWS if only in row.label]

    ran = subprocess.run(
        [sys.executable, str(RUN), "--quick", "--json", *(["--alone", "--only", only] if only else [])],
        capture_output=True,
        text=True,
        check=False,
    )

    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)
    assert [row.label for row in wanted] == [row["label"] for row in told["rows"]]
    names = {contest.OURS.name, *(peer.name for peer in peers)}
    assert all(names == row["medians"].keys() for row in told["rows"])
    assert all(figure >= 0 for row in told["rows"] for figure in row["medians"].values())


def test_the_default_rows_take_each_measurement_and_each_style() -> None:
    """What is left to the repetitions combines the same measurements and settings in further ways."""
    every = {row.ours for row in contest.ROWS}
    taken = {row.ours for row in contest.ROWS if "tuned" in row.label or "no results, d" in row.label}

    assert {cell.measure for cell in every} == {cell.measure for cell in taken}
    assert {cell.style for cell in every} == {cell.style for cell in taken}
    assert {cell.results for cell in every} == {cell.results for cell in taken}


def test_a_wrong_row_is_named_with_those_there_are() -> None:
    """`--only` with a text no row has says which rows there are."""
    ran = subprocess.run(
        [sys.executable, str(RUN), "--only", "luck"], capture_output=True, text=True, check=False
    )

    assert ran.returncode == 2
    assert "no row has 'luck' in its label" in ran.stderr
    assert contest.ROWS[0].label in ran.stderr
