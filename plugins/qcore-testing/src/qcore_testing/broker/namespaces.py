"""Two queues side by side at one backend share nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from qcore_testing.broker.base import BrokerTests, bodies, numbered
from qcore_testing.contract import BESIDE, skip_unless

if TYPE_CHECKING:
    from qcore_testing.broker.base import MakeBroker


class NamespaceRules(BrokerTests):
    """What one name keeps is seen under this name alone."""

    @pytest.mark.parametrize("name", BESIDE)
    def test_two_queues_share_nothing(self, new: MakeBroker, name: str) -> None:
        """A queue is what one `Settings.name` names; queues of other names are not touched by any call."""
        ours, theirs = new(owner=b"o" * 16), new(name=name, owner=b"o" * 16)
        can = ours.capabilities
        if can.dead_letters:
            self.dead_letter(theirs, b"their dead letter")
        self.put(theirs, *numbered(3))
        held = bodies(self.some(theirs, 1))

        self.nothing(ours)
        size = ours.size()
        assert (size.ready, size.leased or 0, size.dead_letters or 0) == (0, 0, 0), f"{size} beside {name}"
        assert ours.purge() == 0
        letters = [letter.id for letter in theirs.dead_letters()] if can.dead_letters else []
        assert list(ours.dead_letters()) == []
        assert (ours.requeue(letters), ours.delete(letters)) == (0, 0)

        left = sorted({*numbered(3)} - {*held})
        assert sorted(bodies(self.some(theirs, len(left)))) == left
        if can.dead_letters:
            assert [letter.body for letter in theirs.dead_letters()] == [b"their dead letter"]

    def test_leases_of_one_owner_are_released_in_one_queue(self, new: MakeBroker) -> None:
        """A queue is what one `Settings.name` names; queues of other names are not touched by any call."""
        ours, theirs = new(owner=b"o" * 16), new(name=BESIDE[0], owner=b"o" * 16)
        skip_unless(ours.capabilities.redelivers, "gives no receipts")
        self.put(theirs, b"theirs")
        self.one(theirs)

        assert ours.release_owner(b"o" * 16) == 0
        self.nothing(theirs)

    def test_the_status_of_one_queue_is_not_shown_in_another(self, new: MakeBroker) -> None:
        """A queue is what one `Settings.name` names; queues of other names are not touched by any call."""
        ours, theirs = new(), new(name=BESIDE[0])
        skip_unless(ours.capabilities.cluster_status, "publishes no status")
        theirs.publish_status("a", b"theirs", 60.0)
        ours.publish_status("a", b"ours", 60.0)
        ours.publish_status("a", b"", 60.0)

        assert (list(ours.statuses()), list(theirs.statuses())) == ([], [b"theirs"])
