"""A site whose queue is in its own database, and the cluster that `manage.py qcluster` runs for it."""

from __future__ import annotations

import os
import signal
import time
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from qcore_sql.schema import VERSION

from .conftest import Files, described

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.slow

#: seconds any one condition is given
TIMEOUT = 100.0
SETTINGS = """
DATABASES["default"] = {entry!r}
Q_CLUSTER["orm"] = "default"
"""
TASKS = """

@task
def hold(folder):
    with open(os.path.join(folder, str(os.getpid())), "w"):
        pass
    while not os.path.exists(folder + ".end"):
        time.sleep(0.01)
    return os.getpid()


@task
def disturb():
    transaction.set_autocommit(False)
    Order.objects.create(title="never committed")
    connection.close()
    return os.getpid()
"""
ATOMIC = """
class Undo(Exception):
    pass

try:
    with transaction.atomic():
        order = Order.objects.create(title="gone")
        pay.enqueue(order.pk)
        app.schedules.create(pay, order.pk, every=60, name="gone")
        raise Undo
except Undo:
    pass
with transaction.atomic():
    order = Order.objects.create(title="kept")
    sent = pay.enqueue(order.pk)
    seen = app.queue.size().ready
title = sent.result(wait=60)[0]
order.refresh_from_db()
schedules = [one.name for one in app.schedules.list() if one.name == "gone"]
answer = [title, order.paid, seen, schedules, hold.enqueue({folder!r}).id]
"""
REST = """
titles = list(Order.objects.values_list("title", flat=True))
disturbed = disturb.enqueue().result(wait=60)
night = app.enqueue("shop.tasks.nightly").result(wait=60)
answer = [app.results.get({held!r}, wait=60), bool(disturbed), night, titles, app.queue.size().ready]
"""


def until(condition: Callable[[], Any], what: str) -> Any:
    """Return the value of `condition` as soon as it is true."""
    end = time.monotonic() + TIMEOUT
    while not (found := condition()):
        assert time.monotonic() < end, f"still waiting after {TIMEOUT:g} seconds for {what}"
        time.sleep(0.01)
    return found


@pytest.fixture
def namespace(server: Any) -> str:
    """Return the name of a database that no test has used, nor will."""
    name = f"fresh_{uuid.uuid4().hex[:12]}"
    if not isinstance(server, Files):
        server.create(name)
    return name


@pytest.fixture
def orm_site(site: Any, server: Any, namespace: str) -> Any:
    """Return a site that is not migrated yet."""
    with (site.folder / "mysite" / "settings.py").open("a") as file:
        file.write(SETTINGS.format(entry=described(server, namespace)))
    (site.folder / "mysite" / "__init__.py").write_text("import pymysql\n\npymysql.install_as_MySQLdb()\n")
    with (site.folder / "shop" / "tasks.py").open("a") as file:
        file.write(TASKS)
    return site


def migrated(site: Any) -> None:
    """Create the tables, and see what is said without them."""
    refused = site.manage("shell", "-v", "0", "-c", "from shop.tasks import *; pay.enqueue(1)", code=1)
    assert "has no tables of qcore; run python manage.py migrate" in refused
    site.manage("migrate", "-v", "0")


def followed(site: Any, folder: Path, death: Callable[[int], None]) -> None:
    """Work on what is enqueued in transactions; `death` is told the process of a task that does not end."""
    folder.mkdir()
    with site.running():
        *told, held = site.ask(ATOMIC.replace("{folder!r}", repr(str(folder))))
        assert told == ["kept", True, 1, []]
        (first,) = until(lambda: os.listdir(folder), "a run of the task")
        death(int(first))
        folder.with_suffix(".end").touch()

        again, *rest = site.ask(REST.replace("{held!r}", repr(held)))

    assert str(again) in os.listdir(folder)
    assert rest == [True, "night", ["kept"], 0]


@pytest.mark.chaos
@pytest.mark.parametrize("server", ["sqlite", "postgresql18"], indirect=True)
def test_a_site_enqueues_in_its_transactions(orm_site: Any, tmp_path: Path) -> None:
    """What is rolled back never runs, what is committed runs once, and no death of a worker loses a task."""
    folder = tmp_path / "held"

    def killed(pid: int) -> None:
        os.kill(pid, signal.SIGKILL)
        until(lambda: len(os.listdir(folder)) == 2, "another run of the task")

    migrated(orm_site)
    followed(orm_site, folder, killed)

    assert len(os.listdir(folder)) == 2
    # the site under test has DEBUG on, and more that the doctor speaks of
    assert f"tables of version {VERSION}" in orm_site.manage("qcore", "doctor", code=None)


@pytest.mark.further
@pytest.mark.parametrize("server", ["mariadb"], indirect=True)
def test_a_site_on_mariadb_does_so_too(orm_site: Any, tmp_path: Path) -> None:
    """The same without a death."""
    migrated(orm_site)
    followed(orm_site, tmp_path / "held", lambda _: None)

    assert len(os.listdir(tmp_path / "held")) == 1


TESTS = """
from concurrent.futures import ThreadPoolExecutor

from django.test import TestCase, TransactionTestCase

from qcore_django import app
from shop.tasks import nightly


class InTransaction(TestCase):
    def test_first(self):
        self.assertEqual(app.queue.size().ready, 0)
        nightly.using(unique=True).enqueue()
        self.assertEqual(app.queue.size().ready, 1)

    def test_second(self):
        self.test_first()


class Committed(TransactionTestCase):
    def test_it(self):
        app.queue.clear()
        nightly.enqueue()
        self.assertEqual(app.queue.size().ready, 1)

    def test_threads(self):
        with ThreadPoolExecutor(1) as threads:
            list(threads.map(lambda _: nightly.enqueue(), range(4)))
"""


@pytest.mark.parametrize(
    "server", [pytest.param("sqlite", marks=pytest.mark.further), "postgresql18"], indirect=True
)
def test_the_tests_of_a_site_use_its_test_database(orm_site: Any) -> None:
    """What a TestCase has enqueued is gone after it, and the database can be dropped in the end."""
    (orm_site.folder / "shop" / "tests.py").write_text(TESTS)
    with (orm_site.folder / "mysite" / "settings.py").open("a") as file:
        file.write("DATABASES['default']['OPTIONS'].pop('options', None)\n")

    said = orm_site.manage("test", "--noinput")

    assert "Ran 4 tests" in said
    assert "OK" in said
    assert "Destroying test database" in said
