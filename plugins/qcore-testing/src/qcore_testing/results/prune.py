"""Rules of `ungroup`, `prune` and `close`: what is forgotten and what stays."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec
import pytest

from qcore.model import State
from qcore_testing.contract import Contract
from qcore_testing.results.base import bodies, result

if TYPE_CHECKING:
    from qcore.interfaces import Per
    from qcore.model import StoredResult
    from qcore_testing.results.base import MakeStore

RETRYING, FAILED, SUCCESS = State.RETRYING, State.FAILED, State.SUCCESS


class PruneRules(Contract):
    """One test for each obligation of forgetting results."""

    def test_the_oldest_successes_are_pruned(self, new: MakeStore) -> None:
        """Forget what has expired, and the oldest successes beyond `keep`."""
        many = [result(finished=1000.0 + number) for number in range(6)]
        old = result(FAILED, expires=time.time() - 60)
        new().save([*many[::2], old, *many[1::2]])

        new().prune(2)

        assert [*[None] * 4, *many[4:]] == list(new().get([one.id for one in many]))
        assert new().delete([old.id]) == 0

    @pytest.mark.parametrize("per", ["group", "label", "name"])
    def test_successes_are_pruned_of_each_kind(self, new: MakeStore, per: Per) -> None:
        """Each kind has a number of its own.

        With `per`, `keep` counts apart for each group, label or name; results that have none
        count together.
        """
        kinds = ["a", "b", "a", "b", "c"] + (["a"] if per == "name" else [None, None, None])
        many = [of_kind(per, kind, finished=1000.0 + index) for index, kind in enumerate(kinds)]
        failures = [of_kind(per, "a", state=FAILED, finished=1.0 + number) for number in range(3)]
        new().save([*many[::2], *failures, *many[1::2]])

        forgotten = new().prune(1, per)

        newest = {kind: index for index, kind in enumerate(kinds)}.values()
        left = [one if index in newest else None for index, one in enumerate(many)]
        assert left == list(new().get([one.id for one in many]))
        assert failures == list(new().get([one.id for one in failures]))
        assert forgotten == left.count(None)

    @pytest.mark.parametrize("per", ["group", "label", "name"])
    def test_a_kind_may_be_kept_whole_or_not_at_all(self, new: MakeStore, per: Per) -> None:
        """A negative `keep` forgets only what has expired."""
        kept = [of_kind(per, "a") for _ in range(3)]
        new().save([*kept, of_kind(per, "a", expires=time.time() - 60)])

        assert new().prune(-1, per) == 1
        assert kept == list(new().get([one.id for one in kept]))
        assert new().prune(0, per) == 3

    def test_a_group_may_be_dissolved(self, new: MakeStore) -> None:
        """Take the results of a group out of it, they stay; return how many there were."""
        first, last, other = result(group="g"), result(FAILED, group="g", label="kept"), result(group="h")
        old = result(group="g", expires=time.time() - 60)
        new().save([first, last, other, old, result()])

        assert new().ungroup("g") == 2
        assert new().ungroup("g") == 0
        assert new().ungroup("unknown") == 0

        assert list(new().group("g")) == []
        assert list(new().group("h")) == [other]
        alone = [msgspec.structs.replace(one, group=None) for one in (first, last)]
        assert alone == list(new().get([first.id, last.id]))
        new().save([result(group="g", body=b"later")])
        assert bodies(new().group("g")) == [b"later"]

    def test_failures_are_not_pruned(self, new: MakeStore) -> None:
        """Failures are kept however many there are."""
        kept = [result(FAILED, finished=1.0 + number) for number in range(5)] + [result(RETRYING)]
        new().save([*kept, result(), result()])

        new().prune(0)

        assert kept == list(new().get([one.id for one in kept]))
        assert new().counts().get(SUCCESS, 0) == 0

    def test_only_what_has_expired_is_pruned(self, new: MakeStore) -> None:
        """A negative `keep` forgets only what has expired."""
        kept = [result() for _ in range(5)]
        old = [result(expires=time.time() - 60), result(FAILED, expires=time.time() - 60)]
        new().save([*kept, *old])

        new().prune(-1)

        assert kept == list(new().get([one.id for one in kept]))
        assert new().delete([one.id for one in old]) == 0

    def test_the_pruned_are_counted(self, new: MakeStore) -> None:
        """The number forgotten is returned."""
        new().save([result(finished=1.0 + number) for number in range(4)])
        new().save([result(FAILED, expires=time.time() - 60)])

        assert new().prune(1) == 4
        assert new().prune(1) == 0
        assert new().prune(-1) == 0

    def test_close_may_be_repeated(self, new: MakeStore) -> None:
        """Let go of connections; calling it twice is harmless."""
        store = new()
        kept = result()
        store.save([kept])

        store.close()
        store.close()

        assert [kept] == list(new().get([kept.id]))


def of_kind(per: Per, kind: str | None, **fields: object) -> StoredResult:
    """Return a result of a group, a label or a name."""
    return msgspec.structs.replace(result(), **{per: kind}, **fields)
