"""Migrations create the tables, and what is wrong with a database is told in one error."""

from __future__ import annotations

import contextlib
import io
import re
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from django.core.management import call_command
from django.db import connections
from django.db.migrations.loader import MigrationLoader
from django.test import override_settings

from qcore.cluster import check_backends
from qcore.errors import BackendError, BackendRejected, QueueMissing
from qcore.interfaces import Settings
from qcore.model import Outgoing
from qcore_django import app
from qcore_django.orm.address import find
from qcore_django.orm.checks import check
from qcore_django.orm.creation import MigrateTables
from qcore_django.orm.stores import OrmBroker
from qcore_django.tasks import async_task, result, schedule
from qcore_sql import SqlBroker
from qcore_sql.schema import METADATA, VERSION

from .conftest import Files, added, create_tables, described

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.slow

MESSAGE = Outgoing(bytes(16), b"body")


@pytest.fixture
def namespace(server: Any) -> str:
    """Return the name of a database that no test has used, nor will."""
    name = f"fresh_{uuid.uuid4().hex[:12]}"
    if not isinstance(server, Files):
        server.create(name)
    return name


@pytest.fixture
def empty(server: Any, namespace: str) -> Iterator[str]:
    """Return the alias of a database without the tables."""
    with added(described(server, namespace)) as alias:
        yield alias


@pytest.fixture
def look_at(empty: str) -> Callable[..., list[Any]]:
    """Return a function that executes SQL in it."""

    def look(text: str) -> list[Any]:
        with connections[empty].cursor() as cursor:
            cursor.execute(text)
            found = list(cursor.fetchall()) if cursor.description else []
        connections[empty].close()
        return found

    return look


def broker_of(alias: str, **fields: Any) -> OrmBroker:
    """Return a broker of a queue in this database."""
    return OrmBroker(Settings(name="q", sections={"orm": alias}, **fields))


def said_by(command: str, *words: str, **options: Any) -> str:
    """Return what a command of manage.py prints."""
    out = io.StringIO()
    call_command(command, *words, stdout=out, **options)
    return out.getvalue()


@pytest.mark.parametrize("server", ["sqlite"], indirect=True)
def test_a_cluster_without_tables_does_not_begin(empty: str) -> None:
    """It ends at once with the reason, and does not wait for a migration that may never come."""
    with (
        override_settings(Q_CLUSTER={"name": "q", "orm": empty}),
        pytest.raises(QueueMissing, match=f"run python manage.py migrate --database {empty}$"),
    ):
        check_backends(app.config)


@pytest.mark.parametrize("server", ["sqlite"], indirect=True)
def test_a_producer_without_tables_is_told(empty: str) -> None:
    """With the command that makes them, whatever it asks for; so are the models."""
    with override_settings(Q_CLUSTER={"name": "q", "orm": empty}):
        for ask in (
            lambda: async_task("math.floor", 1.5),
            lambda: result("f" * 32),
            lambda: schedule("math.floor", 1.5, name="never"),
        ):
            with pytest.raises(BackendError, match=f"python manage.py migrate --database {empty}"):
                ask()
        app.close()


@pytest.mark.parametrize("server", ["sqlite", "postgresql18"], indirect=True)
def test_migrate_creates_the_tables_and_takes_them_back(empty: str) -> None:
    """The SQL can be looked at, and a second run changes nothing."""
    shown = said_by("sqlmigrate", "qcore_django", "0001", database=empty)
    missing = f"has no tables of qcore; run python manage.py migrate --database {empty}$"
    for made in (broker_of(empty), broker_of(empty, owner=b"of a worker"), broker_of(empty, create=False)):
        with pytest.raises(QueueMissing, match=missing):
            made.enqueue([MESSAGE])
        made.close()

    call_command("migrate", "qcore_django", database=empty, verbosity=0)
    call_command("migrate", "qcore_django", database=empty, verbosity=0)

    assert [name for name in METADATA.tables if f"CREATE TABLE {name} (" not in shown] == []
    assert "INSERT INTO qcore_schema (version, name) VALUES" in shown
    broker = broker_of(empty)
    broker.enqueue([MESSAGE])
    assert broker.size().ready == 1
    call_command("migrate", "qcore_django", "zero", database=empty, verbosity=0)
    with connections[empty].cursor() as cursor:
        assert connections[empty].introspection.table_names(cursor) == ["django_migrations"]
    with pytest.raises(BackendError, match=r"run python manage\.py migrate"):
        broker.size()
    broker.close()


