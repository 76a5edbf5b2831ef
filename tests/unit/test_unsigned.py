"""Dead letters of strangers are bounded, those of tasks are not."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from qcore import Config
from qcore.messages.envelope import Envelope
from qcore.model import Action, Settlement
from qcore.supervision.unsigned import dead_letter_bounds
from qcore_queues import dead_letter_bounds as bounds_module
from qcore_sqlite import SqliteBroker
from tests.unit.sqlite_base import outgoing, settings_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from qcore.model import DeadLetter
    from qcore_queues.dead_letter_bounds import DeadLetterBounds

JUNK = "MalformedMessage: not an envelope"
STRANGE = "UnknownKey: signed with key 00000000, which is not in secret_key"
OURS = b"ours"


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


def pruner(clock: Callable[[], float] = time.time, **settings: Any) -> DeadLetterBounds:
    """Return the bounds of a configuration with one key."""
    return dead_letter_bounds(Config.from_dict({"name": "x", "sqlite": {}, **settings}), {OURS}, clock)


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
    """A newer cluster may run it; somebody may have made it up, so its bound is that of unknown keys."""
    body = bytearray(Envelope(["k" * 40], "x").seal(os.urandom(16), b"", b"", 1, 0))
    body[2] = 9
    add(broker, bytes(body), b"junk", reason="MalformedMessage: not an envelope of version 1")

    assert pruner(unsigned_limit=0).prune(broker) == 1

    assert left(broker) == [bytes(body)]
    assert pruner(unknown_key_limit=0).prune(broker) == 1


def test_old_ones_are_removed_whatever_their_number(broker: SqliteBroker) -> None:
    """By the clock of the cluster."""
    add(broker, b"junk")

    assert pruner(unsigned_ttl=60).prune(broker) == 0
    assert pruner(lambda: 4e9, unsigned_ttl=60).prune(broker) == 1


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


def strange(number: int, key: bytes = b"\0\0\0\0") -> bytes:
    """Return what looks like a message of a key."""
    return b"Qc\1\1\0\1" + key + b" %d" % number


def test_those_of_an_unknown_key_have_a_bound_of_their_own(
    broker: SqliteBroker, caplog: pytest.LogCaptureFixture
) -> None:
    """Forged ones push out neither a task nor what nobody signed; who loses them learns how to keep more."""
    add(broker, b"task", reason="failure in attempt 1: UnknownKey: no")
    add(broker, b"junk")
    add(broker, *map(strange, range(10)), reason=STRANGE)

    assert pruner(unknown_key_limit=3).prune(broker) == 7

    assert left(broker) == [b"task", b"junk", *map(strange, range(7, 10))]
    (record,) = caplog.records
    assert record.levelname == "ERROR"
    assert "which may have been tasks" in record.getMessage()
    assert "unknown_key_limit" in record.getMessage()


def test_those_of_an_unknown_key_are_kept_long_and_not_for_ever(broker: SqliteBroker) -> None:
    """A key that was changed too early is restored within three months."""
    add(broker, strange(1), reason=STRANGE)
    now = time.time()

    assert pruner(lambda: now + 80 * 86_400).prune(broker) == 0
    assert pruner(lambda: now + 100 * 86_400, unknown_key_ttl=None).prune(broker) == 0
    assert pruner(lambda: now + 100 * 86_400).prune(broker) == 1


def test_what_a_restored_key_opens_is_kept(broker: SqliteBroker) -> None:
    """It is a task of ours that waits to be requeued."""
    add(broker, *[strange(number, OURS) for number in range(5)], reason=STRANGE)

    assert pruner(lambda: 4e9, unknown_key_limit=0).prune(broker) == 0


def test_a_number_without_end_is_kept_where_that_is_wanted(broker: SqliteBroker) -> None:
    """Each kind has settings of its own."""
    add(broker, *map(strange, range(5)), reason=STRANGE)
    add(broker, b"junk")

    assert pruner(lambda: 4e9, unknown_key_limit=-1, unsigned_limit=0).prune(broker) == 1

    assert left(broker) == [*map(strange, range(5))]


class _Forgetful(SqliteBroker):
    """Lists nothing behind a dead letter that is gone, as some services do, and counts what it lists."""

    listed = 0

    def dead_letters(self, limit: int = 100, after: str | None = None) -> Sequence[DeadLetter]:
        """Look for the dead letter first."""
        if after is not None and after not in {one.id for one in super().dead_letters(100_000)}:
            return []
        found = super().dead_letters(limit, after)
        self.listed += len(found)
        return found


def test_a_flood_is_bounded_each_time_and_little_of_it_is_read(tmp_path: Path) -> None:
    """Whoever else drops dead letters meanwhile; what was counted is not read again unless it is too much."""
    broker = _Forgetful(settings_for(tmp_path / "queue.db"))
    add(broker, *[b"task %d" % number for number in range(300)], reason="failure in attempt 1: ValueError")
    made = pruner(unsigned_limit=20, unknown_key_limit=200)
    for turn in range(10):
        add(broker, *[b"junk %d" % number for number in range(50)])
        add(broker, *map(strange, range(10)), reason=STRANGE)
        if turn % 3 == 1:
            # a user removes the oldest of all and the newest
            broker.delete([broker.dead_letters(1)[0].id, broker.dead_letters(100_000)[-1].id])
        broker.listed = 0
        made.prune(broker)
        assert turn == 0 or broker.listed <= 700
        kinds = [one.startswith(b"junk") for one in left(broker)]
        assert sum(kinds) <= 22
        assert sum(one.startswith(b"Qc") for one in left(broker)) >= min(200, 10 * turn)
        assert sum(one.startswith(b"task") for one in left(broker)) >= 294
    broker.close()


def test_many_are_read_in_parts(broker: SqliteBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread that does so has other work; all are bounded in the end."""
    monkeypatch.setattr(bounds_module, "_READ", 100)
    add(broker, *[b"task %d" % number for number in range(250)], reason="failure in attempt 1: ValueError")
    add(broker, *[b"junk %d" % number for number in range(50)])
    made = pruner(unsigned_limit=5)

    assert [made.prune(broker) for _ in range(4)] == [0, 0, 45, 0]


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
