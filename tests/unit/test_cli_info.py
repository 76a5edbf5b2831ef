"""What `qcore info` and `qcore memory` show of published statuses."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

import attrs
import msgspec
import pytest

from qcore import App, ClusterStatus, Config
from qcore.cli import Exit
from qcore.cli.info import lines_of
from qcore.cli.overview import OutboxInfo, look
from qcore.messages.head import Head
from qcore.messages.sealer import STATUS
from qcore.model import Kind, Outcome, Outgoing, State
from qcore.status import Percentiles, Progress, WorkerStatus
from tests.unit.command_line import KEY, Ended, configured, typed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.portable

GIB = 1024**3
MIB = 1024**2
TASK = "0192f0c1a2b37c4d8e9fa0b1c2d3e4f5"
CLUSTER = ClusterStatus(
    id="00112233445566778899aabbccddeeff",
    name="told",
    label="night",
    host="far-away",
    pid=4321,
    state="working",
    workers=(
        WorkerStatus(
            slot=0,
            pid=4322,
            state="busy",
            task="shop.report",
            running_for=75,
            task_id=TASK,
            progress=Progress(done=3, total=4, note="page 3"),
            rss=200 * MIB,
            pss=120 * MIB,
            peak=250 * MIB,
        ),
        WorkerStatus(slot=1, pid=4323, state="idle", rss=100 * MIB),
    ),
    finished=12345,
    reincarnations={"recycled": 3, "timeout": 1},
    uptime=7300,
    rate=12.3,
    run_time=Percentiles(p50=0.012, p99=1.5),
    wait_time=Percentiles(p50=0.002, p99=0.2),
    rss=50 * MIB,
    pss=40 * MIB,
    max_rss=512 * MIB,
    memory_total=16 * GIB,
    memory_available=4 * GIB,
)


_NOBODY = "clusters of queue 'told': none; start one with: qcore run MODULE:APP\n"


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> App:
    """Return a producer on a queue of its own, configured in the current directory."""
    return configured(tmp_path, monkeypatch, "told")


@pytest.fixture
def run(app: App, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """Return what runs a command line."""
    return partial(typed, capsys)


def publish(app: App, status: ClusterStatus) -> None:
    """Say what a cluster would say of itself."""
    told = attrs.evolve(status, published=time.time())
    body = app.runtime.status_sealer.seal(STATUS, msgspec.json.encode(told))
    with app.runtime.brokers.connection() as broker:
        broker.publish_status(status.id, body, 60)


@pytest.mark.parametrize(
    ("failures", "text"),
    [(2, "1 among 2 failures; "), (101, "1 among the newest 100 of 101 failures; ")],
)
def test_interrupted_tasks_are_counted_among_what_was_read(
    app: App, run: Callable[..., Ended], failures: int, text: str
) -> None:
    """The newest hundred failures are read, and the figure says so."""
    results = app.runtime.results
    kinds = [Kind.FAILURE] * (failures - 1) + [Kind.INTERRUPTED]
    records = [
        results.seal(
            os.urandom(16),
            Head("shop.pay"),
            State.FAILED,
            Outcome.unrun(kind, "no"),
            b"",
            created=0,
            attempts=1,
            crashes=0,
        )
        for kind in kinds
    ]
    with app.runtime.stores.connection() as store:
        store.save(records)

    told = run("info")
    assert f"interrupted  {text}" in told.out, told
    found = json.loads(run("info", "--json").out)
    assert (1, min(failures, 100)) == (found["interrupted"], found["failures_examined"])


def test_ids_are_one_a_line(app: App, run: Callable[..., Ended]) -> None:
    """For scripts: nothing but ids, and 1 where there is none."""
    nobody = run("info", "--ids")
    publish(app, CLUSTER)
    publish(app, attrs.evolve(CLUSTER, id="ff" * 16, label="other"))

    assert nobody == (Exit.FAILED, "", _NOBODY)
    assert run("info", "--ids") == (Exit.OK, f"{CLUSTER.id}\n{'ff' * 16}\n", "")
    assert json.loads(run("info", "--ids", "--json").out) == {"ids": [CLUSTER.id, "ff" * 16]}


def test_info_tells_the_figures_a_cluster_publishes(app: App, run: Callable[..., Ended]) -> None:
    """Rate, times, causes, and the progress of what runs."""
    publish(app, CLUSTER)

    lines = run("info").out.splitlines()

    assert lines[0] == "queue     told"
    told = [line.split() for line in lines if line.startswith("night ")]
    # how long ago it was published depends on this machine
    assert told.pop(0)[:9] == ["night", "far-away", "4321", "working", "2", "1", "12,345", "2", "h"]
    assert told == [
        ["night", "ccddeeff", "12.3/s", "12ms/1.5s", "2ms/200ms", "3", "recycled,", "1", "timeout"],
    ]
    assert lines[-1] == f"shop.report  75s  night:0  {TASK}  #########... 75 %, page 3"


def test_info_fits_a_terminal_of_eighty_columns(app: App, run: Callable[..., Ended]) -> None:
    """No table of clusters is wider, so no figure is cut off."""
    publish(app, CLUSTER)

    told = run("info").out.split("shop.report")[0]

    assert max(map(len, told.splitlines()[4:])) <= 80


def test_a_paused_queue_is_said_to_be_paused(app: App, run: Callable[..., Ended]) -> None:
    """Else somebody looks for a fault where there is none; it is well."""
    publish(app, attrs.evolve(CLUSTER, state="idle", workers=CLUSTER.workers[1:], paused=True))
    app.queue.pause()
    app.enqueue("os.getcwd")

    assert run("info").out.startswith("queue     told (paused)\n")
    assert json.loads(run("info", "--json").out)["paused"] is True
    assert run("health", "--stalled-after", "0").code == Exit.OK


def test_memory_is_told_by_machine_and_cluster(app: App, run: Callable[..., Ended]) -> None:
    """Sums over the workers, and the limit."""
    publish(app, CLUSTER)

    assert run("memory").out.splitlines() == [
        "HOST      AVAILABLE   TOTAL  FREE",
        "far-away    4.0 GiB  16 GiB  25 %",
        "",
        "CLUSTER  HOST       PID  SUPERVISOR  WORKERS      RSS      PSS    LIMIT",
        "night    far-away  4321      50 MiB        2  300 MiB  120 MiB  512 MiB",
    ]


def test_memory_is_told_by_worker(app: App, run: Callable[..., Ended]) -> None:
    """A dash where a figure is not known."""
    publish(app, attrs.evolve(CLUSTER, max_rss=0))

    assert run("memory", "--workers").out.splitlines() == [
        "CLUSTER  HOST      SLOT   PID  STATE      RSS      PSS     PEAK  LIMIT",
        "night    far-away     0  4322  busy   200 MiB  120 MiB  250 MiB   none",
        "night    far-away     1  4323  idle   100 MiB        -        -   none",
    ]


def test_memory_for_programs_is_in_bytes(app: App, run: Callable[..., Ended]) -> None:
    """With the workers only where they are asked for."""
    publish(app, CLUSTER)

    (one,) = json.loads(run("memory", "--json").out)["clusters"]
    (two,) = json.loads(run("memory", "--json", "--workers").out)["clusters"]

    assert one["workers"] == {"count": 2, "rss": 300 * MIB, "pss": 120 * MIB}
    assert (one["supervisor"], one["max_rss"]) == ({"rss": 50 * MIB, "pss": 40 * MIB}, 512 * MIB)
    assert "each" not in one
    assert [worker["peak"] for worker in two["each"]] == [250 * MIB, 0]


def test_nobody_has_no_memory(run: Callable[..., Ended]) -> None:
    """It is not an error that no cluster runs."""
    assert run("memory") == (Exit.OK, "", "no cluster is seen on queue 'told'\n")


def test_a_reader_that_has_seen_enough_is_no_fault_of_ours(app: App) -> None:
    """`qcore info | head -1` prints a line and nothing of broken pipes."""
    program = "import qcore.cli; qcore.cli.main(['plugins'])"

    done = subprocess.run(
        ["bash", "-c", f'{sys.executable} -c "{program}" | true; {sys.executable} -m qcore info | head -1'],
        capture_output=True,
        text=True,
        check=True,
    )

    assert (done.stdout, done.stderr) == ("queue     told\n", "")


def test_a_broker_that_keeps_no_status_is_not_said_to_have_no_cluster(
    app: App, run: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is told to start another one."""
    with app.runtime.brokers.connection() as broker:
        silent = attrs.evolve(broker.capabilities, cluster_status=False)
        monkeypatch.setattr(
            type(broker), "capabilities", property(lambda _: silent, lambda *_: None), raising=False
        )

    for verb in ("info", "memory", "health", "monitor"):
        ended = run(verb)
        assert "keeps no status of clusters" in ended.out + ended.err, verb
        assert "start one" not in ended.out + ended.err


