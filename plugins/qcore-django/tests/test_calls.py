"""The calls of Django-Q without a cluster: what is enqueued, where, and what runs here."""

from __future__ import annotations

import threading
import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import site_tasks
from django.conf import settings
from django.db import connection, transaction
from django.test import TestCase, TransactionTestCase, override_settings

from qcore import App, Config, testing
from qcore.errors import NotSupported, TaskNameError
from qcore.messages.workflow import derived_id
from qcore_django import app
from qcore_django.tasks import (
    AsyncTask,
    Chain,
    Iter,
    async_chain,
    async_iter,
    async_task,
    count_group_cached,
    delete_cached,
    delete_group,
    delete_group_cached,
    fetch,
    fetch_cached,
    fetch_group_cached,
    queue_size,
    result,
    result_cached,
    result_group,
    result_group_cached,
    schedule,
)
from qcore_django.words import words_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def site(tmp_path: Path) -> Iterator[None]:
    """Give the site a queue in a file."""
    with override_settings(Q_CLUSTER={"name": "calls", "sqlite": {"path": str(tmp_path / "queue.db")}}):
        # A test may ask how many there are before it enqueues one.
        app.runtime.make_broker().close()
        yield
    app.close()


def test_a_text_that_is_no_id_is_a_name() -> None:
    """Which no task has: reading it finds nothing when the wait is over, and raises nothing."""
    for given in ("", "no-such-name", "0123", "g" * 32, uuid.UUID(int=1)):
        assert (fetch(given, wait=20), result(given)) == (None, None)
        assert not delete_cached(given)


def test_the_newest_task_of_a_name_is_found() -> None:
    """Also one that has the four words of its id for a name, and one that ends while it is waited for."""
    for number in (1, 2):
        async_task(site_tasks.add, number, 1, sync=True, task_name="sum")
    words = fetch(async_task(site_tasks.add, 4, 1, sync=True))
    assert words is not None

    assert (result("sum"), result(words.name)) == (3, 5)
    found = fetch("sum", cached=True)
    assert found is not None
    assert (found.name, found.args) == ("sum", (2, 1))
    later = threading.Timer(0.2, lambda: async_task(site_tasks.add, 7, 1, sync=True, task_name="late"))
    later.start()
    assert result("late", wait=60_000) == 8
    later.join()


def test_a_task_is_found_by_a_uuid() -> None:
    """As ids of Django-Q could be."""
    task_id = async_task(site_tasks.add, 1, 2, sync=True)

    assert result(uuid.UUID(task_id)) == 3


def test_the_cached_functions_take_a_broker() -> None:
    """Where each process has a cache of its own they read the store; deleting a group deletes its results."""
    task_id = async_task(site_tasks.add, 1, 2, sync=True, group="g")

    assert result_cached(task_id, 0, object()) == 3
    assert fetch_cached(task_id, broker=object()) == fetch(task_id)
    assert result_group_cached("g", broker=object()) == [3]
    assert fetch_group_cached("g", broker=object()) == [fetch(task_id)]
    assert count_group_cached("g", broker=object()) == 1
    assert delete_group_cached("g", broker=object()) == 1
    assert fetch(task_id) is None
    again = async_task(site_tasks.add, 1, 2, sync=True, group="g")
    assert delete_group("g", cached=True) == 1
    assert fetch(again) is None


def test_a_result_has_what_the_original_gave_it() -> None:
    """Beside it is qcore's own."""
    before = datetime.now(UTC)
    found = fetch(async_task(site_tasks.add, 1, 2, sync=True, group="g"))

    assert found is not None
    assert (found.result, found.func, found.group, found.success) == (3, "site_tasks.add", "g", True)
    assert found.name == str(found) == words_of(found.id)
    assert len(found.name.split("-")) == 4
    assert before - timedelta(seconds=1) < found.started <= found.stopped < datetime.now(UTC)
    assert found.time_taken() == pytest.approx((found.stopped - found.started).total_seconds(), abs=0.001)
    assert (found.attempt_count, found.cluster, found.native.kind) == (1, "calls", "success")
    assert (found.group_result(), found.group_count(), found.group_count(failures=True)) == ([3], 1, 0)
    assert found.group_delete(tasks=True) == 1
    with override_settings(USE_TZ=False):
        assert found.started.tzinfo is None


def test_a_result_has_the_arguments_of_its_task() -> None:
    """Unless the site says that they are not stored."""
    plain = fetch(async_task(site_tasks.add, 1, 2, sync=True))
    named = fetch(async_task(site_tasks.echo, 1, sync=True, key=[2]))
    none = fetch(async_task("time.monotonic", sync=True))
    found = [(one.args, one.kwargs) for one in (plain, named, none) if one is not None]

    assert found == [((1, 2), {}), ((1,), {"key": [2]}), ((), {})]
    with override_settings(Q_CLUSTER={**settings.Q_CLUSTER, "keep_arguments": False}):
        bare = fetch(async_task(site_tasks.add, 1, 2, sync=True))
        assert bare is not None
        assert (bare.args, bare.kwargs) == (None, None)


