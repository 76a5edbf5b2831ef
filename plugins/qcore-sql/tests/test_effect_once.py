"""What a task writes in the transaction that settles it is there once, whoever is killed."""

from __future__ import annotations

import contextlib
import signal
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

import qcore
from qcore import App, Config, TaskFailed
from qcore.errors import NotSupported
from tests.integration.running import run_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from qcore import Job

pytestmark = pytest.mark.chaos

KEY = "the key of these tests, not of anybody else"
#: seconds any one condition is given
TIMEOUT = 100.0
#: where a worker dies: in the task, and on the way to the end of the settlement
STEPS = ("begun", "inserted", "left", "ran", "noted", "written", "committed", "unsettled", "settled")
#: workers that die at each step
DEATHS = 1

#: what the workers import; they die at a step as often as there are files of its name
TASKS = """
import os, signal, time
from functools import wraps
from pathlib import Path

import qcore
from qcore.journal.pages import Page
from qcore.tasks.execute import Executor
from qcore.workers.batch import Batch
from qcore_sql import SqlBroker
from qcore_sql.task_transaction import TaskTransaction
from sqlalchemy import text

HERE = Path(__file__).parent
app = qcore.App()


def reach(step):
    for life in HERE.glob(f"{step}.*"):
        try:
            life.unlink()
        except FileNotFoundError:
            continue
        os.kill(os.getpid(), signal.SIGKILL)


def deadly(owner, name, step, before=False):
    method = getattr(owner, name)

    @wraps(method)
    def call(*args, **kwargs):
        if before:
            reach(step)
        found = method(*args, **kwargs)
        if not before:
            reach(step)
        return found

    setattr(owner, name, call)


deadly(Executor, "run", "ran")
deadly(Page, "add_finished", "noted")
deadly(TaskTransaction, "_write", "written")
deadly(SqlBroker, "commit_transaction", "committed")
deadly(Batch, "settle", "unsettled", before=True)
deadly(Batch, "settle", "settled")


def insert(connection, name):
    connection.execute(text("INSERT INTO effect (name) VALUES (:name)"), {"name": name})


@app.task
def write(*names):
    name = "-".join(map(str, names))
    with qcore.transaction() as connection:
        reach("begun")
        insert(connection, name)
        reach("inserted")
    reach("left")
    return name


@app.task
def collect(names):
    return write(*sorted(names))


@app.task
def wait(name):
    with qcore.transaction() as connection:
        insert(connection, name)
        (HERE / f"waits.{os.getpid()}").touch()
        while not (HERE / "go").exists():
            time.sleep(0.01)


@app.task
def misuse(how):
    if how == "twice":
        with qcore.transaction() as connection:
            insert(connection, how)
        with qcore.transaction():
            raise AssertionError
    with qcore.transaction() as connection:
        insert(connection, how)
        if how == "commit":
            connection.commit()
        if how == "statement":
            connection.exec_driver_sql("COMMIT")
        if how == "in the block":
            raise ValueError(how)
        if how == "nested":
            with qcore.transaction():
                raise AssertionError
    if how == "after the block":
        raise ValueError(how)
    if how == "not to be stored":
        return open
    return how
"""


