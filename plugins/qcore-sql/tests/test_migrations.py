"""Tables of an older version are migrated with what is in them, once, where that is allowed."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from qcore.errors import BackendRejected
from qcore.interfaces import Settings
from qcore_sql import SqlBroker, SqlSettings
from qcore_sql.migrations import STEPS
from qcore_sql.schema import VERSION
from qcore_testing.processes import Child

if TYPE_CHECKING:
    from collections.abc import Callable

KEY = "a key of the tests of a plugin of qcore"
SCHEMAS = Path(__file__).parent / "schemas"
#: the random text that the files give to a database
NAME = "0123456789abcdef" * 2
KINDS = ("postgresql18", "mariadb", "sqlite")


@pytest.fixture(params=KINDS)
def server(request: pytest.FixtureRequest) -> Any:
    """Return each kind of database."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def namespace(server: Any) -> str:
    """Return the name of a database in which there never were tables."""
    name = f"old_{uuid.uuid4().hex[:12]}"
    if hasattr(server, "create"):
        server.create(name)
    return name


@pytest.fixture
def old(request: pytest.FixtureRequest, look: Callable[..., list[Any]]) -> None:
    """Create the tables of version 1, with a message."""
    kind = request.node.callspec.params["server"].rstrip("0123456789")
    for statement in (SCHEMAS / f"{kind}-1.sql").read_text(encoding="utf-8").split(";\n"):
        if statement:
            look(statement)
    look("INSERT INTO qcore_message (queue, due, body) VALUES ('q', 1, %s)", b"kept")


def settings(url: str, **fields: Any) -> Settings:
    """Return settings of one queue."""
    return Settings(name="q", sections={"sql": SqlSettings(url=url, **fields)})


def version(look: Callable[..., list[Any]]) -> int:
    """Return the version of the tables."""
    ((found, name),) = look("SELECT version, name FROM qcore_schema")
    assert name == NAME
    return int(found)


def shape(look: Callable[..., list[Any]], server: Any) -> list[Any]:
    """Return all that a database says about its tables."""
    if not hasattr(server, "kill"):
        rows = look("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")
        return sorted(re.sub(r"\s+(?=[,)])", "", " ".join(text.split())) for (text,) in rows)
    if not hasattr(server, "data"):
        names = [name for (name,) in look("SHOW TABLES")]
        tables = [look(f"SHOW CREATE TABLE {name}")[0][1] for name in sorted(names)]
        return [re.sub(r" AUTO_INCREMENT=\d+", "", text) for text in tables]
    columns = look(
        "SELECT table_name, column_name, data_type, is_nullable, column_default, character_maximum_length"
        " FROM information_schema.columns WHERE table_schema = current_schema() ORDER BY 1, ordinal_position"
    )
    indexes = look(
        "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = current_schema() ORDER BY 1"
    )
    options = look(
        "SELECT relname, reloptions FROM pg_class"
        " WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r' ORDER BY 1"
    )
    return [*columns, *((name, text.partition(" USING ")[2]) for name, text in indexes), *options]


def test_there_is_a_step_for_each_version() -> None:
    """Whoever changes the tables says how the old ones become the new ones."""
    assert sorted(STEPS) == list(range(2, VERSION + 1))


@pytest.mark.usefixtures("old")
def test_old_tables_are_migrated_at_the_first_use(url: str, look: Callable[..., list[Any]]) -> None:
    """What is in them is kept, and the queue is the same one."""
    with contextlib.closing(SqlBroker(settings(url))) as broker:
        assert [one.body for one in broker.lease(10, 0.0)] == [b"kept"]
        assert broker.queue_id() == f"sql:{NAME}#q"

    assert version(look) == VERSION


@pytest.mark.usefixtures("old")
def test_migrated_tables_are_like_new_ones(url: str, look: Callable[..., list[Any]], server: Any) -> None:
    """Nothing tells from which version they came."""
    with contextlib.closing(SqlBroker(settings(url))) as broker:
        broker.ping()
    migrated = shape(look, server)

    other = f"new_{uuid.uuid4().hex[:12]}"
    if hasattr(server, "create"):
        server.create(other)
    with contextlib.closing(SqlBroker(settings(server.url(other)))) as broker:
        broker.ping()
    with contextlib.closing(server.connect(other)) as connection:

        def look_there(text: str) -> list[Any]:
            cursor = connection.cursor()
            cursor.execute(text)
            return list(cursor.fetchall())

        assert migrated == shape(look_there, server)


@pytest.mark.usefixtures("old")
def test_processes_that_come_at_once_migrate_once(url: str, look: Callable[..., list[Any]]) -> None:
    """Each of them can work afterwards."""

    def work(say: Callable[[str], None]) -> None:
        with contextlib.closing(SqlBroker(settings(url))) as broker:
            say(str(broker.size().ready))

    with contextlib.ExitStack() as stack:
        children = [stack.enter_context(Child(work, timeout=60.0)) for _ in range(4)]
        assert [child.line() for child in children] == ["1"] * 4

    assert version(look) == VERSION


@pytest.mark.usefixtures("old")
@pytest.mark.parametrize(
    "server",
    [*(pytest.param(kind, marks=pytest.mark.further) for kind in KINDS[1:]), KINDS[0]],
    indirect=True,
)
def test_nothing_is_migrated_where_it_is_not_allowed(
    url: str, look: Callable[..., list[Any]], tmp_path: Path
) -> None:
    """An error says what to do, and `qcore sql init` does it."""
    with contextlib.closing(SqlBroker(settings(url, create_tables=False))) as broker:
        said = f"have version 1, this qcore-sql needs {VERSION}; run qcore sql init"
        with pytest.raises(BackendRejected, match=said):
            broker.size()
        assert version(look) == 1

        config = tmp_path / "qcore.toml"
        config.write_text(
            f'name = "q"\nsecret_key = "{KEY}"\n[sql]\nurl = {json.dumps(url)}\ncreate_tables = false\n',
            encoding="utf-8",
        )
        command = [sys.executable, "-m", "qcore", "--config", str(config), "sql", "init"]
        for _ in range(2):
            made = subprocess.run(command, capture_output=True, text=True, check=True)
            assert made.stdout.endswith(f" have version {VERSION}\n")
        printed = subprocess.run(
            [*command, "--print", "--from", "1"], capture_output=True, text=True, check=True
        )
        steps = re.findall(r"SET version = (\d+) WHERE version = (\d+);\n", printed.stdout)
        assert steps == [(str(number), str(number - 1)) for number in range(2, VERSION + 1)]

        assert broker.size().ready == 1
    assert version(look) == VERSION


@pytest.mark.usefixtures("old")
@pytest.mark.parametrize("server", ["postgresql18"], indirect=True)
def test_without_the_right_the_sql_is_shown(
    server: Any, namespace: str, look: Callable[..., list[Any]]
) -> None:
    """The SQL that the error shows is all that is needed, with the right on new tables."""
    look(f"CREATE ROLE {namespace} LOGIN")
    look(f"GRANT USAGE ON SCHEMA {namespace} TO {namespace}")
    grant = f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {namespace} TO {namespace}"
    look(grant)
    with contextlib.closing(SqlBroker(settings(server.url(namespace, namespace)))) as broker:
        with pytest.raises(BackendRejected, match="may not migrate the tables of version 1 in") as caught:
            broker.ping()
        assert version(look) == 1

        assert "and grant select, insert, update and delete on the tables" in str(caught.value)
        look(str(caught.value).partition("\n\n")[2])
        look(grant)

        assert [one.body for one in broker.lease(10, 0.0)] == [b"kept"]
