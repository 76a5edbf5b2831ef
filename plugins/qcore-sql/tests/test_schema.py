"""The tables are created, checked, and shown to whoever may create them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from qcore.errors import BackendRejected, QueueMissing
from qcore.interfaces import Settings
from qcore.model import Action, Outgoing, Settlement, State, StoredResult, StoredSchedule
from qcore_sql import SqlBroker, SqlCoordination, SqlResults, SqlSchedules, SqlSettings
from qcore_sql.schema import METADATA, VERSION

if TYPE_CHECKING:
    from collections.abc import Callable

KEY = "a key of the tests of a plugin of qcore"
PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "use-postgresql.md"


def settings(url: str, **fields: Any) -> Settings:
    """Return settings of one queue."""
    return Settings(name="q", sections={"sql": SqlSettings(url=url, **fields)})


def test_a_newer_schema_is_refused(url: str, look: Callable[..., list[Any]]) -> None:
    """What a later version has written is not touched; the message says what to do."""
    SqlBroker(settings(url)).ping()
    look("UPDATE qcore_schema SET version = 99")

    broker = SqlBroker(settings(url, timeout=14.0))

    with pytest.raises(BackendRejected, match=f"have version 99, this qcore-sql needs {VERSION}; upgrade"):
        broker.enqueue([Outgoing(bytes(16), b"body")])
    broker.close()


def test_nothing_is_created_where_it_is_not_allowed(url: str, look: Callable[..., list[Any]]) -> None:
    """`sql.create_tables` and `Settings.create` each prevent it."""
    for made in (settings(url, create_tables=False), Settings(name="q", create=False, sections={"sql": url})):
        with pytest.raises(QueueMissing, match="has no tables of qcore; run qcore sql init"):
            SqlBroker(made).size()

    assert look("SELECT to_regclass('qcore_message')") == [(None,)]


def test_the_command_creates_the_tables(url: str, look: Callable[..., list[Any]], tmp_path: Path) -> None:
    """`qcore sql init` creates the tables once; `--print` shows SQL that does."""
    config = tmp_path / "qcore.toml"
    config.write_text(f'name = "q"\nsecret_key = "{KEY}"\n[sql]\nurl = "{url}"\ncreate_tables = false\n')

    def run(*words: str) -> str:
        command = [sys.executable, "-m", "qcore", "--config", str(config), "sql", "init", *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    printed = run("--print")
    assert look("SELECT to_regclass('qcore_message')") == [(None,)]
    look(printed)
    look(f"DROP TABLE {', '.join(METADATA.tables)}")

    assert run() == run()
    assert look("SELECT count(*) FROM qcore_message") == [(0,)]


@pytest.fixture
def worker(server: Any, namespace: str, look: Callable[..., list[Any]]) -> str:
    """Return the URL of a user without the right to create tables."""
    look(f"CREATE ROLE {namespace} LOGIN")
    look(f"GRANT USAGE ON SCHEMA {namespace} TO {namespace}")
    found: str = server.url(namespace, namespace)
    return found


def test_without_the_right_the_sql_is_shown(worker: str, look: Callable[..., list[Any]]) -> None:
    """An error without rights shows the SQL to run, and it is all that is needed."""
    broker = SqlBroker(settings(worker))
    with pytest.raises(BackendRejected, match="may not create tables") as caught:
        broker.ping()

    look(str(caught.value).partition("\n\n")[2])
    look(granting().replace("orders", worker.partition("//")[2].partition("@")[0]))

    work(settings(worker))
    broker.close()


def granting() -> str:
    """Return the SQL of the page that gives a user the rights."""
    page = PAGE.read_text(encoding="utf-8")
    return page.partition("```text\n")[2].partition("```")[0]


def work(made: Settings) -> None:
    """Use everything."""
    broker, results = SqlBroker(made), SqlResults(made)
    schedules, shared = SqlSchedules(made), SqlCoordination(made)
    broker.enqueue([Outgoing(bytes(16), b"one"), Outgoing(bytes(16), b"two", 0.001)])
    one = StoredResult(bytes(16), State.SUCCESS, b"body", "a.task", expires=1.0)
    (first,) = broker.lease(1, 0.0)
    broker.commit_and_lease(results, [one], [Settlement(first.receipt)], 0, [Outgoing(bytes(16), b"next")])
    (second,) = broker.lease(1, 5.0)
    broker.settle([Settlement(second.receipt, Action.DEAD_LETTER, reason="no")])
    assert broker.requeue([letter.id for letter in broker.dead_letters()]) == 1
    broker.publish_status("cluster", b"body", 60.0)
    schedule = StoredSchedule("nightly", b"body", 1.0)
    schedules.add(schedule)
    assert schedules.claim_due(2.0, 1, 60.0) == [schedule]
    assert schedules.fire(broker, [Outgoing(bytes(16), b"slot")], schedule, None)
    shared.set_flag("flag", b"value", 60.0)
    assert shared.acquire("lock", b"me", 1, 60.0) is None
    assert shared.reserve("rate", b"me", 1.0, 1) == 0.0
    shared.prune()
    assert results.prune(0) == 1
    assert broker.clear() == 3
    assert shared.clear()
    for part in (broker, results, schedules, shared):
        part.close()
