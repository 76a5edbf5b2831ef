"""What happens to connections around a task."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from asgiref.sync import sync_to_async
from django.db import connections, transaction
from django.utils import timezone, translation

from qcore.hookspecs import ExecuteEvent
from qcore.model import TaskInfo
from qcore_django import plugin
from qcore_django.boundary import Boundary, close_connections

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from django.db.backends.base.base import BaseDatabaseWrapper


@pytest.fixture
def other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[BaseDatabaseWrapper]:
    """Return a connection to a file, which unlike one to memory can be closed."""
    connection = connections["other"]
    monkeypatch.setitem(connection.settings_dict, "NAME", str(tmp_path / "other.sqlite3"))
    yield connection
    connections["other"].close()


@pytest.fixture
def worker() -> Boundary:
    """Return what a worker has."""
    made = Boundary()
    made.enter_worker()
    return made


@pytest.mark.parametrize(("age", "stays"), [(0, False), (None, True), (600, True)])
def test_a_connection_lives_as_long_as_at_requests(
    other: BaseDatabaseWrapper,
    worker: Boundary,
    monkeypatch: pytest.MonkeyPatch,
    age: int | None,
    stays: bool,
) -> None:
    """CONN_MAX_AGE says whether the next task uses it."""
    monkeypatch.setitem(other.settings_dict, "CONN_MAX_AGE", age)
    other.ensure_connection()
    opened = other.connection

    worker.after_task()
    worker.before_task()

    assert (other.connection is opened) is stays


def test_connections_of_asynchronous_tasks_are_treated_likewise(
    other: BaseDatabaseWrapper, worker: Boundary, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Django opens them in a thread of its own, where no other thread could close them."""
    monkeypatch.setitem(other.settings_dict, "CONN_MAX_AGE", 0)

    @sync_to_async
    def opened() -> bool:
        before = connections["other"].connection is not None
        connections["other"].ensure_connection()
        return before

    assert [asyncio.run(opened()), asyncio.run(opened())] == [False, True]
    worker.after_task()
    assert asyncio.run(opened()) is False
    worker.before_task()
    assert asyncio.run(opened()) is False
    worker.after_task()


def test_a_transaction_that_a_task_leaves_open_is_rolled_back(
    other: BaseDatabaseWrapper, worker: Boundary, caplog: pytest.LogCaptureFixture
) -> None:
    """The next task can use the database, and finds nothing of it."""
    with other.cursor() as cursor:
        cursor.execute("CREATE TABLE kept (number)")
    worker.before_task()
    transaction.atomic("other").__enter__()
    with connections["other"].cursor() as cursor:
        cursor.execute("INSERT INTO kept VALUES (1)")

    worker.after_task()

    assert "a task left a transaction open; it is rolled back, database=other" in caplog.text
    # it is not the same object any more
    again = connections["other"]
    again.settings_dict["NAME"] = other.settings_dict["NAME"]
    with again.cursor() as cursor:
        assert cursor.execute("SELECT count(*) FROM kept").fetchone() == (0,)


def test_a_task_in_the_process_that_enqueues_it_is_part_of_its_request(other: BaseDatabaseWrapper) -> None:
    """With `sync` nothing is closed or reset, in a transaction of a test least of all."""
    event = ExecuteEvent(task=TaskInfo(id="0" * 32, name="shop.pay"))
    with transaction.atomic("other"), translation.override("fr"), timezone.override("Asia/Tokyo"):
        opened = other.connection
        plugin.qcore_pre_execute(event)
        plugin.qcore_post_execute(event)

        assert other.in_atomic_block
        assert other.connection is opened
        assert (translation.get_language(), timezone.get_current_timezone_name()) == ("fr", "Asia/Tokyo")


def test_connections_are_closed_with_their_pools(
    other: BaseDatabaseWrapper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pool has threads, and none of them is in a forked process."""
    closed = []
    monkeypatch.setattr(other, "close_pool", lambda: closed.append(other.connection), raising=False)
    other.ensure_connection()

    close_connections()

    assert closed == [None]