def test_each_version_of_the_tables_has_a_migration() -> None:
    """Who changes the tables of qcore-sql adds one here, so that sites that were migrated before have it."""
    found = [
        operation.version
        for (app, _), migration in sorted(MigrationLoader(None).disk_migrations.items())
        if app == "qcore_django"
        for operation in migration.operations
        if isinstance(operation, MigrateTables)
    ]

    assert found == list(range(2, VERSION + 1))


#: makes tables of version 1 of today's
UNDO = (
    "DROP TABLE qcore_task_queue",
    "DROP INDEX qcore_message_due{}",
    "ALTER TABLE qcore_message DROP COLUMN task_queue",
    "ALTER TABLE qcore_dead_letter DROP COLUMN task_queue",
    "CREATE INDEX qcore_message_due ON qcore_message (queue, priority, due, seq)",
    "UPDATE qcore_schema SET version = 1",
)


def test_tables_of_an_older_version_are_migrated(empty: str, look_at: Callable[..., Any]) -> None:
    """A site that was migrated before finds its messages again."""
    create_tables(empty)
    broker = broker_of(empty)
    broker.enqueue([MESSAGE])
    broker.close()
    of_table = " ON qcore_message" if connections[empty].vendor == "mysql" else ""
    for statement in UNDO:
        look_at(statement.format(of_table))
    broker = broker_of(empty)
    with pytest.raises(BackendRejected, match=rf"have version 1, .*needs {VERSION}; run python manage"):
        broker.size()
    call_command("migrate", "qcore_django", database=empty, verbosity=0)

    assert broker.size().ready == 1
    assert look_at("SELECT version FROM qcore_schema") == [(VERSION,)]
    broker.close()


def test_the_key_sql_names_the_same_queue(server: Any, namespace: str, empty: str, tmp_path: Any) -> None:
    """What one has created the other accepts, and both lead to the same messages."""
    url = f"sqlite:///{tmp_path / namespace}.db" if isinstance(server, Files) else server.url(namespace)
    first = SqlBroker(Settings(name="q", sections={"sql": url}))
    first.enqueue([MESSAGE])
    create_tables(empty)
    broker = broker_of(empty)

    assert broker.size().ready == 1
    assert broker.queue_id() == first.queue_id()
    first.close()
    broker.close()


def test_newer_tables_are_refused(alias: str, look: Callable[..., Any]) -> None:
    """What a later version has written is not touched, whichever connection asks."""
    look("UPDATE qcore_schema SET version = 99")
    said = f"have version 99, this qcore-sql needs {VERSION}; upgrade"
    for prepare in (contextlib.nullcontext, connections[alias].ensure_connection):
        prepare()
        broker = broker_of(alias)
        with pytest.raises(BackendRejected, match=said):
            broker.enqueue([MESSAGE])
        broker.close()


@pytest.mark.parametrize("server", ["postgresql18"], indirect=True)
def test_a_replica_is_told(server: Any, namespace: str, alias: str) -> None:
    """It can be read, and each write is refused with what it is."""
    entry = described(server, namespace)
    entry["OPTIONS"]["options"] += " -c default_transaction_read_only=on"
    with added(entry) as replica:
        for prepare in (contextlib.nullcontext, connections[replica].ensure_connection):
            prepare()
            broker = broker_of(replica)
            assert broker.size().ready == 0
            with pytest.raises(BackendError, match="it is read-only: a standby, or one that was demoted"):
                broker.enqueue([MESSAGE])
            broker.close()


@pytest.mark.parametrize("server", ["sqlite"], indirect=True)
def test_a_file_that_cannot_be_written_is_told(server: Any, namespace: str, alias: str) -> None:
    """The user of the site may not be its owner."""
    entry = described(server, namespace)
    with added({**entry, "NAME": f"file:{entry['NAME']}?mode=ro", "OPTIONS": {}}) as locked:
        broker = broker_of(locked)
        with pytest.raises(BackendError, match="it cannot be written"):
            broker.enqueue([MESSAGE])
        broker.close()


