"""Pausing, cancelling and asking for tasks from the command line."""

from __future__ import annotations

import json
import time
from functools import partial
from typing import TYPE_CHECKING

import attrs
import msgspec
import pytest

from qcore import App, ClusterStatus
from qcore.cli import Exit
from qcore.cli.status import described
from qcore.messages.sealer import STATUS
from qcore.status import Progress, TaskStatus, WorkerStatus
from tests.unit.command_line import Ended, configured, typed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.portable


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> App:
    """Return a producer on a queue of its own, configured in the current directory."""
    return configured(tmp_path, monkeypatch, "steered")


@pytest.fixture
def run(app: App, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """Return what runs a command line."""
    return partial(typed, capsys)


def test_a_queue_is_paused_and_resumed(app: App, run: Callable[..., Ended]) -> None:
    """And says so to people and programs."""
    assert run("pause") == (Exit.OK, "queue steered paused\n", "")
    assert app.queue.is_paused()
    assert run("info").out.startswith("queue     steered (paused)\n")
    assert json.loads(run("resume", "--json").out) == {"name": "steered", "paused": False}
    assert not app.queue.is_paused()


def test_a_task_that_waits_is_cancelled(app: App, run: Callable[..., Ended]) -> None:
    """Once; the second time there is nothing left to cancel."""
    task_id = app.enqueue("os.getcwd").id

    assert run("status", task_id).out.startswith("queued since ")
    assert run("cancel", task_id) == (Exit.OK, f"task {task_id} cancelled\n", "")
    assert app.queue.size().ready == 0
    assert run("cancel", task_id) == (
        Exit.FAILED,
        "",
        f"qcore: task {task_id} has ended already; qcore result prints how\n",
    )
    assert run("status", task_id).out.startswith("cancelled since ")
    assert json.loads(run("cancel", task_id, "--json").out) == {"id": task_id, "cancelled": False}


def test_nothing_is_known_of_an_id_nobody_gave(run: Callable[..., Ended]) -> None:
    """1: nothing has that id."""
    ended = run("status", "0" * 32)

    assert (ended.code, ended.out) == (Exit.FAILED, "unknown\n")


@pytest.mark.parametrize("verb", ["status", "cancel"])
def test_what_is_no_id_is_a_usage_error(run: Callable[..., Ended], verb: str) -> None:
    """Before anything is asked of a broker."""
    assert run(verb, "shop.price").code == Exit.USAGE


def test_a_running_task_tells_since_when_by_whom_and_how_far(app: App, run: Callable[..., Ended]) -> None:
    """From what its cluster publishes."""
    task_id = app.enqueue("os.getcwd").id
    worker = WorkerStatus(slot=0, pid=7, state="busy", task="os.getcwd", task_id=task_id, running_for=60)
    worker = attrs.evolve(worker, progress=Progress(done=1, total=2, note="half"))
    cluster = ClusterStatus(
        id="1",
        name="steered",
        label="x",
        host="far",
        pid=6,
        state="working",
        workers=(worker,),
        published=time.time(),
    )
    with app.runtime.brokers.connection() as broker:
        body = app.runtime.status_sealer.seal(STATUS, msgspec.json.encode(cluster))
        broker.publish_status("1", body, 60)

    record = json.loads(run("status", task_id, "--json").out)

    assert run("status", task_id).out.endswith(" by far:7, ######...... 50 %, half\n")
    assert (record["state"], record["worker"], record["progress"]["note"]) == ("running", "far:7", "half")


def test_a_state_without_a_time_is_told_alone() -> None:
    """No date of 1970."""
    assert described(TaskStatus(id="x", state="queued"), time.time()) == "queued"


def test_a_group_is_shown_with_values_and_errors(app: App, run: Callable[..., Ended]) -> None:
    """In the order the tasks finished."""
    app.async_task("operator.add", 1, 2, sync=True, group="sums")
    app.async_task("operator.truediv", 1, 0, sync=True, group="sums")

    lines = run("group", "show", "sums").out.splitlines()
    results = json.loads(run("group", "show", "sums", "--json").out)["results"]

    assert lines[0].split() == ["TASK", "ID", "TASK", "STATE", "ENDED", "RESULT"]
    assert lines[1].endswith(" 3")
    assert lines[2].endswith(" ZeroDivisionError: division by zero")
    assert [(one["state"], one["value"]) for one in results] == [("success", 3), ("failed", None)]


def test_a_group_without_results_is_told_apart_from_one_that_has_not_enough(
    app: App, run: Callable[..., Ended]
) -> None:
    """1: nothing of that name; 75: ask again later."""
    nobody = run("group", "show", "sums")
    app.async_task("operator.add", 1, 2, sync=True, group="sums")

    assert (nobody.code, nobody.err) == (
        Exit.FAILED,
        "qcore: no task of the result group 'sums' has ended\n",
    )
    assert run("group", "show", "sums", "--count", "2").code == Exit.NOT_YET
    assert run("group", "show", "sums", "--count", "1").code == Exit.OK


def test_a_group_is_deleted_with_or_without_its_results(app: App, run: Callable[..., Ended]) -> None:
    """Only when told yes."""
    ids = [app.async_task("operator.add", n, n, sync=True, group=f"g{n}") for n in (1, 2)]

    assert run("group", "delete", "g1").code == Exit.USAGE
    assert run("group", "delete", "g1", "--yes").out == "1 result taken out of the result group\n"
    assert json.loads(run("group", "delete", "g2", "--tasks", "--yes", "--json").out) == {
        "group": "g2",
        "deleted": 1,
    }
    assert [app.results.count_group("g1"), app.results.count_group("g2")] == [0, 0]
    assert app.results.get(ids[0]) == 2
    assert app.results.fetch(ids[1]) is None
