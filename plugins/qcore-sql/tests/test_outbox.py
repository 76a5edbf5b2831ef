"""Tasks that a transaction leaves in the outbox reach the queue of another broker."""

from __future__ import annotations

import contextlib
import json
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import create_engine

from qcore import App, Config
from qcore.errors import ConfigError, NotSupported
from tests.integration.running import run_in
from tests.unit.command_line import typed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sqlalchemy import Engine

pytestmark = pytest.mark.chaos

KEY = "the key of these tests, not of anybody else"
#: seconds any one condition is given
TIMEOUT = 100.0
#: what was refused is tried again after a while, for which nobody need wait here
QUICKLY = "from qcore.supervision import relay; relay._AGAIN = 0.5"

#: a broker whose `enqueue` kills its process, before or after it, or refuses, as files say
DYING = """
import os, signal, time
from pathlib import Path

from qcore.errors import BackendRejected, BackendUnavailable, PayloadTooLarge
from qcore_sqlite.broker import SqliteBroker

HERE = Path(__file__).parent


def reach(step):
    life = HERE / step
    if life.exists():
        life.unlink()
        os.kill(os.getpid(), signal.SIGKILL)


class Dying(SqliteBroker):
    def enqueue(self, messages):
        if (HERE / "away").exists():
            raise BackendUnavailable("it is away")
        if (HERE / "refusing").exists():
            raise BackendRejected("wrong password")
        if any(b"too large" in one.body for one in messages):
            raise PayloadTooLarge("no message of this size")
        reach("before")
        super().enqueue(messages)
        reach("behind")

    def lease(self, limit, wait):
        if (HERE / "held").exists():
            time.sleep(0.05)
            return ()
        return super().lease(limit, wait)


def write(name):
    with (HERE / "ran").open("a") as file:
        file.write(f"{name}\\n")
"""


FURTHER = [pytest.param(name, marks=pytest.mark.further) for name in ("sqlite", "mariadb")]


@pytest.fixture(params=["postgresql18", *FURTHER])
def server(request: pytest.FixtureRequest) -> Any:
    """Return each kind of database."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def values(url: str, tmp_path: Path) -> dict[str, Any]:
    """Return a configuration: the queue is in a file, the outbox in a database."""
    (tmp_path / "dying.py").write_text(DYING, encoding="utf-8")
    return {
        "name": "q",
        "secret_key": KEY,
        "workers": 1,
        "retry": 1,
        "log_level": "WARNING",
        "outbox": "sql",
        "broker_class": "dying.Dying",
        "result_store": "sqlite",
        "sqlite": {"path": str(tmp_path / "queue.db")},
        "sql": {"url": url},
    }


@pytest.fixture
def run(values: dict[str, Any], tmp_path: Path) -> Iterator[Callable[[], Any]]:
    """Return a function that starts a cluster."""
    lines = [f"{name} = {json.dumps(one)}" for name, one in values.items() if not isinstance(one, dict)]
    for name, table in values.items():
        if isinstance(table, dict):
            lines += [f"[{name}]", *(f"{key} = {json.dumps(one)}" for key, one in table.items())]
    (tmp_path / "qcore.toml").write_text("\n".join(lines), encoding="utf-8")
    with contextlib.ExitStack() as stack:

        def run() -> Any:
            process = run_in(tmp_path, QUICKLY)
            stack.callback(process.wait, TIMEOUT)
            stack.callback(process.send_signal, signal.SIGTERM)
            return process

        yield run


@pytest.fixture
def app(values: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[App]:
    """Return an App of a program, which has the transaction."""
    monkeypatch.syspath_prepend(tmp_path)
    with contextlib.closing(App(Config.from_dict(values))) as app:
        yield app


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    """Return an engine of the program's."""
    scheme, _, rest = url.partition("://")
    driver = {"postgresql": "postgresql+psycopg", "mariadb": "mariadb+pymysql", "sqlite": "sqlite"}[scheme]
    engine = create_engine(f"{driver}://{rest}")
    yield engine
    engine.dispose()


def until(condition: Callable[[], Any], what: str) -> Any:
    """Return the value of `condition` as soon as it is true."""
    end = time.monotonic() + TIMEOUT
    while not (found := condition()):
        assert time.monotonic() < end, f"still waiting after {TIMEOUT:g} seconds for {what}"
        time.sleep(0.02)
    return found


def waiting(app: App) -> int:
    """Return how many messages are in the outbox."""
    with app.runtime.outboxes.connection(create=True) as outbox:
        size = outbox.size()
    return size.ready + (size.leased or 0) + (size.delayed or 0)


def ran(tmp_path: Path) -> list[str]:
    """Return the names of the tasks that ran, sorted."""
    path = tmp_path / "ran"
    return sorted(path.read_text(encoding="utf-8").split()) if path.exists() else []


