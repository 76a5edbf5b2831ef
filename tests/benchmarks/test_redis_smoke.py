"""The benchmark on Redis runs; how fast anything is, is for nobody to assert."""

from __future__ import annotations

import importlib.util
import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks.lacking import lacking
from tests.benchmarks.onredis import field
from tests.benchmarks.onredis.rounds import Size, Taken, lines, plan, take, turns
from tests.benchmarks.onredis.table import as_text

RUN = Path(__file__).with_name("run.py")
#: a peer of which there is no file: it fails wherever it is run
STUB = field.Rival("stub", "stub_redis", (), "stub", {"always": "none"}, 100)


def run(*options: str) -> subprocess.CompletedProcess[str]:
    """Run the benchmark on Redis."""
    command = [sys.executable, str(RUN), "--redis", *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.further
@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_quick_run_on_redis_fills_every_row() -> None:
    """`--quick --json --peers none` measures each row of qcore, and installs nothing."""
    if shutil.which("redis-server") is None or importlib.util.find_spec("qcore_redis") is None:
        lacking(
            "needs redis-server and qcore-redis: apt install redis-server, pip install ./plugins/qcore-redis"
        )

    ran = run("--quick", "--json", "--peers", "none")

    assert ran.returncode == 0, ran.stdout + ran.stderr
    told = json.loads(ran.stdout)
    assert [row.key for row in field.ROWS] == [line["row"]["key"] for line in told["rows"]]
    assert all(line["medians"]["qcore"] >= 0 for line in told["rows"])


@pytest.mark.parametrize(("option", "known"), [("--peers", "dramatiq"), ("--rows", "drain")])
def test_a_wrong_name_is_answered_with_those_there_are(option: str, known: str) -> None:
    """`--peers` and `--rows` with a name that does not exist say which do."""
    ran = run(option, "luck")

    assert ran.returncode == 2
    assert "'luck'" in ran.stderr
    assert known in ran.stderr.splitlines()[-1]


def test_a_peer_that_fails_is_shown_and_stops_nobody() -> None:
    """A session that ends without figures is shown with its reason, and is not tried again."""
    rows = [row for row in field.ROWS if row.key == "drain"]
    said: list[str] = []

    # nobody listens on this port
    taken = take(rows, {STUB: sys.executable}, 1, Size(rounds=3), said.append)

    assert len(said) == 1
    assert "ConnectionRefusedError" in taken.failed["stub", "rush"]
    text = as_text(lines(rows, taken, ["stub"]), taken, {}, {}, 5)
    assert "failed" in text
    assert "stub, rush: ended without figures" in text


def test_qcore_is_compared_with_the_best_peer_of_each_row() -> None:
    """The best peer does most of what is good and least of what is not."""
    rows = [row for row in field.ROWS if row.key in {"drain", "p50"}]
    figures = {
        ("qcore", "rush", "drain"): [100.0, 300.0, 200.0],
        ("a", "rush", "drain"): [10.0, 11.0, 9.0],
        ("b", "rush", "drain"): [20.0],
        ("qcore", "calm", "p50"): [1.0],
        ("a", "calm", "p50"): [4.0],
        ("b", "calm", "p50"): [8.0],
    }

    drain, latency = lines(rows, Taken(figures, {}), ["qcore", "a", "b"])

    assert ("b", 10.0, False) == (drain.best, drain.ratio, drain.met)
    assert ("a", 0.25, True) == (latency.best, latency.ratio, latency.met)


def test_what_never_happened_is_said_to_be_so() -> None:
    """A task that did not run again within the limit has no figure and makes no ratio."""
    rows = [row for row in field.ROWS if row.key == "killed"]
    figures = {("qcore", "killed", "again"): [0.02], ("a", "killed", "again"): [math.inf]}
    taken = Taken(figures, {})

    measured = lines(rows, taken, ["qcore", "a"])

    assert measured[0].ratio is None
    assert measured[0].met is True
    assert "not in 5 s" in as_text(measured, taken, {}, {}, 5)


def test_a_median_of_fewer_rounds_is_marked() -> None:
    """A figure is not passed off as whole if its system failed in a later round."""
    rows = [row for row in field.ROWS if row.key == "drain"]
    taken = Taken({("qcore", "rush", "drain"): [123.0]}, {("qcore", "rush"): "it broke"})

    text = as_text(lines(rows, taken, ["qcore"]), taken, {}, {}, 5)

    assert "123*" in text
    assert "qcore, rush: it broke" in text


def test_systems_are_measured_in_turns() -> None:
    """Each round holds each session of everybody, but a death is watched once."""
    rows = [row for row in field.ROWS if row.key in {"drain", "redis", "killed"}]

    order = [(session, rival.name) for session, rival in turns(rows, [field.OURS, STUB], 2)]

    rush = [("rush", "qcore"), ("rush", "stub")]
    assert order == [*rush, ("killed", "qcore"), ("killed", "stub"), *rush]


def test_what_a_peer_has_no_other_settings_for_is_measured_once() -> None:
    """As installed only qcore is set up in another way."""
    rows = [row for row in field.ROWS if row.key == "usual"]

    order = [(session, rival.name) for session, rival in turns(rows, [field.OURS, STUB], 1)]
    taken = Taken({("qcore", "usual", "drain"): [50.0], ("stub", "rush", "drain"): [5.0]}, {})

    assert ("rush", "stub") in order
    assert ("usual", "qcore") in order
    assert ("usual", "stub") not in order
    assert lines(rows, taken, ["qcore", "stub"])[0].ratio == 10.0


def test_every_session_has_room_for_its_tasks() -> None:
    """The counters are as many as the tasks of a session."""
    for size in (Size(), Size(seconds=0.05)):
        for rival in field.EVERYBODY:
            for session in {row.session for row in field.ROWS}:
                told = plan(rival, session, size)
                assert told["count"] + 20 <= told["size"] or session in field.SINGLE
