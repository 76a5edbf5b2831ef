"""A site whose database server is killed while its programs enqueue and its cluster works."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from .test_orm_site import namespace, orm_site

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.further, pytest.mark.timeout(1200)]

#: fixtures of that module
__all__ = ["namespace", "orm_site"]

#: seconds any one condition is given
TIMEOUT = 180.0
#: how often the server is killed
KILLS = 2
#: orders that are paid between two kills
STEP = 15
SETTINGS = """
Q_CLUSTER |= {"workers": 2, "retry": 2, "max_attempts": 0, "max_crashes": 0, "save_limit": 0}
"""
#: enqueues with each order the task that pays it, as fast as they are paid, whatever is refused
PRODUCER = """
import json, os, time
from django.db import Error, connection, transaction
from qcore.errors import BackendError
from qcore_django import app
from shop.models import Order
from shop.tasks import pay

accepted, refused = [], 0
while not os.path.exists({end!r}):
    try:
        if Order.objects.filter(paid=False).count() >= 10:
            time.sleep(0.01)
            continue
        with transaction.atomic():
            order = Order.objects.create(title="an order")
            pay.enqueue(order.pk)
        accepted.append(order.pk)
    except (Error, BackendError):
        refused += 1
        connection.close()
        time.sleep(0.01)
print("answer:" + json.dumps([accepted, refused]))
"""
REST = "answer = [app.queue.size().ready, app.queue.size().leased, app.queue.size().dead_letters]"


def read(server: Any, namespace: str, text: str) -> list[Any]:
    """Return the rows that the administrator of a server reads in a database."""
    with server.connect(namespace) as connection, connection.cursor() as cursor:
        cursor.execute(text)
        return list(cursor.fetchall())


@pytest.mark.parametrize("server", ["postgresql18", "mariadb"], indirect=True)
def test_a_server_that_is_killed_under_a_site_loses_nothing(
    orm_site: Any, server: Any, namespace: str, tmp_path: Path
) -> None:
    """Each order that was committed is paid, and each that was said to be committed is there."""
    with (orm_site.folder / "mysite" / "settings.py").open("a") as file:
        file.write(SETTINGS)
    orm_site.manage("migrate", "-v", "0")
    end, log = tmp_path / "end", tmp_path / "cluster.log"

    def count(where: str) -> int:
        assert cluster.poll() is producer.poll() is None or end.exists(), log.read_text()
        ((found,),) = read(server, namespace, f"SELECT count(*) FROM shop_order WHERE {where}")  # noqa: S608 - of this file
        return int(found)

    with log.open("w") as file:
        cluster = started(orm_site, file, "qcluster")
        program = PRODUCER.format(end=str(end))
        producer = started(orm_site, subprocess.PIPE, "shell", "-v", "0", "-c", program)
    try:
        for _ in range(KILLS):
            before = count("paid")
            until(lambda before=before: count("paid") >= before + STEP, "orders to be paid")
            with server.away():
                pass
        before = count("paid")
        until(lambda: count("paid") > before, "the cluster to go on")
        end.touch()
        accepted, refused = json.loads(producer.communicate(timeout=TIMEOUT)[0].rpartition("answer:")[2])
        until(lambda: not count("NOT paid"), "all orders to be paid")
        until(lambda: orm_site.ask(REST) == [0, 0, 0], "an empty queue")
    finally:
        for one in (producer, cluster):
            one.terminate()
            one.wait(TIMEOUT)

    assert "cluster site has stopped" in log.read_text()
    assert refused > 0
    assert len(accepted) >= KILLS * STEP
    assert set(accepted) <= {
        row[0] for row in read(server, namespace, "SELECT id FROM shop_order WHERE paid")
    }


def until(condition: Callable[[], Any], what: str) -> None:
    """Wait until a condition is true, however busy the machine is."""
    end = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < end, f"still waiting after {TIMEOUT:g} seconds for {what}"
        time.sleep(0.05)


def started(site: Any, out: Any, *arguments: str) -> subprocess.Popen[str]:
    """Start a command of manage.py."""
    return subprocess.Popen(
        [sys.executable, "manage.py", *arguments],
        cwd=site.folder, env=site.env, stdin=subprocess.DEVNULL,
        stdout=out, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
