"""Dead letters that nobody signed are bounded, those of tasks are not."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from qcore import Config
from qcore.messages.envelope import Envelope
from qcore.model import Action, Settlement
from qcore.supervision.unsigned import UnsignedPruner
from qcore_sqlite import SqliteBroker
from tests.unit.sqlite_base import outgoing, settings_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

JUNK = "MalformedMessage: not an envelope"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[SqliteBroker]:
    """Yield a queue."""
    made = SqliteBroker(settings_for(tmp_path / "queue.db"))
    yield made
    made.close()


def add(broker: SqliteBroker, *bodies: bytes, reason: str = JUNK) -> None:
    """Make dead letters."""
    broker.enqueue(outgoing(*bodies))
    leased = broker.lease(1000, 0.0)
    broker.settle([Settlement(one.receipt, Action.DEAD_LETTER, reason=reason) for one in leased])


def pruner(**settings: Any) -> UnsignedPruner:
    """Return a pruner of a configuration."""
    return UnsignedPruner(Config.from_dict({"name": "x", "sqlite": {}, **settings}))


def left(broker: SqliteBroker) -> list[bytes]:
    """Return the bodies of the dead letters."""
    return [one.body for one in broker.dead_letters(1000)]


def test_the_newest_are_kept_and_none_of_a_task_is_removed(broker: SqliteBroker) -> None:
    """Whatever the order in which they came."""
    add(broker, b"task 1", reason="failure in attempt 1: ValueError: MalformedMessage: no")
    add(broker, *[b"junk %d" % number for number in range(10)])
    add(broker, b"task 2", reason="UnknownKey: signed with key 00")
    add(broker, b"altered", reason="BadSignature: the signature does not match")

    assert pruner(unsigned_limit=3).prune(broker) == 8

    assert left(broker) == [b"task 1", b"junk 8", b"junk 9", b"task 2", b"altered"]


def test_an_envelope_of_another_version_is_kept(broker: SqliteBroker) -> None:
    """A newer cluster may run it."""
    body = bytearray(Envelope(["k" * 40], "x").seal(os.urandom(16), b"", b"", 1, 0))
    body[2] = 9
    add(broker, bytes(body), b"junk", reason="MalformedMessage: not an envelope of version 1")

    assert pruner(unsigned_limit=0).prune(broker) == 1

    assert left(broker) == [bytes(body)]


def test_old_ones_are_removed_whatever_their_number(broker: SqliteBroker) -> None:
    """By the clock of the cluster."""
    add(broker, b"junk")
    config = Config.from_dict({"name": "x", "sqlite": {}, "unsigned_ttl": 60})

    assert UnsignedPruner(config).prune(broker) == 0
    assert UnsignedPruner(config, clock=lambda: 4e9).prune(broker) == 1


def test_all_are_kept_where_that_is_wanted(broker: SqliteBroker) -> None:
    """The number -1 stands for all."""
    add(broker, *[b"junk %d" % number for number in range(10)])

    assert pruner(unsigned_limit=-1).prune(broker) == 0

    assert len(left(broker)) == 10


def test_letters_are_read_again_only_if_there_are_more(broker: SqliteBroker) -> None:
    """Reading all of them takes long at some services."""
    add(broker, *[b"task %d" % number for number in range(5)], reason="failure in attempt 1")
    made = pruner(unsigned_limit=2)
    assert made.prune(broker) == 0

    add(broker, b"junk 1", b"junk 2", b"junk 3")
    assert made.prune(broker) == 1
    assert made.prune(broker) == 0
    assert left(broker)[-2:] == [b"junk 2", b"junk 3"]


def test_the_doctor_says_how_many_nobody_signed(
    tmp_path: Path, broker: SqliteBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside the number of all dead letters."""
    add(broker, b"junk 1", b"junk 2")
    add(broker, b"task", reason="failure in attempt 1")
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "qcore.toml"
    file.write_text(f'name = "test"\nsecret_key = "{"k" * 40}"\nsqlite.path = "queue.db"\n')

    command = [sys.executable, "-m", "qcore", "doctor"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert "3 dead letters, 2 of them signed by nobody" in done.stdout