def test_since_when_the_oldest_message_waits_in_the_outbox_is_said(tmp_path: Path) -> None:
    """As a text and as JSON; an outbox that nobody has used has none."""
    path = str(tmp_path / "outbox.db")
    values = {"name": "told", "secret_key": KEY, "memory": {}, "outbox": "sqlite", "sqlite": {"path": path}}
    with closing(App(Config.from_dict(values))) as app:
        assert look(app).outbox == OutboxInfo(store="sqlite", waiting=0, oldest=None, refused=0)
        begun = time.time()
        job = app.enqueue("math.sqrt", 4)
        with app.runtime.brokers.connection() as broker:
            (leased,) = broker.lease(1, 0.0)
        with app.runtime.outboxes.connection(create=True) as outbox:
            outbox.enqueue([Outgoing(bytes.fromhex(job.id), leased.body)])

        found = look(app)

    assert found.outbox is not None
    assert found.outbox.oldest is not None
    # of a message milliseconds are known
    assert 0.0 <= found.outbox.oldest <= time.time() - begun + 0.001
    assert found.record()["outbox"] == {
        "store": "sqlite", "waiting": 1, "oldest": found.outbox.oldest, "refused": 0,
    }  # fmt: skip
    (line,) = [one for one in lines_of(found) if one.startswith("outbox")]
    assert re.fullmatch(r"outbox +sqlite: 1 task to be moved to the broker, the oldest for .+", line)
