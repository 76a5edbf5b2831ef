"""Signals of Django that say what happens to tasks."""

from __future__ import annotations

import json
import logging
import time
from typing import TYPE_CHECKING, Any

import pytest
import site_tasks
from django.test import override_settings

from qcore import Cluster, Config, testing
from qcore_django import app, signals
from qcore_django.tasks import async_chain, async_task, fetch, result, result_group

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

NAMES = ("pre_enqueue", "pre_execute", "post_execute_in_worker", "post_execute", "post_spawn")


@pytest.fixture(autouse=True)
def site(tmp_path: Path) -> Iterator[None]:
    """Give the site a queue in a file."""
    with override_settings(Q_CLUSTER={"name": "told", "sqlite": {"path": str(tmp_path / "queue.db")}}):
        yield
    app.close()


@pytest.fixture
def connect() -> Iterator[Callable[[str, Callable[..., Any]], None]]:
    """Return what connects a receiver for this test."""
    connected = []

    def made(name: str, receiver: Callable[..., Any]) -> None:
        connected.append((getattr(signals, name), receiver))
        connected[-1][0].connect(receiver, weak=False)

    yield made
    for signal, receiver in connected:
        signal.disconnect(receiver)


def test_each_step_of_a_task_is_told(connect: Callable[..., None]) -> None:
    """With what Django-Q says of it, in its order."""
    told: list[tuple[str, dict[str, Any]]] = []
    for name in NAMES:
        connect(name, lambda name=name, **said: told.append((name, said)))

    task_id = async_task(site_tasks.add, 1, b=2, sync=True, task_name="sum", group="g")

    assert [name for name, _ in told] == list(NAMES[:4])
    said = dict(told)
    assert {one["sender"] for one in said.values()} == {"django_q"}
    assert said["pre_execute"]["func"] is said["post_execute_in_worker"]["func"] is site_tasks.add
    for one in said.values():
        task = one["task"]
        assert (task["id"], task["name"], task["func"]) == (task_id, "sum", "site_tasks.add")
        assert (task["args"], task["kwargs"], task["group"]) == ((1,), {"b": 2}, "g")
    for name in NAMES[2:4]:
        assert (said[name]["task"]["result"], said[name]["task"]["success"]) == (3, True)
        assert said[name]["task"]["stopped"] >= said[name]["task"]["started"]


def test_a_task_that_fails_is_told_with_its_error(connect: Callable[..., None]) -> None:
    """As the text that Django-Q stores."""
    told: list[dict[str, Any]] = []
    connect("post_execute", lambda task, **_: told.append(task))

    with testing.inline(app):
        async_task(site_tasks.fail, "no luck")

    assert [one["success"] for one in told] == [False]
    assert told[0]["result"].startswith("ValueError: no luck : Traceback")


def test_a_receiver_changes_what_is_enqueued(connect: Callable[..., None]) -> None:
    """Arguments and group, of a task and of each link of a chain."""

    def double(task: dict[str, Any], **_: Any) -> None:
        task["args"] = tuple(2 * one for one in task["args"])
        task["kwargs"]["key"] = 1
        task["group"] = "changed"

    connect("pre_enqueue", double)
    plain = fetch(async_task(site_tasks.echo, 1, 2, sync=True, group="g"))
    async_chain([(site_tasks.echo, (3,)), (site_tasks.echo, (4,))], group="chain", sync=True)

    assert plain is not None
    assert (plain.result, plain.group) == ([[2, 4], {"key": 1}], "changed")
    assert result_group("changed") == [[[2, 4], {"key": 1}], [[6], {"key": 1}], [[8], {"key": 1}]]


@pytest.mark.parametrize("name", NAMES[:4])
def test_a_receiver_that_raises_is_logged_and_hurts_nothing(
    connect: Callable[..., None], caplog: pytest.LogCaptureFixture, name: str
) -> None:
    """The task runs, the other receivers are called, and the log has its name."""
    told: list[Any] = []

    def broken(**_: Any) -> None:
        raise RuntimeError("broken receiver")

    connect(name, broken)
    connect(name, lambda **said: told.append(said))
    with caplog.at_level(logging.ERROR):
        task_id = async_task(site_tasks.add, 1, 2, sync=True)

    assert (result(task_id), len(told)) == (3, 1)
    assert "test_a_receiver_that_raises_is_logged_and_hurts_nothing.<locals>.broken" in caplog.text
    assert "broken receiver" in caplog.text


def test_workers_tell_it_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a site connects in its modules is called in each worker; the end after it is stored."""
    notes = tmp_path / "notes"
    monkeypatch.setenv("SITE_NOTES", str(notes))
    table = {**app.config.as_dict(), "workers": 1, "preload": ["site_receivers"], "log_level": "WARNING"}
    cluster = Cluster(Config.from_dict({**table, "ack_failures": True})).start()
    try:
        first = async_task(site_tasks.add, 1, 2)
        assert result(first, wait=30_000) == 3
        second = async_task(site_tasks.fail, "no luck")
        end = time.monotonic() + 100
        while time.monotonic() < end and len(_lines(notes)) < 7:
            time.sleep(0.02)
    finally:
        cluster.stop(timeout=100)

    told = _lines(notes)
    assert told[0][:2] == ["post_spawn", "told-worker-0"]
    assert [one[:2] for one in told[1:4]] == [
        ["pre_execute", first],
        ["post_execute_in_worker", first],
        ["post_execute", first],
    ]
    assert [one[:2] for one in told[4:]] == [
        ["pre_execute", second],
        ["post_execute_in_worker", second],
        ["post_execute", second],
    ]
    assert (told[3][2], told[6][2]) == (True, False)


def _lines(file: Path) -> list[list[Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
