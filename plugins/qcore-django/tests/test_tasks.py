"""The calls of Django-Q, on a real cluster."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest
import site_tasks
from django.test import override_settings

from qcore import Cluster
from qcore_django import app
from qcore_django.tasks import (
    AsyncTask,
    Chain,
    Iter,
    async_chain,
    async_iter,
    async_task,
    count_group,
    delete_cached,
    delete_group,
    fetch,
    fetch_group,
    queue_size,
    result,
    result_group,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

#: milliseconds, as these functions take them
WAIT = 30_000


@pytest.fixture
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the file that callbacks write to."""
    monkeypatch.setenv("SITE_NOTES", str(tmp_path / "notes"))
    return tmp_path / "notes"


@pytest.fixture
def start(tmp_path: Path, notes: Path) -> Iterator[Callable[..., None]]:
    """Return what starts a cluster of this test's queue."""
    clusters = []

    def started(**settings: Any) -> None:
        made = {**app.config.as_dict(), "preload": ["site_tasks"], **settings}
        clusters.append(Cluster(type(app.config).from_dict(made)).start())

    table = {
        "name": "land",
        "workers": 2,
        "log_level": "WARNING",
        "shutdown_timeout": 5,
        "sqlite": {"path": str(tmp_path / "queue.db")},
    }
    with override_settings(Q_CLUSTER=table):
        yield started
        for cluster in clusters:
            cluster.stop(timeout=0)
    app.close()


def test_a_task_is_put_on_the_queue_and_its_result_awaited_in_milliseconds(
    start: Callable[..., None],
) -> None:
    """0 looks once, a number waits so long, None is returned for what has not ended."""
    task_id = async_task(site_tasks.add, 2, 3, task_name="sum", timeout=10)

    assert (result(task_id), fetch(task_id), queue_size()) == (None, None, 1)
    began = time.monotonic()
    assert result(task_id, wait=200) is None
    assert 0.2 <= time.monotonic() - began < 100
    start()
    assert result(task_id, wait=WAIT) == 5
    found = fetch(task_id, wait=-1)
    assert found is not None
    assert (found.name, found.success) == ("sum", True)
    assert delete_cached(task_id)
    assert result(task_id) is None


def test_a_failed_tasks_result_is_its_error(start: Callable[..., None]) -> None:
    """As text with the traceback behind it, as Django-Q gave it."""
    start(ack_failures=True)
    task_id = async_task(site_tasks.fail, "no luck")

    assert "no luck : Traceback" in result(task_id, wait=WAIT)


def test_an_iter_gives_one_result(start: Callable[..., None]) -> None:
    """In the order of the arguments; empty input is complete at once; a list is one argument."""
    start()

    ids = [
        async_iter(site_tasks.add, [(n, 1) for n in range(20)]),
        async_iter(site_tasks.echo, [["a", "b"], "c"], q_options={"task_name": "letters"}, key=1),
        async_iter(site_tasks.add, []),
    ]

    assert result(ids[0], wait=WAIT) == [n + 1 for n in range(20)]
    assert result(ids[1], wait=WAIT) == [[[["a", "b"]], {"key": 1}], [["c"], {"key": 1}]]
    assert result(ids[2], wait=WAIT) == []
    found = fetch(ids[1])
    assert found is not None
    assert found.name == "letters"


def test_a_chain_leaves_its_results_in_a_group(start: Callable[..., None]) -> None:
    """In the order they ran, under the group that is returned or given."""
    start()

    made = async_chain(
        [(site_tasks.add, (1, 2)), ("math.sqrt", (16.0,)), (site_tasks.echo, (), {"value": 1})]
    )
    given = async_chain([(site_tasks.add, (1, 1))], group="mine")

    assert result_group(made, wait=WAIT, count=3) == [3, 4.0, [[], {"value": 1}]]
    assert (given, result_group("mine", wait=WAIT)) == ("mine", [2])
    found = fetch_group(made)
    assert found is not None
    assert [one.group for one in found] == [made] * 3
    assert (count_group(made), count_group(made, failures=True)) == (3, 0)
    assert delete_group(made) == 3
    assert fetch_group(made) is None
    assert delete_group("mine", tasks=True) == 1