@pytest.fixture(params=["postgresql18", "sqlite", pytest.param("mariadb", marks=pytest.mark.further)])
def server(request: pytest.FixtureRequest) -> Any:
    """Return each kind of database."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def start(url: str, tmp_path: Path, look: Callable[..., list[Any]]) -> Iterator[Callable[..., App]]:
    """Return a function that starts a cluster and returns an App of its queue."""
    (tmp_path / "effects.py").write_text(TASKS, encoding="utf-8")
    look("DROP TABLE IF EXISTS effect")
    look("CREATE TABLE effect (name VARCHAR(80) NOT NULL)")
    config = {
        "name": "q", "secret_key": KEY, "sql": url, "workers": 2, "retry": 30, "max_crashes": 0,
        "log_level": "WARNING", "preload": ["effects"],
    }  # fmt: skip
    with contextlib.ExitStack() as stack:

        def start(**changes: Any) -> App:
            values = {**config, **changes}
            text = "".join(f"{name} = {str(one).lower() if isinstance(one, bool) else repr(one)}\n"
                           for name, one in values.items())  # fmt: skip
            (tmp_path / "qcore.toml").write_text(text, encoding="utf-8")
            process = run_in(tmp_path)
            stack.callback(process.wait, TIMEOUT)
            stack.callback(process.send_signal, signal.SIGTERM)
            return stack.enter_context(contextlib.closing(App(Config.from_dict(values))))

        yield start


def until(condition: Callable[[], Any], what: str) -> Any:
    """Return the value of `condition` as soon as it is true."""
    end = time.monotonic() + TIMEOUT
    while not (found := condition()):
        assert time.monotonic() < end, f"still waiting after {TIMEOUT:g} seconds for {what}"
        time.sleep(0.02)
    return found


def error_of(job: Job) -> str:
    """Return the error of a task once it has ended, empty if it has succeeded."""
    try:
        job.result(wait=TIMEOUT)
    except TaskFailed as exc:
        return str(exc)
    return ""


@pytest.fixture
def effects(look: Callable[..., list[Any]]) -> Callable[[], Counter[str]]:
    """Return a function that returns how often each name was written."""
    return lambda: Counter(name for (name,) in look("SELECT name FROM effect"))


def test_an_effect_is_there_once_whatever_step_its_worker_dies_at(
    start: Callable[..., App], effects: Callable[[], Counter[str]], tmp_path: Path
) -> None:
    """Each task has succeeded, and what it wrote is there once; what follows from it too."""
    for step in STEPS:
        for number in range(DEATHS):
            (tmp_path / f"{step}.{number}").touch()
    app = start()
    write = app.task(name="effects.write")(lambda *_: None)
    collect = app.task(name="effects.collect")(lambda _: None)
    jobs = [write.enqueue(number) for number in range(20)]
    chained = [app.chain([write.bind("c"), write.bind(number)], pipe_result=True) for number in range(3)]
    grouped = [app.group([write.bind(f"g{number}"), write.bind(f"h{number}")]) for number in range(3)]
    ends = [one.then(collect.bind()) for one in grouped]

    wanted = [str(number) for number in range(20)]
    assert [job.result(wait=TIMEOUT) for job in jobs] == wanted
    assert [one.result(wait=TIMEOUT) for one in chained] == [f"c-{number}" for number in range(3)]
    assert [one.result(wait=TIMEOUT) for one in ends] == [f"g{number}-h{number}" for number in range(3)]
    until(lambda: app.queue.size().ready + app.queue.size().leased == 0, "an empty queue")

    members = [f"{kind}{number}" for kind in "gh" for number in range(3)]
    once = [*wanted, *members, *(f"c-{one}" for one in range(3)), *(f"g{one}-h{one}" for one in range(3))]
    assert effects() == Counter({**dict.fromkeys(once, 1), "c": 3})
    assert [path.name for path in tmp_path.iterdir() if path.stem in STEPS] == []


def test_a_lost_lease_takes_its_rows_along(
    start: Callable[..., App],
    effects: Callable[[], Counter[str]],
    look: Callable[..., list[Any]],
    server: Any,
    tmp_path: Path,
) -> None:
    """Of two workers that run one task, only the one that holds the lease commits."""
    if not hasattr(server, "kill"):
        pytest.skip("no lease is lost while an SQLite file is locked")
    app = start()
    job = app.enqueue("effects.wait", "once")
    until(lambda: list(tmp_path.glob("waits.*")), "the first worker")
    look("UPDATE qcore_message SET token = NULL, due = 0")
    until(lambda: len(list(tmp_path.glob("waits.*"))) == 2, "the second worker")
    (tmp_path / "go").touch()

    assert job.result(wait=TIMEOUT) is None
    said = "has lost its lease, so its transaction is rolled back: nothing is reported"
    until(lambda: said in (tmp_path / "log").read_text(encoding="utf-8"), "the other worker")
    assert effects() == Counter(once=1)


#: what goes wrong -> the error of the task
WRONG = {
    "twice": "NotSupported: a task has one block `with qcore.transaction()`",
    "nested": "NotSupported: a task has one block `with qcore.transaction()`",
    "commit": "call neither commit() nor rollback()",
    "in the block": "ValueError: in the block",
    "after the block": "ValueError: after the block",
}


def test_what_fails_has_written_nothing(
    start: Callable[..., App], effects: Callable[[], Counter[str]]
) -> None:
    """An error in the block or behind it, and whatever ends the transaction early, fails the task."""
    app = start(ack_failures=True)
    misuse = app.task(name="effects.misuse")(lambda _: None)
    jobs = {how: misuse.enqueue(how) for how in [*WRONG, "statement", "not to be stored"]}
    once = misuse.using(at_most_once=True).enqueue("at most once")
    found = {how: error_of(job) for how, job in jobs.items()}

    assert {how: error for how, error in WRONG.items() if error not in found[how]} == {}
    assert "a statement has ended it" in found["statement"]
    assert "which at_most_once has removed" in error_of(once)
    assert "its result cannot be stored" in found["not to be stored"]
    # whoever commits by a statement of his own has committed
    assert effects() == Counter({"statement": 1, "not to be stored": 1})
    # and the next task has a transaction again
    assert misuse.enqueue("fine").result(wait=TIMEOUT) == "fine"
    assert effects()["fine"] == 1


def test_it_works_in_a_task_only() -> None:
    """Elsewhere an error says so."""
    said = "in the process that runs it"
    with pytest.raises(NotSupported, match=said), qcore.transaction():
        pass
