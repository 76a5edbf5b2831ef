"""How many messages a worker leases at once, from its first lease on."""

from __future__ import annotations

from qcore import Config
from qcore.workers.prefetch import Prefetch


def prefetch(recycle: int) -> Prefetch:
    """Return one of a worker that is replaced after so many tasks."""
    return Prefetch(Config.from_dict({"name": "kit", "recycle": recycle}), 1000)


def test_a_worker_that_is_told_nothing_begins_with_one_message() -> None:
    """It does not know yet how long tasks take."""
    assert prefetch(500).begin(0) == 1


def test_a_worker_begins_with_the_batch_of_the_one_it_replaces() -> None:
    """Else each would find out anew how long tasks take."""
    one = prefetch(500)

    assert one.begin(64) == 64
    assert one.next(64) == 64


def test_no_more_is_leased_than_a_worker_runs() -> None:
    """What it leased beyond that it would have to release."""
    assert prefetch(10).begin(64) == 10


def test_no_batch_is_larger_than_the_largest() -> None:
    """Whatever the page of a worker says."""
    assert prefetch(0).begin(1 << 40) == prefetch(0).begin(1 << 41)