def test_nothing_is_needed_before_it_runs() -> None:
    """An Iter and a Chain are made first and filled later."""
    several, chain = Iter(), Chain()

    assert (several.length(), several.result(), several.fetch()) == (0, None, None)
    assert (chain.length(), chain.current(), chain.result(), chain.fetch()) == (0, None, None, None)
    with pytest.raises(ValueError, match="has no function to call"):
        several.run()
    several.func = site_tasks.add
    several.append(1, 2)
    several.sync = True
    several.run()
    assert several.result() == [3]


def test_a_broker_of_the_callers_takes_the_messages(tmp_path: Path) -> None:
    """Of a task, an iter and a chain, and of their classes; the site's own gets none."""
    other = App(Config.from_dict({"name": "calls", "sqlite": {"path": str(tmp_path / "other.db")}}))
    given = other.runtime.make_broker()
    counted = []

    for run in (
        lambda: async_task(site_tasks.add, 1, 2, broker=given),
        lambda: async_task(site_tasks.add, 1, 2, broker=given, chain=[(site_tasks.add, (1, 2))]),
        lambda: async_iter(site_tasks.add, [(1, 1), (2, 2)], broker=given),
        lambda: async_chain([(site_tasks.add, (1, 1)), (site_tasks.add, (2, 2))], broker=given),
        lambda: Iter(site_tasks.add, [(1, 1), (2, 2)], broker=given).run(),
        lambda: Chain([(site_tasks.add, (1, 1))], broker=given).run(),
        lambda: AsyncTask(site_tasks.add, 1, 2, broker=given).run(),
    ):
        run()
        counted.append(queue_size(given))

    assert counted == [1, 2, 4, 5, 7, 8, 9]
    assert queue_size() == 0
    assert result(async_task(site_tasks.add, 1, 2, broker=given, sync=True)) == 3
    given.close()
    other.close()


def test_options_stand_where_the_original_had_them() -> None:
    """In q_options they win, and the plain argument then reaches the function; the name is different."""
    task = AsyncTask(site_tasks.echo, q_options={"sync": True, "group": "g", "task_name": "b"}, group=1)
    task.cached = 60
    task.broker = None
    task.kwargs["task_name"] = "a"
    assert (task.sync, task.cached, task.broker, task.group) == (True, 60, None, "g")
    task.run()

    assert task.result() == [[], {"group": 1}]
    found = task.fetch()
    assert found is not None
    assert (found.name, found.group) == ("a", "g")


def test_a_chain_given_to_a_task_follows_it() -> None:
    """Each link has options of its own, and the group of the first."""
    links = [(site_tasks.echo, (1,), {"timeout": 5}), "time.monotonic"]
    task_id = async_task(site_tasks.add, 1, 2, sync=True, group="g", chain=links)

    assert result(task_id) == 3
    assert (result_group("g", count=3) or [])[:2] == [3, [[1], {}]]
    assert len(links) == 2


def test_a_callback_that_no_worker_could_import_is_refused() -> None:
    """Where it is given."""
    with pytest.raises(TaskNameError):
        async_task(site_tasks.add, 1, 2, hook=lambda task: task)


def test_only_callbacks_that_are_allowed_are_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A site that allows its own tasks need not allow ours; what it does not allow is not reached by ours."""
    monkeypatch.setenv("SITE_NOTES", str(tmp_path / "notes"))
    table = {**settings.Q_CLUSTER, "tasks_allowed": ["site_tasks.*"], "save_limit": 0}
    with override_settings(Q_CLUSTER=table):
        async_task(site_tasks.add, 1, 2, sync=True, hook=site_tasks.note)
        assert (tmp_path / "notes").exists()
        for hook in ("math.floor", "qcore_django.hooks.called.math.floor"):
            task_id = async_task(site_tasks.add, 1, 2, sync=True, hook=hook)
            called = derived_id(bytes.fromhex(task_id), "hook").hex()
            found = fetch(called)
            assert found is not None
            assert "does not match tasks_allowed (site_tasks.*" in found.result


def test_what_a_task_raises_in_this_process_reaches_the_caller() -> None:
    """And no result is stored of it; a callback's own error does not."""
    with pytest.raises(ValueError, match=r"^no luck$"):
        async_task(site_tasks.fail, "no luck", sync=True, group="g")
    with pytest.raises(ValueError, match=r"^no luck$"):
        async_chain([(site_tasks.fail, ("no luck",))], "g", sync=True)
    assert result_group("g", failures=True) is None

    assert result(async_task(site_tasks.add, 1, 2, sync=True, hook=site_tasks.fail)) == 3