@pytest.mark.parametrize("server", ["sqlite"], indirect=True)
def test_the_doctor_says_what_a_site_lacks(server: Any, namespace: str, alias: str) -> None:
    """With the options of the page it finds nothing, without them it names both."""
    assert "lacks" not in check(Settings(name="q", sections={"orm": alias}))
    entry = described(server, "other")
    with added({**entry, "OPTIONS": {}}) as plain:
        create_tables(plain)

        said = check(Settings(name="q", sections={"orm": plain}))

    assert re.search(
        rf"tables of version {VERSION}; .*lacks `transaction_mode` IMMEDIATE.* and `init_command`", said
    )


@pytest.mark.parametrize("server", ["postgresql18"], indirect=True)
def test_the_role_and_the_password_of_the_site_are_used(
    server: Any, namespace: str, alias: str, look: Callable[..., Any]
) -> None:
    """A connection of qcore's own is what Django's would be."""
    look(f"CREATE ROLE {namespace}")
    look(f"GRANT USAGE ON SCHEMA {namespace} TO {namespace}")
    entry = described(server, namespace)
    entry["OPTIONS"] |= {"assume_role": namespace, "application_name": "the site"}
    with added(entry) as other:
        worker = broker_of(other, owner=b"of a worker")
        with pytest.raises(BackendRejected, match="the user lacks a right; grant select, insert"):
            worker.lease(1, 0.0)
        look(f"GRANT ALL ON ALL TABLES IN SCHEMA {namespace} TO {namespace}")

        assert not worker.lease(1, 0.0)
        seen = look("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'the site'")
        assert seen == [(1,)]
        worker.close()


@pytest.mark.parametrize("server", ["sqlite"], indirect=True)
def test_what_the_key_may_not_name(alias: str, tmp_path: Any) -> None:
    """Each error says what DATABASES has and what to do."""

    def refused(named: str, why: str, **fields: Any) -> None:
        with pytest.raises(BackendRejected, match=why):
            broker_of(named, **fields).lease(1, 0.0)

    refused("", "`orm` is not set; set it to an alias of DATABASES, such as 'default'")
    refused("defaults", r"`orm` names 'defaults', and DATABASES has .*default.*; did you mean 'default'\?$")
    refused("default", "is in the memory of a process, which no cluster can see", owner=b"of a worker")
    with added({"ENGINE": "django.db.backends.dummy"}) as other:
        refused(other, "a database of the kind 'unknown', which is not supported; name one of PostgreSQL")
    with added({"ENGINE": "no.such.engine"}) as other:
        refused(other, "and Django refuses: 'no.such.engine' isn't an available database backend")
    with added({"ENGINE": "django.db.backends.postgresql", "NAME": ""}) as other:
        refused(other, "is incomplete: settings.DATABASES is improperly configured", owner=b"of a worker")
    broker = broker_of(alias)
    broker.close()
    with pytest.raises(BackendRejected, match=r"this connection to sqlite .* was closed; make a new one"):
        broker.size()


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"ssl_mode": "SOMETIMES"}, "has the ssl_mode 'SOMETIMES'; choose from DISABLED, PREFERRED, REQ"),
        ({"local_warp": 1}, "has OPTIONS that PyMySQL does not take, by which workers connect: .*local_warp"),
    ],
)
def test_options_of_another_driver_are_told(options: dict[str, Any], why: str) -> None:
    """A site may use mysqlclient; what PyMySQL has no word for is not dropped silently."""
    entry = {"ENGINE": "django.db.backends.mysql", "NAME": "shop", "HOST": "/nowhere", "OPTIONS": options}
    with added(entry) as alias:
        address = find(Settings(name="q", sections={"orm": alias}))
        with pytest.raises(BackendRejected, match=why):
            address.backend.connect(address)


@pytest.mark.parametrize("server", ["sqlite"], indirect=True)
def test_the_password_is_in_no_message(alias: str) -> None:
    """Addresses are shown without credentials."""
    entry = {
        "ENGINE": "django.db.backends.postgresql", "NAME": "shop", "USER": "somebody",
        "PASSWORD": "a secret of the site", "HOST": "/nowhere",
    }  # fmt: skip
    with added(entry) as other:
        address = find(Settings(name="q", sections={"orm": other}))
        with pytest.raises(BackendError) as caught:
            broker_of(other).ping()
    assert "secret" not in f"{address!r} {address.title} {caught.value}"
    assert "somebody" not in f"{address!r} {address.title}"
