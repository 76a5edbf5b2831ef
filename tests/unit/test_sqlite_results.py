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

#: a time of day that is over
PAST = 1.0


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteResults]:
    """Yield an empty store."""
    store = make_results(settings_for(tmp_path / "queue.db"))
    yield store
    store.close()


def id_of(number: int) -> bytes:
    """Return 16 bytes."""
    return number.to_bytes(16, "big")


def left(store: SqliteResults, count: int) -> list[int]:
    """Return the numbers that are still there."""
    found = store.get([id_of(number) for number in range(count)])
    return [int.from_bytes(one.id, "big") for one in found if one]


def test_every_field_comes_back(store: SqliteResults) -> None:
    """What was saved is what is found."""
    expected = result(id_of(1), State.FAILED, b"\x00\xff", group="g", finished=1.5, expires=time.time() + 60)

    store.save([expected])

    assert store.get([id_of(1)]) == [expected]


def test_the_oldest_by_time_of_finishing_are_forgotten(store: SqliteResults) -> None:
    """Neither the order of ids nor that of saving counts, also where times are equal."""
    finished = [5.0, 1.0, 4.0, 1.0, 3.0, 1.0]
    store.save([result(id_of(number), finished=at) for number, at in enumerate(finished)])

    counts = [store.prune(4), store.prune(4), store.prune(2)]

    assert counts == [2, 0, 2]
    assert left(store, 6) == [0, 2]


def test_pruning_goes_on_behind_its_first_portion(
    store: SqliteResults, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many there are, one call leaves what is to be kept, in portions that let others write."""
    monkeypatch.setattr(results, "PRUNE", 10)
    store.save([result(id_of(number), finished=float(number)) for number in range(55)])
    store.save([result(id_of(number), finished=1.0, expires=PAST) for number in range(100, 125)])

    assert store.prune(7) == 55 - 7 + 25
    assert left(store, 200) == list(range(48, 55))


def test_zero_keeps_no_success_but_every_failure(store: SqliteResults) -> None:
    """Failures are not counted, and those that will be retried neither."""
    states = [State.SUCCESS, State.FAILED, State.RETRYING, State.SUCCESS]
    store.save([result(id_of(number), state) for number, state in enumerate(states)])

    assert store.prune(0) == 2
    assert left(store, 4) == [1, 2]


def test_what_has_expired_is_nowhere(store: SqliteResults) -> None:
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


def test_the_newest_of_all_states_come_mixed(store: SqliteResults) -> None:
    """Without a state the newest are told apart by time only."""
    states = [State.SUCCESS, State.FAILED, State.RETRYING] * 3
    store.save([result(id_of(number), state, finished=float(number)) for number, state in enumerate(states)])

    assert [one.id for one in store.recent(limit=4)] == [id_of(number) for number in (8, 7, 6, 5)]
    assert [one.id for one in store.recent(State.FAILED)] == [id_of(number) for number in (7, 4, 1)]


@pytest.mark.parametrize("before", State)
@pytest.mark.parametrize("after", State)
def test_only_an_equal_or_higher_state_replaces(store: SqliteResults, before: State, after: State) -> None:
    """A success stays for ever, a failure is never taken back."""
    old, new = result(id_of(1), before, b"old", finished=1.0), result(id_of(1), after, b"new", finished=2.0)
    expected = new if after >= before and before is not State.SUCCESS else old

    store.save([old, new])

    assert store.get([id_of(1)]) == [expected]
    assert store.recent() == [expected]


def test_nothing_is_written_while_there_is_nothing_to_prune(store: SqliteResults, tmp_path: Path) -> None:
    """A cluster that is idle prunes without touching the log."""
    store.save([result(id_of(number), finished=float(number)) for number in range(5)])
    log = tmp_path / "queue.db-wal"
    before = log.read_bytes()

    assert [store.prune(5), store.prune(-1)] == [0, 0]
    assert log.read_bytes() == before


def test_forgetting_counts_what_was_there(store: SqliteResults) -> None:
    """Unknown ids are passed over."""
    store.save([result(id_of(1)), result(id_of(2))])

    assert store.delete([id_of(1), id_of(9), id_of(1)]) == 1
    assert store.delete([]) == 0
    assert left(store, 5) == [2]


def test_a_wait_returns_what_there_is_when_it_is_over(store: SqliteResults) -> None:
    """A result that is not terminal is better than none."""
    store.save([result(id_of(1), State.RETRYING)])

    found = store.wait(id_of(1), 0.02)

    assert found is not None
    assert found.state is State.RETRYING
    assert store.wait(id_of(2), 0.02) is None
    assert msgspec.structs.asdict(found)["body"] == b"sealed"