def test_a_schedules_tasks_are_in_the_group_of_its_name() -> None:
    """Another group, callback and options stay what they are said to be."""
    with testing.captured(app) as caught:
        for made in (
            schedule(site_tasks.add, 1, 2, name="nightly", schedule_type="D", hook=site_tasks.note),
            schedule(site_tasks.add, 1, 2, name="other", q_options={"group": "mine", "timeout": 3}),
            schedule(site_tasks.add, 1, 2),
        ):
            app.schedules.run(made.name)
    del caught
    heads = [app.runtime.envelope.open(one.body).head for one in _leased(3)]

    assert [b"nightly" in heads[0], b"mine" in heads[1], b"other" in heads[1]] == [True, True, True]
    assert b"qcore_django.hooks.called.site_tasks.note" in heads[0]


def test_a_schedule_takes_the_originals_letters() -> None:
    """D is daily, C is cron, O is once."""
    made = [
        schedule(site_tasks.add, 1, 2, name="daily", schedule_type="D"),
        schedule("math.sqrt", 4, name="cron", schedule_type="C", cron="*/5 * * * *"),
        schedule(site_tasks.add, 1, 2, name="minutes", schedule_type="I", minutes=5, repeats=3),
        schedule(site_tasks.add, 1, 2, name="once"),
    ]

    assert [one.schedule_type for one in made] == ["D", "C", "I", "O"]
    assert [one.native.rule for one in made] == ["daily", "*/5 * * * *", "every 300", "once"]
    assert [one.name for one in app.schedules.list()] == ["cron", "daily", "minutes", "once"]


def test_schedules_without_a_name_are_separate() -> None:
    """Another argument, rule, first slot or queue is another one; saying one again adds none."""
    first = datetime(2030, 1, 31, 9, 0, tzinfo=UTC)
    told: list[tuple[Any, dict[str, Any]]] = [
        ((2, -2), {"schedule_type": "H"}),
        ((3, -3), {"schedule_type": "H"}),
        ((2, -2), {"schedule_type": "D"}),
        ((2, -2), {"schedule_type": "C", "cron": "0 3 * * *"}),
        ((2, -2), {"schedule_type": "I", "minutes": 5}),
        ((2, -2), {"schedule_type": "I", "minutes": 6}),
        ((2, -2), {"next_run": first}),
        ((2, -2), {"next_run": first + timedelta(days=1)}),
        ((2,), {"a": 1, "b": 2}),
    ]
    for args, named in told:
        schedule("math.copysign", *args, **named)
    once = {one.name for one in app.schedules.list()}

    for args, named in told:
        schedule("math.copysign", *args, **dict(reversed(named.items())))
    schedule(site_tasks.add, 2, -2, schedule_type="H")
    schedule("math.copysign", 2, -2, name="mine", schedule_type="H")

    assert len(once) == len(told)
    assert {one.task for one in app.schedules.list() if one.name in once} == {"math.copysign"}
    others = [one for one in app.schedules.list() if one.name not in once]
    assert {one.task for one in others} == {"math.copysign", "site_tasks.add"}
    assert len(others) == 2
    assert app.schedules.delete("mine")


class AtCommit(TestCase):
    """`on_commit` in a test whose transaction is never committed."""

    def test_a_task_waits_for_the_commit(self) -> None:
        """The id is there at once, and the message when the callbacks run."""
        with self.captureOnCommitCallbacks(execute=True) as callbacks:
            task_id = async_task(site_tasks.add, 1, 2, on_commit=True)
            async_chain([(site_tasks.add, (1, 2))], on_commit=True)
            async_iter(site_tasks.add, [(1, 2)], on_commit=True)
            assert (len(task_id), queue_size()) == (32, 0)

        assert len(callbacks) == 3
        assert queue_size() == 3

    def test_a_task_that_runs_here_waits_too(self) -> None:
        """With `sync` it runs at the commit."""
        with self.captureOnCommitCallbacks(execute=True):
            task_id = async_task(site_tasks.add, 1, 2, on_commit=True, sync=True)
            assert result(task_id) is None

        assert result(task_id) == 3

    def test_what_no_rollback_could_undo_is_refused(self) -> None:
        """A key that is held, and a broker of the caller's."""
        declared = app.task(unique=True)(site_tasks.add)

        with pytest.raises(ValueError, match="excludes unique="):
            async_task(declared, 1, 2, on_commit=True)
        async_task(declared, 1, 2)
        assert queue_size() == 1
        with pytest.raises(NotSupported, match="leave one of them out"):
            async_task(site_tasks.add, 1, 2, on_commit=True, broker=object())


class Committed(TransactionTestCase):
    """`on_commit` with transactions that end."""

    def test_a_rollback_enqueues_nothing(self) -> None:
        """A commit does, and so does a call outside of a transaction, at once."""
        with transaction.atomic():
            async_task(site_tasks.add, 1, 2, on_commit=True)
            transaction.set_rollback(True)
        assert queue_size() == 0
        with transaction.atomic(using=connection.alias):
            async_task(site_tasks.add, 1, 2, on_commit=connection.alias)
            assert queue_size() == 0
        assert queue_size() == 1
        async_task(site_tasks.add, 1, 2, on_commit=True)
        assert queue_size() == 2


def _leased(count: int) -> list[Any]:
    with app.runtime.brokers.connection() as broker:
        return [broker.lease(1, 0)[0] for _ in range(count)]
