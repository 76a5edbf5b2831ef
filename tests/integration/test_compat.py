"""The call shapes of Django-Q, on a real cluster."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from qcore.compat import (
    AsyncTask,
    Chain,
    Iter,
    async_chain,
    async_iter,
    async_task,
    calls,
    count_group,
    delete_cached,
    delete_group,
    fetch,
    fetch_group,
    queue_size,
    result,
    result_group,
    schedule,
)
from tests.integration import tasks
from tests.integration.land import lines, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qcore import App
    from tests.integration.land import Land

#: milliseconds, as these functions take them
WAIT = 20_000


@pytest.fixture
def app(land: Land, monkeypatch: pytest.MonkeyPatch) -> Iterator[App]:
    """Return the app these functions speak through, on this test's queue."""
    folder = land.folder
    (folder / "qcore.toml").write_text(
        f'name = "land"\nsecret_key = "{land.settings()["secret_key"]}"\n'
        f'[sqlite]\npath = "{land.settings()["sqlite"]["path"]}"\n',
        encoding="utf-8",
    )
    (folder / "qcore.toml").chmod(0o600)
    monkeypatch.setenv("QCORE_CONFIG", str(folder / "qcore.toml"))
    calls.app.cache_clear()
    yield calls.app()
    calls.app().close()
    calls.app.cache_clear()


def test_a_task_is_put_on_the_queue_and_its_result_awaited_in_milliseconds(app: App, land: Land) -> None:
    """0 looks once, a number waits so long, None is returned for what has not ended."""
    task_id = async_task(tasks.add, 2, 3, task_name="sum", timeout=10)

    assert (result(task_id), fetch(task_id), queue_size()) == (None, None, 1)
    began = time.monotonic()
    assert result(task_id, wait=200) is None
    assert 0.2 <= time.monotonic() - began < 10
    land.cluster()
    assert result(task_id, wait=WAIT) == 5
    found = fetch(task_id, wait=-1)
    assert found is not None
    assert (found.label, found.success) == ("sum", True)
    assert delete_cached(task_id)
    assert result(task_id) is None


def test_a_failed_tasks_result_is_its_error(app: App, land: Land) -> None:
    """As text with the traceback behind it, as Django-Q gave it."""
    land.cluster(ack_failures=True)
    task_id = async_task(tasks.fail, "no luck")

    told = result(task_id, wait=WAIT)

    assert "no luck : Traceback" in told


def test_an_iter_gives_one_result(app: App, land: Land) -> None:
    """In the order of the arguments; empty input is complete at once; keywords reach the function."""
    land.cluster()

    ids = [
        async_iter(tasks.add, [(n, 1) for n in range(20)]),
        async_iter(tasks.echo, ["a", "b"], q_options={"task_name": "letters"}),
        async_iter(tasks.add, []),
    ]

    assert result(ids[0], wait=WAIT) == [n + 1 for n in range(20)]
    assert result(ids[1], wait=WAIT) == ["a", "b"]
    assert result(ids[2], wait=WAIT) == []
    found = fetch(ids[1])
    assert found is not None
    assert found.label == "letters"


def test_a_chain_leaves_its_results_in_a_group(app: App, land: Land) -> None:
    """In the order they ran, under the group that is returned or given."""
    land.cluster()

    made = async_chain([(tasks.add, (1, 2)), ("math.sqrt", (16.0,)), (tasks.echo, (), {"value": "end"})])
    given = async_chain([(tasks.add, (1, 1))], group="mine")

    assert result_group(made, wait=WAIT, count=3) == [3, 4.0, "end"]
    assert (given, result_group("mine", wait=WAIT)) == ("mine", [2])
    found = fetch_group(made)
    assert found is not None
    assert [one.group for one in found] == [made] * 3
    assert (count_group(made), count_group(made, failures=True)) == (3, 0)
    assert delete_group(made) == 3
    assert fetch_group(made) is None
    assert delete_group("mine", tasks=True) == 1


def test_a_group_is_awaited_until_so_many_have_ended(app: App, land: Land) -> None:
    """Without them it is None, and does not block for ever."""
    for number in range(3):
        async_task(tasks.add, number, 0, group="sums")

    assert result_group("sums", count=3) is None
    assert result_group("sums", count=4, wait=100) is None
    land.cluster()
    found = result_group("sums", count=3, wait=WAIT)
    assert found is not None
    assert sorted(found) == [0, 1, 2]


def test_a_group_may_be_a_number(app: App, land: Land) -> None:
    """Django-Q's database made a text of it: `group=order.pk` goes on to work."""
    land.cluster()

    async_task(tasks.add, 1, 2, group=5, task_name=7)
    async_chain([(tasks.add, (3, 4))], group=6)  # type: ignore[arg-type]  # as users of Django-Q do

    assert result_group(5, count=1, wait=WAIT) == [3]  # type: ignore[arg-type]  # as above
    assert result_group("6", count=1, wait=WAIT) == [7]
    found = fetch_group("5")
    assert found is not None
    assert [one.label for one in found] == ["7"]


def test_a_hook_is_called(app: App, land: Land) -> None:
    """By its dotted name, with the result."""
    land.cluster()
    async_task(tasks.add, 20, 3, hook="tests.integration.flow_tasks.hook", task_name=str(land.file()))

    until(lambda: lines(land.file()))


def test_the_classes_run_what_they_are_told(app: App, land: Land) -> None:
    """AsyncTask, Iter and Chain know nothing before they are run, and forget when they are changed."""
    task = AsyncTask(tasks.add, 1, 2)
    assert (task.result(), task.fetch(), task.started) == (None, None, False)
    task.group = "classes"
    task.run()
    several = Iter(tasks.add, args=[(1, 1)])
    assert several.append(2, 2) == 2
    several.run()
    chain = Chain()
    assert chain.current() == 0
    assert [chain.append(tasks.add, 1, 1), chain.append("math.sqrt", 4.0)] == [1, 2]
    chain.run()

    land.cluster()

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
    chain.append(tasks.add, 5, 5)
    assert (chain.started, chain.length()) == (False, 3)


def test_options_stand_where_the_original_had_them(app: App) -> None:
    """In q_options they win, and the other keywords reach the function."""
    task = AsyncTask(tasks.echo, q_options={"sync": True}, value=1)
    task.cached = 60
    assert (task.sync, task.cached) == (True, 60)
    task.run()

    assert task.result() == 1


def test_a_schedule_takes_the_originals_letters(app: App) -> None:
    """D is daily, C is cron, O is once."""
    made = [
        schedule(tasks.add, 1, 2, name="daily", schedule_type="D"),
        schedule("math.sqrt", 4, name="cron", schedule_type="C", cron="*/5 * * * *"),
        schedule(tasks.add, 1, 2, name="minutes", schedule_type="I", minutes=5, repeats=3),
        schedule(tasks.add, 1, 2, name="once"),
    ]

    assert [one.rule for one in made] == ["daily", "*/5 * * * *", "every 300", "once"]
    assert [one.name for one in app.schedules.list()] == ["cron", "daily", "minutes", "once"]


def test_schedules_without_a_name_are_separate(app: App) -> None:
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
    schedule(tasks.add, 2, -2, schedule_type="H")
    schedule("math.copysign", 2, -2, name="mine", schedule_type="H")

    assert len(once) == len(told)
    assert {one.task for one in app.schedules.list() if one.name in once} == {"math.copysign"}
    others = [one for one in app.schedules.list() if one.name not in once]
    assert {one.task for one in others} == {"math.copysign", "tests.integration.tasks.add"}
    assert len(others) == 2
    assert app.schedules.delete("mine")
