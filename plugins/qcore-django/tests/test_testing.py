"""Tests of a site: tasks run in the test's own transaction, or are captured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import site_tasks
from django.contrib.auth.models import Group
from django.core.management import call_command
from django.db import IntegrityError, connection
from django.test import TestCase, override_settings

from qcore.errors import NotSupported
from qcore_django import app
from qcore_django.fixtures import captured_tasks, inline_tasks
from qcore_django.tasks import async_task, fetch, queue_size, result, result_group
from qcore_django.testing import CapturedTasks, InlineTasks, inline

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from qcore.testing import Captured

__all__ = ["captured_tasks", "inline_tasks"]


@pytest.fixture(scope="module", autouse=True)
def tables() -> None:
    """Make the tables of the site, before the transaction of any test."""
    call_command("migrate", verbosity=0)


@pytest.fixture(autouse=True)
def site(tmp_path: Path) -> Iterator[None]:
    """Give the site a queue in a file."""
    with override_settings(Q_CLUSTER={"name": "tried", "sqlite": {"path": str(tmp_path / "queue.db")}}):
        app.runtime.make_broker().close()
        yield
    app.close()


class Sync(TestCase):
    """With `sync` a task is part of the test."""

    def test_it_shares_transaction_and_connection(self) -> None:
        """It reads what the test has not committed, and what it writes is undone with the test."""
        Group.objects.create(name="uncommitted")

        found = result(async_task(site_tasks.group, "uncommitted", sync=True))

        assert found == {"found": 1, "atomic": True, "connection": id(connection.connection)}
        assert Group.objects.filter(name="by uncommitted").exists()

    def test_nothing_of_another_test_is_left(self) -> None:
        """What a task of another test wrote was rolled back with it."""
        assert not Group.objects.exists()

    def test_what_it_raises_reaches_the_test(self) -> None:
        """With its own type; a savepoint around it is rolled back as always."""
        Group.objects.create(name="by twice")

        with pytest.raises(IntegrityError):
            async_task(site_tasks.group_once, "twice", sync=True)
        assert Group.objects.count() == 1

    def test_the_setting_does_the_same(self) -> None:
        """`sync` in Q_CLUSTER, for what is enqueued in qcore's own way too."""
        with override_settings(Q_CLUSTER={"name": "tried", "sync": True}):
            with pytest.raises(ValueError, match="no luck"):
                async_task(site_tasks.fail, "no luck")
            with pytest.raises(ValueError, match="no luck"):
                app.enqueue(site_tasks.fail, "no luck")


class InDatabase(TestCase):
    """A site whose queue and results are in the database of its tests."""

    def setUp(self) -> None:
        """Use the key `orm`."""
        super().setUp()
        self.enterContext(override_settings(Q_CLUSTER={"name": "tried", "orm": "default"}))

    def test_results_are_part_of_the_test(self) -> None:
        """What a task writes and its result are in the transaction of the test, by its connection."""
        Group.objects.create(name="uncommitted")
        task_id = async_task(site_tasks.group, "uncommitted", sync=True, group="here")

        assert result(task_id)["connection"] == id(connection.connection)
        assert result_group("here") == [result(task_id)]
        with pytest.raises(IntegrityError):
            async_task(site_tasks.group_once, "uncommitted", sync=True)
        assert Group.objects.count() == 2

    def test_the_queue_is_part_of_the_test(self) -> None:
        """What another test enqueued or stored was rolled back with it."""
        assert (queue_size(), result_group("here")) == (0, None)
        async_task(site_tasks.add, 1, 2)
        assert queue_size() == 1

    def test_a_transaction_of_a_task_is_part_of_the_test(self) -> None:
        """`qcore.transaction` lends the connection of the test; only what failed is undone at once."""
        Group.objects.create(name="by the test")
        both = ["by a task", "by a task", "by the test", "by the test"]

        assert result(async_task(site_tasks.group_by_qcore, "by a task", sync=True)) == both
        for how in ("in the block", "behind the block"):
            with pytest.raises(ValueError, match=how):
                async_task(site_tasks.group_by_qcore, "undone", how, sync=True)
        with pytest.raises(NotSupported, match="call neither commit"):
            async_task(site_tasks.group_by_qcore, "undone", "commit", sync=True)
        with inline():
            assert len(result(async_task(site_tasks.group_by_qcore, "by another"))) == 6
        assert Group.objects.count() == 3

    def test_nothing_of_another_test_is_left(self) -> None:
        """What a task of another test wrote was rolled back with it."""
        assert not Group.objects.exists()

    test_what_another_test_enqueued_is_gone = test_the_queue_is_part_of_the_test


class Capturing(CapturedTasks, TestCase):
    """A test whose tasks are captured."""

    def test_what_is_enqueued_is_looked_at(self) -> None:
        """It is not sent; it can be run."""
        task_id = async_task(site_tasks.add, 1, 2)

        self.tasks.assert_enqueued("site_tasks.add", 1, 2)
        assert queue_size() == 0
        self.tasks.run()
        assert result(task_id) == 3

    def test_a_commit_is_waited_for(self) -> None:
        """`on_commit` is captured when the callbacks run, and never without them."""
        with self.captureOnCommitCallbacks():
            async_task(site_tasks.add, 1, 2, on_commit=True)
        self.tasks.assert_nothing_enqueued()
        with self.captureOnCommitCallbacks(execute=True):
            async_task(site_tasks.add, 3, 4, on_commit=True)
        assert [one.args for one in self.tasks] == [(3, 4)]


class Running(InlineTasks, TestCase):
    """A test whose tasks run at once."""

    def test_what_is_enqueued_runs(self) -> None:
        """In the transaction of the test, at the commit if that was asked for."""
        Group.objects.create(name="uncommitted")

        assert result(async_task(site_tasks.group, "uncommitted"))["atomic"]
        with pytest.raises(ValueError, match="no luck"):
            async_task(site_tasks.fail, "no luck")
        with self.captureOnCommitCallbacks(execute=True):
            task_id = async_task(site_tasks.add, 1, 2, on_commit=True)
            assert fetch(task_id) is None
        assert result(task_id) == 3


def test_fixtures_do_the_same(captured_tasks: Captured) -> None:
    """For tests that are functions."""
    async_task(site_tasks.add, 1, 2)

    assert captured_tasks.names == ["site_tasks.add"]
    with inline():
        assert result(async_task(site_tasks.add, 1, 2)) == 3


def test_the_other_fixture_runs_tasks(inline_tasks: Any) -> None:
    """For tests that are functions."""
    assert result(async_task(site_tasks.add, 1, 2)) == 3
