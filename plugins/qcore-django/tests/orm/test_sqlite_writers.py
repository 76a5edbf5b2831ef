"""Processes of a site write to one SQLite file at the same time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connections
from django.db.transaction import atomic

from qcore.interfaces import Settings
from qcore.model import Outgoing, Settlement
from qcore_django.orm.stores import OrmBroker
from qcore_testing.processes import Child

from .conftest import SQLITE_OPTIONS, Files, added, create_tables, described

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [pytest.mark.slow, pytest.mark.chaos]

#: how often each process writes
ROUNDS = 60
#: seconds any of them is given
TIMEOUT = 120.0


@pytest.fixture(params=["as documented", "as Django has it"])
def file(request: pytest.FixtureRequest, tmp_path: Any) -> Iterator[str]:
    """Return the alias of a file, with the options of the page and with none."""
    entry = described(Files(tmp_path), "site")
    entry["OPTIONS"] = dict(SQLITE_OPTIONS) if request.param == "as documented" else {}
    entry["OPTIONS"]["timeout"] = TIMEOUT
    with added(entry) as alias:
        create_tables(alias)
        with connections[alias].cursor() as cursor:
            cursor.execute("CREATE TABLE shop_order (number INTEGER)")
        connections[alias].close()
        yield alias


def test_nobody_finds_the_file_locked(file: str) -> None:
    """Requests write and enqueue in transactions, others without, and workers lease and settle meanwhile."""

    def broker(**fields: Any) -> OrmBroker:
        return OrmBroker(Settings(name="q", sections={"orm": file}, **fields))

    def request(tell: Callable[[str], None]) -> None:
        made = broker()
        for number in range(ROUNDS):
            with atomic(using=file), connections[file].cursor() as cursor:
                cursor.execute("INSERT INTO shop_order VALUES (%s)", [number])
                made.enqueue([Outgoing(bytes(16), b"in a transaction")])
        tell("done")

    def program(tell: Callable[[str], None]) -> None:
        made = broker()
        for _ in range(ROUNDS):
            made.enqueue([Outgoing(bytes(16), b"without"), Outgoing(bytes(16), b"later", 0.001)])
        tell("done")

    def worker(tell: Callable[[str], None]) -> None:
        made, count = broker(owner=b"of a worker"), 0
        end = time.monotonic() + TIMEOUT
        while count < 3 * ROUNDS and time.monotonic() < end:
            leased = made.lease(5, 0.05)
            made.settle([Settlement(one.receipt) for one in leased])
            count += len(leased)
        tell(f"settled {count}")

    with (
        Child(request, timeout=TIMEOUT) as first,
        Child(program, timeout=TIMEOUT) as second,
        Child(worker, timeout=TIMEOUT) as third,
    ):
        said = [child.lines() for child in (first, second, third)]

    assert said == [["done"], ["done"], [f"settled {3 * ROUNDS}"]]
    with connections[file].cursor() as cursor:
        assert cursor.execute("SELECT count(*) FROM shop_order").fetchone() == (ROUNDS,)