def test_options_of_a_link_are_its_own(start: Callable[..., None], notes: Path) -> None:
    """They do not reach the function, and its callback is called."""
    start(ack_failures=True)
    chain = Chain()
    chain.append(site_tasks.echo, 1, timeout=9, task_name="first")
    chain.append(site_tasks.echo, 2, hook=site_tasks.note, key="k")
    chain.append(site_tasks.doze, 30, timeout=0.5)
    chain.append(site_tasks.echo, 4)

    chain.run()
    found = chain.fetch(wait=WAIT)

    assert found is not None
    assert [one.result for one in found[:2]] == [[[1], {}], [[2], {"key": "k"}]]
    assert found[0].name == "first"
    assert "0.5" in found[2].result
    assert chain.result(wait=-1) == [[[1], {}], [[2], {"key": "k"}]]
    assert _noted(notes, 1)[0]["id"] == found[1].id


def test_a_group_is_awaited_until_so_many_have_ended(start: Callable[..., None]) -> None:
    """A failed one counts, and what there is is returned when the wait is over."""
    for number in range(2):
        async_task(site_tasks.add, number, 0, group="sums")
    async_task(site_tasks.fail, "no luck", group="sums", ack_failure=True)

    assert result_group("sums", count=3) is None
    assert result_group("sums", count=4, wait=100) is None
    start()
    found = result_group("sums", count=3, wait=-1)
    assert found is not None
    assert sorted(found) == [0, 1]
    assert len(result_group("sums", failures=True, count=3, wait=WAIT) or ()) == 3
    began = time.monotonic()
    assert sorted(result_group("sums", count=4, wait=300) or ()) == [0, 1]
    assert 0.3 <= time.monotonic() - began < 100


def test_a_group_may_be_a_number(start: Callable[..., None]) -> None:
    """Django-Q's database made a text of it: `group=order.pk` goes on to work."""
    start()

    async_task(site_tasks.add, 1, 2, group=5, task_name=7)
    async_chain([(site_tasks.add, (3, 4))], group=6)  # type: ignore[arg-type]  # as users of Django-Q do

    assert result_group(5, count=1, wait=WAIT) == [3]
    assert result_group("6", count=1, wait=WAIT) == [7]
    found = fetch_group("5")
    assert found is not None
    assert [one.name for one in found] == ["7"]


def test_a_hook_is_given_what_the_original_gave(start: Callable[..., None], notes: Path) -> None:
    """A function, its name or a coroutine, after a success and after a failure."""
    start(ack_failures=True)
    first = async_task(site_tasks.add, 20, 3, hook=site_tasks.note, group="noted")
    second = async_task("site_tasks.fail", "no luck", hook="site_tasks.note_later", task_name="bad")

    noted = {one["id"]: one for one in _noted(notes, 2)}

    words = noted[first].pop("name").split("-")
    assert len(words) == 4
    assert noted[first] == {
        "id": first,
        "func": "site_tasks.add",
        "group": "noted",
        "args": [20, 3],
        "kwargs": {},
        "success": True,
        "result": 23,
        "attempt_count": 1,
        "took": True,
        "order": True,
    }
    assert (noted[second]["name"], noted[second]["success"]) == ("bad", False)
    assert noted[second]["result"].startswith("ValueError: no luck : Traceback")


def test_the_classes_run_what_they_are_told(start: Callable[..., None]) -> None:
    """AsyncTask, Iter and Chain know nothing before they are run, and forget when they are changed."""
    task = AsyncTask(site_tasks.add, 1, 2)
    assert (task.result(), task.fetch(), task.started) == (None, None, False)
    task.group = "classes"
    task.run()
    several = Iter(site_tasks.add, args=[(1, 1)])
    assert several.append(2, 2) == 2
    several.run()
    chain = Chain()
    assert [chain.append(site_tasks.add, 1, 1), chain.append("math.sqrt", 4.0)] == [1, 2]
    chain.run()

    start()

    assert task.result(wait=WAIT) == 3
    assert task.result_group() == [3]
    assert several.result(wait=WAIT) == [2, 4]
    assert several.length() == 2
    assert chain.result(wait=WAIT) == [2, 2.0]
    assert chain.current() == 2
    fetched = chain.fetch()
    assert fetched is not None
    assert len(fetched) == 2
    task.save = False
    assert (task.started, task.save, task.group) == (False, False, "classes")
    chain.append(site_tasks.add, 5, 5)
    assert (chain.started, chain.length(), chain.current()) == (False, 3, None)


def _noted(file: Path, count: int) -> list[dict[str, Any]]:
    """Return what callbacks have written, as soon as there is so much."""
    end = time.monotonic() + WAIT / 1000
    while True:
        lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
        if len(lines) >= count or time.monotonic() > end:
            return [json.loads(line) for line in lines]
        time.sleep(0.02)
