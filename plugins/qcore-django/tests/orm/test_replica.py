"""A site whose reads a router sends to a replica that is behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
import uuid
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import site_tasks
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.core.management import call_command
from django.db import connections
from django.test import Client, override_settings

from qcore import testing
from qcore.errors import BackendError
from qcore_django import app
from qcore_django.models import DeadLetter, Failure, OrmQ, Schedule, Success, Task
from qcore_django.tasks import async_task, count_group, fetch, result, result_group

from .conftest import added, described

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.further]

#: seconds any one condition is given
TIMEOUT = 100.0
#: page of the admin -> what is on it
SHOWN = {"success": "name_of", "failure": "no luck", "ormq": "site_tasks.add", "schedule": "nightly"}


class Standby:
    """A second server that replays what a PostgreSQL server writes."""

    def __init__(self, server: Any) -> None:
        self.folder: Path = server.folder / uuid.uuid4().hex[:8]
        self.folder.mkdir()
        user = server._user
        if user:
            os.chown(self.folder, user["user"], user["group"])
        data, programs = self.folder / "data", server._programs
        copy = [
            programs / "pg_basebackup",
            "-h",
            server.folder,
            "-U",
            "qcore",
            "-D",
            data,
            "-R",
            "-c",
            "fast",
        ]
        subprocess.run(copy, check=True, capture_output=True, cwd=self.folder, **user)
        sockets = f"unix_socket_directories={self.folder}"
        options = ("listen_addresses=", "fsync=off", "max_connections=200", sockets)
        settings = [part for option in options for part in ("-c", option)]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [programs / "postgres", "-D", data, *settings],
                stdout=log, stderr=log, cwd=self.folder, **user,
            )  # fmt: skip

    def ask(self, text: str) -> Any:
        """Return the one value of a query."""
        with psycopg.connect(f"host={self.folder} dbname=postgres user=qcore", autocommit=True) as connection:
            (found,) = connection.execute(text).fetchone() or (None,)
            return found

    def stay_behind(self, position: str) -> None:
        """Replay what there is up to a position, and nothing after it."""
        end = time.monotonic() + TIMEOUT
        while True:
            with contextlib.suppress(psycopg.OperationalError):
                if self.ask(f"SELECT pg_last_wal_replay_lsn() >= '{position}'"):
                    break
            assert time.monotonic() < end, (self.folder / "log").read_text()
            time.sleep(0.05)
        self.ask("SELECT pg_wal_replay_pause()")

    def close(self) -> None:
        """End it."""
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait(TIMEOUT)


class ToTheReplica:
    """Sends each read to the replica, and each write to the other."""

    main = replica = ""

    def db_for_read(self, model: Any, **_: Any) -> str | None:
        """Return the replica for what is in both."""
        return self.replica if model._meta.app_label == "qcore_django" or model is ContentType else None

    def db_for_write(self, model: Any, **_: Any) -> str | None:
        """Return the database that is written to."""
        return self.main if self.db_for_read(model) else None

    def allow_relation(self, *_: Any, **__: Any) -> bool:
        """Allow all."""
        return True


@pytest.fixture
def behind(server: Any, namespace: str, alias: str) -> Iterator[Any]:
    """Return a router to a replica that has the tables, and nothing that is written from now on."""
    with connections[alias].schema_editor() as editor:
        editor.create_model(ContentType)
    connections[alias].close()
    standby = Standby(server)
    entry = described(server, namespace)
    try:
        with server.connect() as connection:
            position = connection.execute("SELECT pg_current_wal_lsn()").fetchone()[0]
        standby.stay_behind(position)
        with added({**entry, "HOST": str(standby.folder)}) as replica:
            router = ToTheReplica()
            router.main, router.replica = alias, replica
            yield router
    finally:
        standby.close()


def name_of(kind: ContentType) -> list[str]:
    """Return the name of an object, and where it was found."""
    return [kind.model, str(kind._state.db)]


@pytest.mark.parametrize("server", ["postgresql18"], indirect=True)
def test_no_read_goes_to_a_replica(behind: Any) -> None:
    """Whatever is written is there at once: by functions, models, pages of the admin, and for arguments."""
    table = {"name": "replicated", "orm": behind.main, "has_replica": True, "max_attempts": 1}
    call_command("migrate", verbosity=0)
    kind = ContentType.objects.using(behind.main).create(app_label="shop", model="order")
    client = Client()
    client.force_login(User.objects.create_superuser("admin"))
    try:
        with override_settings(DATABASE_ROUTERS=[behind]):
            assert not ContentType.objects.exists()
            with override_settings(Q_CLUSTER=table):
                async_task(site_tasks.add, 1, 2)
                assert app.queue.size().ready == 1
                assert OrmQ.objects.get().func() == "site_tasks.add"
                Schedule.objects.create(name="nightly", func="site_tasks.add", args="1, 2", schedule_type="D")
                assert Schedule.objects.get(name="nightly").schedule_type == "D"
                assert [one.name for one in app.schedules.list()] == ["nightly"]
            with override_settings(Q_CLUSTER={**table, "sync": True}):
                sent = async_task(name_of, kind, group="g")
                with testing.inline(app):
                    failed = app.enqueue(site_tasks.fail, "no luck")
                assert result(sent) == ["order", behind.main]
                assert fetch(sent).success
                assert (count_group("g"), len(result_group("g"))) == (1, 1)
                assert (Task.objects.count(), Success.objects.get().id) == (2, sent)
                assert Failure.objects.get().id == failed.id
                assert not DeadLetter.objects.exists()
                for model, text in SHOWN.items():
                    page = client.get(f"/admin/qcore_django/{model}/")
                    assert (page.status_code, text in page.content.decode()) == (200, True), model
    finally:
        User.objects.all().delete()
        app.close()


@pytest.mark.parametrize("server", ["postgresql18"], indirect=True)
def test_a_standby_as_orm_is_one_error(behind: Any) -> None:
    """It can be read, and each write is refused with what it is."""
    try:
        with override_settings(Q_CLUSTER={"name": "replicated", "orm": behind.replica}):
            assert app.queue.size().ready == 0
            with pytest.raises(BackendError, match="it is read-only: a standby, or one that was demoted"):
                async_task(site_tasks.add, 1, 2)
    finally:
        app.close()
