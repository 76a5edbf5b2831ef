"""What SQLite remembers of ended messages, whatever somebody has written there."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcore import Config
from qcore.model import Settlement
from qcore_sqlite import schema
from qcore_sqlite.ended import Ended

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = pytest.mark.portable

#: what a column of SQLite can hold, whatever type it was declared with
ANYTHING = st.one_of(
    st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), st.text(max_size=20), st.binary(max_size=40)
)
ROWS = st.lists(st.tuples(*[ANYTHING] * 5), min_size=1, max_size=5)


def id_of(number: int) -> bytes:
    """Return an id as producers make them."""
    return number.to_bytes(6, "big") + number.to_bytes(10, "big")


def table() -> sqlite3.Connection:
    """Return the table alone."""
    made = sqlite3.connect(":memory:", isolation_level=None)
    for statement in schema.TABLES:
        if "ended" in statement:
            made.execute(statement)
    return made


def end(ended: Ended, connection: sqlite3.Connection, ids: Sequence[bytes]) -> None:
    """Acknowledge messages of these ids."""
    ended.add(connection, [Settlement(b"receipt", id=id_) for id_ in ids])


def known(ended: Ended, connection: sqlite3.Connection, ids: Sequence[bytes]) -> set[bytes]:
    """Return which of these ids are known to have ended."""
    ended.read_high(connection)
    suspects = ended.suspects(ids)
    return set(ended.find(connection, suspects)) if suspects else set()


@given(rows=ROWS)
def test_rows_of_any_kind_stop_nothing(rows: list[tuple[Any, ...]]) -> None:
    """Whoever can write the file can put anything there; what ends afterwards is known nevertheless."""
    ids = [id_of(number) for number in (7, 10**9, 2**47)]
    with closing(table()) as connection:
        ended = Ended(window=60.0, limit=100)
        add = "insert into ended (bucket, at, upto, high, ids) values (?, ?, ?, ?, ?)"
        connection.executemany(add, rows)

        for id_ in ids * 60:
            end(ended, connection, [id_])

        assert known(ended, connection, ids) == set(ids)


@given(numbers=st.lists(st.integers(1, 2**47), unique=True, min_size=1, max_size=60), size=st.integers(1, 9))
def test_what_has_ended_is_known_whatever_its_age(numbers: list[int], size: int) -> None:
    """In whatever order and in whatever batches messages end, each is known, and no other is."""
    ids = [id_of(number) for number in numbers]
    half = ids[: len(ids) // 2]
    with closing(table()) as connection:
        ended, other = Ended(window=60.0, limit=1000), Ended(window=60.0, limit=1000)
        for start in range(0, len(half), size):
            end(ended, connection, half[start : start + size])
            assert known(other, connection, ids) == set(half[: start + size])

        assert known(ended, connection, ids) == set(half)


def test_the_oldest_are_forgotten() -> None:
    """However many end, about `limit` are kept, and these are the last ones."""
    with closing(table()) as connection:
        ended = Ended(window=60.0, limit=100)
        for number in range(1, 1001):
            end(ended, connection, [id_of(number)])

        (rows,) = connection.execute("select count(*) from ended").fetchone()
        assert 100 <= rows <= 160
        last = [id_of(number) for number in range(901, 1001)]
        assert known(ended, connection, [id_of(1), *last]) == set(last)


def test_workers_that_are_replaced_soon_forget_them_together() -> None:
    """Each adds a few rows only, and another one goes on."""
    with closing(table()) as connection:
        for number in range(1, 1001):
            end(Ended(window=60.0, limit=100), connection, [id_of(number)])

        (rows,) = connection.execute("select count(*) from ended").fetchone()
        assert 100 <= rows <= 160


def test_what_is_older_than_the_window_is_forgotten() -> None:
    """With time the table empties, except for the row that knows the highest id."""
    with closing(table()) as connection:
        ended = Ended(window=60.0, limit=1000)
        end(ended, connection, [id_of(1)])
        connection.execute("update ended set at = at - 61")

        for _ in range(60):
            end(ended, connection, [id_of(2)])

        assert known(ended, connection, [id_of(1), id_of(2)]) == {id_of(2)}


@pytest.mark.parametrize(
    ("settings", "seconds"),
    [({}, 604_800.0), ({"save_limit": -1}, 0.0), ({"save_limit": -1, "replay_window": 60}, 60.0)],
)
def test_what_is_remembered_unless_it_is_set(settings: dict[str, Any], seconds: float) -> None:
    """A week where results are stored, which costs much more, and nothing where they are not."""
    made = Config.from_dict(settings).settings()

    assert made.replay_window == seconds
    assert made.replay_is_set is ("replay_window" in settings)
