"""What the SQLite result store does beyond the contract."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec
import pytest

from qcore.model import State
from qcore_sqlite import SqliteResults, make_results, results
from tests.unit.sqlite_base import result, settings_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: epoch seconds, long ago
PAST = 1.0


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteResults]:
    """Yield an empty store."""
    store = make_results(settings_for(tmp_path / "queue.db"))
    yield store
    store.close()


def id_of(number: int) -> bytes:
    """Return the 16 bytes of an id."""
    return number.to_bytes(16, "big")


def stored_numbers(store: SqliteResults, count: int) -> list[int]:
    """Return the numbers of the results that are still stored."""
    found = store.get([id_of(number) for number in range(count)])
    return [int.from_bytes(one.id, "big") for one in found if one]


def test_every_field_comes_back(store: SqliteResults) -> None:
    """A stored result equals the saved one in every field."""
    expected = result(id_of(1), State.FAILED, b"\x00\xff", group="g", finished=1.5, expires=time.time() + 60)

    store.save([expected])

    assert store.get([id_of(1)]) == [expected]


def test_prune_deletes_the_results_that_finished_first(store: SqliteResults) -> None:
    """The order is by the time of finishing, not by id or by saving; equal times are ordered by id."""
    finished = [5.0, 1.0, 4.0, 1.0, 3.0, 1.0]
    store.save([result(id_of(number), finished=at) for number, at in enumerate(finished)])

    counts = [store.prune(4), store.prune(4), store.prune(2)]

    assert counts == [2, 0, 2]
    assert stored_numbers(store, 6) == [0, 2]


def test_prune_deletes_in_many_batches(store: SqliteResults, monkeypatch: pytest.MonkeyPatch) -> None:
    """One call deletes all surplus results, in batches that let other processes write in between."""
    monkeypatch.setattr(results, "PRUNE_BATCH", 10)
    store.save([result(id_of(number), finished=float(number)) for number in range(55)])
    store.save([result(id_of(number), finished=1.0, expires=PAST) for number in range(100, 125)])

    assert store.prune(7) == 55 - 7 + 25
    assert stored_numbers(store, 200) == list(range(48, 55))


def test_prune_to_zero_keeps_failures(store: SqliteResults) -> None:
    """Failed and retrying results are neither counted nor deleted."""
    states = [State.SUCCESS, State.FAILED, State.RETRYING, State.SUCCESS]
    store.save([result(id_of(number), state) for number, state in enumerate(states)])

    assert store.prune(0) == 2
    assert stored_numbers(store, 4) == [1, 2]


def test_an_expired_result_is_not_returned(store: SqliteResults) -> None:
    """An expired result is neither found, listed, nor counted, even before it is pruned."""
    store.save(
        [
            result(id_of(0), group="g", expires=PAST),
            result(id_of(1), group="g", expires=time.time() + 60),
            result(id_of(2), State.FAILED, group="g", expires=PAST),
        ]
    )

    assert [one.id for one in store.group("g")] == [id_of(1)]
    assert [one.id for one in store.recent()] == [id_of(1)]
    assert store.counts() == {State.SUCCESS: 1}
    assert store.prune(-1) == 2


def test_recent_mixes_all_states(store: SqliteResults) -> None:
    """Without a state, the newest results of all states are returned in the order of time."""
    states = [State.SUCCESS, State.FAILED, State.RETRYING] * 3
    store.save([result(id_of(number), state, finished=float(number)) for number, state in enumerate(states)])

    assert [one.id for one in store.recent(limit=4)] == [id_of(number) for number in (8, 7, 6, 5)]
    assert [one.id for one in store.recent(State.FAILED)] == [id_of(number) for number in (7, 4, 1)]


@pytest.mark.parametrize("before", State)
@pytest.mark.parametrize("after", State)
def test_only_an_equal_or_higher_state_replaces(store: SqliteResults, before: State, after: State) -> None:
    """A success is never replaced, and a failure is replaced only by a failure or a success."""
    old, new = result(id_of(1), before, b"old", finished=1.0), result(id_of(1), after, b"new", finished=2.0)
    expected = new if after >= before and before is not State.SUCCESS else old

    store.save([old, new])

    assert store.get([id_of(1)]) == [expected]
    assert store.recent() == [expected]


def test_nothing_is_written_while_there_is_nothing_to_prune(store: SqliteResults, tmp_path: Path) -> None:
    """An idle cluster prunes without changing the write-ahead log."""
    store.save([result(id_of(number), finished=float(number)) for number in range(5)])
    log = tmp_path / "queue.db-wal"
    before = log.read_bytes()

    assert [store.prune(5), store.prune(-1)] == [0, 0]
    assert log.read_bytes() == before


def test_delete_counts_the_results_that_existed(store: SqliteResults) -> None:
    """Unknown and repeated ids are not counted."""
    store.save([result(id_of(1)), result(id_of(2))])

    assert store.delete([id_of(1), id_of(9), id_of(1)]) == 1
    assert store.delete([]) == 0
    assert stored_numbers(store, 5) == [2]


def test_a_wait_that_times_out_returns_a_retrying_result(store: SqliteResults) -> None:
    """After the timeout a result that is not final is returned, None if there is none."""
    store.save([result(id_of(1), State.RETRYING)])

    found = store.wait(id_of(1), 0.02)

    assert found is not None
    assert found.state is State.RETRYING
    assert store.wait(id_of(2), 0.02) is None
    assert msgspec.structs.asdict(found)["body"] == b"sealed"
