"""What a task writes by `qcore.transaction` where it runs at once, in the process that enqueues it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

import qcore
from qcore import App, Config, TaskFailed
from qcore.testing import captured, inline

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def insert(connection: Any, name: str) -> None:
    """Insert a row of the task's own."""
    connection.execute(text("INSERT INTO effect (name) VALUES (:name)"), {"name": name})


def write(name: str, how: str = "") -> str:
    """Write in a transaction, and fail as asked."""
    if how == "twice":
        write(name)
    with qcore.transaction() as connection:
        insert(connection, name)
        if how == "commit":
            connection.commit()
        if how == "in the block":
            raise ValueError(how)
    if how == "behind the block":
        raise ValueError(how)
    return name


async def write_later(name: str) -> str:
    """Do the same, as a coroutine."""
    return write(name)


def recover(name: str) -> str:
    """Go on with a second block after one that has raised."""
    with contextlib.suppress(ValueError):
        write("gone", "in the block")
    return write(name)


#: of the test that runs
APPS: list[App] = []


def pass_on(name: str) -> None:
    """Run another task, whose transaction is its own, and fail."""
    APPS[-1].enqueue(write, name).result()
    raise ValueError(name)


@pytest.fixture(params=["postgresql18", "sqlite", pytest.param("mariadb", marks=pytest.mark.further)])
def server(request: pytest.FixtureRequest) -> Any:
    """Return each kind of database."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def app(url: str) -> Iterator[App]:
    """Return an App whose queue is in the database."""
    config = {"name": "q", "secret_key": "the key of these tests, not of anybody else", "sql": url}
    with contextlib.closing(App(Config.from_dict(config))) as app:
        APPS.append(app)
        yield app
        APPS.clear()


@pytest.fixture
def effects(server: Any, namespace: str) -> Callable[[], list[str]]:
    """Return a function that returns what the tasks have written."""

    def execute(statement: str) -> list[str]:
        with contextlib.closing(server.connect(namespace)) as connection:
            cursor = connection.cursor()
            cursor.execute(statement)
            found = [name for (name,) in cursor.fetchall()] if cursor.description else []
            connection.commit()
            return found

    execute("DROP TABLE IF EXISTS effect")
    execute("CREATE TABLE effect (name VARCHAR(99))")
    return lambda: execute("SELECT name FROM effect ORDER BY name")


@pytest.mark.parametrize("task", [write, write_later, recover])
def test_it_is_committed_when_the_task_succeeds(app: App, effects: Any, task: Any) -> None:
    """With the option `sync`, in `inline`, and when what was captured is run."""
    with inline(app):
        assert app.enqueue(task, "inline").result() == "inline"
    with captured(app) as queue:
        app.enqueue(task, "captured")
    queue.run()
    assert app.task(sync=True)(task).enqueue("sync").result() == "sync"

    assert effects() == ["captured", "inline", "sync"]


@pytest.mark.parametrize(
    ("how", "error"),
    [
        ("in the block", "ValueError: in the block"),
        ("behind the block", "ValueError: behind the block"),
        ("twice", "NotSupported: a task has one block"),
        ("commit", "call neither commit"),
    ],
)
def test_it_is_rolled_back_when_the_task_fails(app: App, effects: Any, how: str, error: str) -> None:
    """Whatever raises, and the next task has a transaction again."""
    with inline(app):
        with pytest.raises(TaskFailed, match=error):
            app.enqueue(write, "gone", how).result()
        app.enqueue(write, "kept")

    assert effects() == ["kept"]


def test_what_a_worker_refuses_is_refused_here(app: App, effects: Any, url: str, tmp_path: Path) -> None:
    """A test that passes does not hide what fails in production."""
    with inline(app):
        with pytest.raises(TaskFailed, match="at_most_once has removed"):
            app.task(at_most_once=True)(write).enqueue("gone").result()
        config = {"name": "q", "secret_key": "the key of these tests, not of anybody else", "sql": url}
        elsewhere = {"result_store": "sqlite", "sqlite": {"path": str(tmp_path / "results.db")}}
    with contextlib.closing(App(Config.from_dict(config | elsewhere))) as other, inline(other):
        sent = other.enqueue(write, "gone")
        with pytest.raises(TaskFailed, match="needs results in the database of the queue"):
            sent.result()

    assert effects() == []


def test_a_commit_that_is_refused_fails_the_task(app: App, server: Any, namespace: str, effects: Any) -> None:
    """A deferred constraint, for example."""
    if not hasattr(server, "data"):
        pytest.skip("no constraint is deferred")
    with contextlib.closing(server.connect(namespace)) as connection:
        connection.execute("ALTER TABLE effect ADD UNIQUE (name) DEFERRABLE INITIALLY DEFERRED")
        connection.commit()
    with inline(app):
        app.enqueue(write, "once")
        with pytest.raises(TaskFailed, match="effect_name_key"):
            app.enqueue(write, "once").result()

    assert effects() == ["once"]


def test_a_task_in_a_task_has_its_own(app: App, effects: Any) -> None:
    """What fails after it, outside of it, takes nothing back."""
    with inline(app), pytest.raises(TaskFailed, match="ValueError: inner"):
        app.enqueue(pass_on, "inner").result()

    assert effects() == ["inner"]