def test_what_was_committed_is_moved(
    app: App, engine: Engine, run: Callable[[], Any], tmp_path: Path
) -> None:
    """With a rollback nothing is left; the broker may be away meanwhile, and a delay is kept."""
    write = app.task(name="dying.write")(lambda _: None)
    (tmp_path / "away").touch()
    for end in ("rollback", "commit"):
        with engine.connect() as connection:
            here = write.using(connection=connection)
            jobs = [here.enqueue(f"{end}-{number}") for number in range(3)]
            jobs.append(here.using(delay=0.5).enqueue(f"{end}-later"))
            jobs += app.group([here.bind(f"{end}-a"), here.bind(f"{end}-b")]).enqueue().jobs
            getattr(connection, end)()
        assert waiting(app) == (6 if end == "commit" else 0)
    run()
    until(lambda: "it is away" in (tmp_path / "log").read_text(encoding="utf-8"), "a failed move")
    assert waiting(app) == 6
    (tmp_path / "away").unlink()

    assert [job.result(wait=TIMEOUT) for job in jobs] == [None] * 6
    assert ran(tmp_path) == sorted(f"commit-{name}" for name in ("0", "1", "2", "later", "a", "b"))
    until(lambda: waiting(app) == 0, "an empty outbox")


def test_a_relay_that_dies_at_a_step_loses_nothing_and_repeats_nothing(
    app: App, engine: Engine, run: Callable[[], Any], tmp_path: Path
) -> None:
    """Killed before or after the broker has accepted: a copy under an id that has ended does not run."""
    write = app.task(name="dying.write")(lambda _: None)
    for step, copies in (("before", 1), ("behind", 2)):
        (tmp_path / step).touch()
        # no worker of the cluster that dies runs a task: it would die in the midst of it
        (tmp_path / "held").touch()
        with engine.begin() as connection:
            jobs = [write.using(connection=connection).enqueue(f"{step}-{number}") for number in range(3)]
        assert run().wait(TIMEOUT) == -signal.SIGKILL
        assert waiting(app) == 3
        second = run()
        until(lambda: waiting(app) == 0, "an empty outbox")
        assert app.queue.size().ready == 3 * copies
        (tmp_path / "held").unlink()
        assert [job.result(wait=TIMEOUT) for job in jobs] == [None] * 3
        until(lambda: app.queue.size().ready + (app.queue.size().leased or 0) == 0, "an empty queue")
        second.send_signal(signal.SIGTERM)
        second.wait(TIMEOUT)

    assert ran(tmp_path) == sorted(f"{step}-{number}" for step in ("before", "behind") for number in range(3))


def test_what_the_broker_refuses_is_set_aside(
    app: App,
    engine: Engine,
    run: Callable[[], Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The others are moved; `qcore doctor` says that one was not."""
    write = app.task(name="dying.write")(lambda _: None)
    with engine.begin() as connection:
        here = write.using(connection=connection)
        jobs = [here.enqueue(name) for name in ("one", "too large", "two")]
    run()

    assert jobs[0].result(wait=TIMEOUT) is jobs[2].result(wait=TIMEOUT) is None
    until(lambda: waiting(app) == 0, "an empty outbox")
    with app.runtime.outboxes.connection() as outbox:
        (letter,) = outbox.dead_letters()
    assert letter.reason == "PayloadTooLarge: no message of this size"
    said = typed(capsys, "--config", str(tmp_path / "qcore.toml"), "doctor").out
    assert "outbox         1 task refused by the broker; the log of the clusters says why" in said


def test_a_broker_that_refuses_everything_is_waited_for(
    app: App, engine: Engine, run: Callable[[], Any], tmp_path: Path
) -> None:
    """A wrong password is not a matter of the messages: they stay, and are moved once it is mended."""
    write = app.task(name="dying.write")(lambda _: None)
    (tmp_path / "refusing").touch()
    with engine.begin() as connection:
        jobs = [write.using(connection=connection).enqueue(name) for name in ("one", "two")]
    run()

    until(
        lambda: "wrong password" in (tmp_path / "log").read_text(encoding="utf-8"), "the refusal to be told"
    )
    (tmp_path / "refusing").unlink()

    assert [job.result(wait=TIMEOUT) for job in jobs] == [None, None]
    with app.runtime.outboxes.connection() as outbox:
        assert outbox.dead_letters() == []


@pytest.mark.parametrize("server", ["sqlite"], indirect=True)
def test_wrong_outboxes_are_refused(values: dict[str, Any], engine: Engine) -> None:
    """Each message says what to do."""

    def problems(values: dict[str, Any], **changes: Any) -> str:
        with pytest.raises(ConfigError) as caught:
            Config.from_dict(values | changes)
        return str(caught.value)

    assert "outbox: got 'nowhere'; " in problems(values, outbox="nowhere")
    assert "with an outbox it has at most 73 characters" in problems(values, name="q" * 74)
    alone = {name: values[name] for name in ("name", "secret_key", "outbox", "sql")}
    assert "which is the broker: tasks join your transactions without an outbox" in problems(alone)
    with contextlib.closing(App(Config.from_dict(values | {"outbox": "sqlite"}))) as app:
        write = app.task(name="dying.write")(lambda _: None)
        with engine.begin() as connection, pytest.raises(NotSupported, match="is not in one; set outbox"):
            write.using(connection=connection).enqueue(1)
