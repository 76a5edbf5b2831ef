"""What the log of a cluster says of tasks."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from qcore import State
from tests.integration.land import final, until
from tests.integration.service import Service

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MODULE = r"""
import asyncio, logging
from qcore import App, Retry

app = App()
log = logging.getLogger("shop")

@app.task
def pay(amount: int) -> int:
    log.warning("%d is paid", amount)
    return amount

@app.task
async def ask() -> None:
    await asyncio.to_thread(log.warning, "asked")

@app.task(retry=Retry(max_attempts=2, backoff=0))
def fail() -> None:
    raise ValueError("no\nmoney")
"""


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Service]:
    """Return a folder with tasks that log, and tasks that fail."""
    made = Service(tmp_path)
    (tmp_path / "shop.py").write_text(MODULE)
    yield made
    made.leave()


def objects(shop: Service) -> list[dict[str, Any]]:
    """Return what was logged, each line an object."""
    whole = (shop.folder / "log").read_text().rpartition("\n")[0]
    return [json.loads(line) for line in whole.splitlines()]


def failed(shop: Service) -> str:
    """Enqueue a task that fails for good, and return its id once it is in the log."""
    job = shop.app.enqueue("shop.fail")
    until(lambda: (found := job.fetch()) and found.state is State.FAILED, "the task to fail")
    until(lambda: "dead-lettered" in shop.log(), "its failure to be logged")
    return job.id


def test_json_says_which_task_wrote_a_line_and_how_it_ended(shop: Service) -> None:
    """A line of a task's own, one of a coroutine's thread, and one for the end of each."""
    shop.start(
        "run",
        "shop:app",
        "--config",
        "served.toml",
        "--log-format",
        "json",
        "--log-tasks",
        wait=shop.folder / "log",
    )

    job = shop.app.enqueue("shop.pay", 5)
    final(job)
    shop.call("ask")
    ends = until(lambda: len(found := [one for one in objects(shop) if "state" in one]) == 2 and found)

    own, asked = [one for one in objects(shop) if one["logger"] == "shop"]
    about = {"task_id": job.id, "task_name": "shop.pay", "attempt": 1, "cluster": "served"}
    assert own.items() >= {"message": "5 is paid", "level": "WARNING", **about}.items()
    assert (asked["message"], asked["task_name"]) == ("asked", "shop.ask")
    assert ends[0].items() >= {"logger": "qcore.task", "level": "INFO", "state": "done", **about}.items()
    assert ends[0]["seconds"] >= 0


def test_a_failed_run_is_logged_with_its_line_and_its_traceback(shop: Service) -> None:
    """WARNING while another run follows, ERROR at the end; successes are silent."""
    shop.start("run", "shop:app", "--config", "served.toml")

    shop.call("pay", 5)
    id_ = failed(shop)

    said = until(lambda: "  money" in (log := shop.log()).partition("dead-lettered")[2] and log)
    assert "5 is paid  [task " in said
    assert " done in " not in said
    about = f"shop.py:19: task {id_} (shop.fail)"
    assert f"WARNING qcore.task  {about} attempt 1: ValueError: no; will run again at once\n" in said
    last = said.partition(f"ERROR   qcore.task  {about} attempt 2: ValueError: no; dead-lettered\n")[2]
    assert last.startswith("  Traceback (most recent call last):\n")
    assert "\n  ValueError: no\n  money" in last


def test_the_log_reporter_has_the_tracebacks_if_there_is_one(shop: Service) -> None:
    """Each is written once."""
    with (shop.folder / "served.toml").open("a") as file:
        file.write('[error_reporter.log]\nreport_on = "final"\n')
    shop.start("run", "shop:app", "--config", "served.toml")

    failed(shop)

    until(lambda: "qcore.reports" in shop.log(), "the report")
    assert shop.log().count("Traceback") == 1
