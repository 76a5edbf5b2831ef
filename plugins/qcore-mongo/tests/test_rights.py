"""The role that the page names is enough, and none of its actions is too much."""

from __future__ import annotations

import json
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final

import pytest

from qcore import App, Cluster, Config
from qcore.errors import BackendError
from qcore.interfaces import Settings
from qcore.model import Outgoing
from qcore_mongo import MongoSettings
from qcore_mongo.checks import check
from qcore_mongo.indexes import Kind
from tests.unit.command_line import typed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECRET: Final = "the key of these tests, not of anybody else"
#: the name of the page, and of the queue `mail`
ROLE: Final = "queue-of-orders-mail"
ACTIONS: Final = ("find", "insert", "update", "remove", "createIndex", "listIndexes")


def role_of(land: Any, database: str) -> dict[str, Any]:
    """Return the role of the queue `mail`, as the server has it."""
    with land.client() as client:
        info = client[database].command("rolesInfo", ROLE, showPrivileges=True)
    found: dict[str, Any] = info["roles"][0]
    return found


@pytest.fixture
def table(locked: Any, database: str) -> Iterator[dict[str, Any]]:
    """Return how a user with the role of the page logs in."""
    yield locked.allow(database, "mail")
    with locked.client() as client:
        client[database].command("dropAllUsersFromDatabase")
        client[database].command("dropAllRolesFromDatabase")
        client.drop_database(database)


def config_of(table: dict[str, Any], database: str, **more: Any) -> dict[str, Any]:
    """Return a configuration of the queue `mail`."""
    named = {"name": "mail", "secret_key": SECRET, "mongo": table, "mongo_db": database}
    return named | more


def use(config: dict[str, Any]) -> None:
    """Do what producers, operators and schedulers do, with five collections."""
    with closing(App(Config.from_dict(config))) as app:
        app.enqueue("operator.add", 2, 3).cancel()
        app.enqueue("operator.add", 2, 3)
        app.schedules.create("operator.add", 1, 1, every=3600, name="hourly")
        app.schedules.delete("hourly")
        runtime = app.runtime
        with runtime.brokers.connection() as broker, runtime.stores.connection() as store:
            broker.publish_status("one", b"status", 60)
            assert broker.statuses() == [b"status"]
            broker.publish_status("one", b"", 60)
            store.counts()
            (leased,) = broker.lease(1, 5)
            broker.release_owner(leased.receipt[:8])
            broker.enqueue([Outgoing(bytes(16), b"urgent", queue="letters", priority=5)])
            broker.pause_queue("letters", paused=True)
            broker.pause_queue("letters", paused=False)
            assert [one.name for one in broker.queues()] == ["", "letters"]
            broker.move_queue("letters", "")
            broker.purge()
            assert broker.lease(1, 0.3) == []


def test_the_page_names_the_five_collections(locked: Any, table: dict[str, Any], database: str) -> None:
    """Each collection of the queue, none of another, and nothing of the database as a whole."""
    del table
    resources = [one["resource"] for one in role_of(locked, database)["privileges"]]

    expected = sorted(kind.collection("mail") for kind in Kind)
    assert sorted(one["collection"] for one in resources) == expected
    assert {one["db"] for one in resources} == {database}


def test_what_an_operator_looks_at_needs_no_more_rights_than_work(
    table: dict[str, Any],
    database: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With the role by which tasks run, `info`, `health` and `doctor` work as well."""
    written = "\n".join(f"{key} = {json.dumps(value)}" for key, value in table.items())
    file = tmp_path / "qcore.toml"
    file.write_text(f'name = "mail"\nsecret_key = "{SECRET}"\nmongo_db = "{database}"\n[mongo]\n{written}\n')
    file.chmod(0o600)
    monkeypatch.chdir(tmp_path)
    config = Config.from_dict(config_of(table, database, workers=1))
    with closing(App(config)) as app, Cluster(config):
        assert app.enqueue("operator.add", 2, 3).result(wait=100) == 5
        printed = {}
        for command in (["info", "--json"], ["health"], ["doctor"]):
            ran = typed(capsys, *command)
            assert ran.code == 0, (command, ran)
            printed[command[0]] = ran.out

    assert "MongoDB" in printed["info"]
    assert "change streams wake idle workers" in printed["doctor"]


@pytest.mark.parametrize("action", ACTIONS)
def test_no_action_of_the_role_is_too_much(
    locked: Any, table: dict[str, Any], database: str, action: str
) -> None:
    """Without one of them the queue cannot be used, and the error names what is not allowed."""
    with locked.client() as client:
        for privilege in role_of(locked, database)["privileges"]:
            denied = [{"resource": privilege["resource"], "actions": [action]}]
            client[database].command("revokePrivilegesFromRole", ROLE, privileges=denied)

    with pytest.raises(BackendError, match="not authorized"):
        use(config_of(table, database))


def test_without_change_streams_workers_poll_and_the_doctor_says_why(
    locked: Any, table: dict[str, Any], database: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The queue works all the same."""
    privileges = [
        {"resource": one["resource"], "actions": ["changeStream"]}
        for one in role_of(locked, database)["privileges"]
        if "changeStream" in one["actions"]
    ]
    with locked.client() as client:
        client[database].command("revokePrivilegesFromRole", ROLE, privileges=privileges)
    sections = {"mongo": MongoSettings(**table), "mongo_db": database}

    said = check(Settings(name="mail", sections=sections))
    use(config_of(table, database))

    assert "idle workers poll every 0.2 s, because they may not open a change stream" in said
    assert "not authorized" in said
    assert "change streams are not available, so the queue is polled" in caplog.text
    assert len(privileges) == 1


def test_the_role_is_enough_for_everything_that_is_tried_without_an_action(
    table: dict[str, Any], database: str
) -> None:
    """The test above fails for the missing action alone."""
    use(config_of(table, database))
