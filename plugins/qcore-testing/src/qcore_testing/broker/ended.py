"""Rules of `ended`: what was acknowledged is known again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qcore.model import Action, Settlement
from qcore_testing.broker.base import BrokerTests
from qcore_testing.contract import skip_unless

if TYPE_CHECKING:
    from qcore.interfaces import Broker
    from qcore_testing.broker.base import MakeBroker

#: seconds, and longer than any test takes
_WINDOW: Final = 3600.0


def _id(number: int) -> bytes:
    """Return an id as producers make them: it begins with the time."""
    return (1_700_000_000_000 + number).to_bytes(6, "big") + bytes([number % 256]) * 10


class EndedRules(BrokerTests):
    """One test for each obligation of knowing what has ended."""

    def test_what_was_acknowledged_is_known_to_every_connection(self, new: MakeBroker) -> None:
        """Return those of these ids under which a message was acknowledged.

        Asked by the instance that has just leased messages of these ids.
        """
        first, other = self._remembering(new), new(replay_window=_WINDOW)
        ids = [_id(number) for number in (5, 1, 900, 70_000)]
        for id_ in ids:
            self.put(first, id_)
            first.settle([Settlement(self.one(first).receipt, id=id_)])

        for id_ in ids:
            self.put(other, id_)
            self.one(other)

            assert set(other.ended([*ids, _id(2), _id(99_000)])) == set(ids)

    def test_commit_and_lease_remembers(self, new: MakeBroker) -> None:
        """The `id` of an ACK is remembered where the capabilities say so, whether or not the lease has
        ended.
        """  # noqa: D205 - the obligation, whole
        broker = self._remembering(new)
        self.put(broker, b"1", b"2")
        receipt = self.one(broker).receipt

        (_,) = broker.commit_and_lease(None, (), [Settlement(receipt, id=_id(1))], 1)

        assert set(broker.ended([_id(1), _id(2)])) == {_id(1)}

    def test_an_acknowledgement_that_comes_late_is_remembered(self, new: MakeBroker) -> None:
        """The `id` of an ACK is remembered where the capabilities say so, whether or not the lease has
        ended.
        """  # noqa: D205 - the obligation, whole
        broker = self._remembering(new)
        self.put(broker, b"1", b"2")
        receipt = self.one(broker).receipt
        broker.settle([Settlement(receipt)])

        broker.settle([Settlement(receipt, id=_id(1))])

        self.one(broker)
        assert set(broker.ended([_id(1)])) == {_id(1)}

    def test_what_comes_back_has_not_ended(self, new: MakeBroker) -> None:
        """Return those of these ids under which a message was acknowledged; what comes back was not."""
        broker = self._remembering(new)
        for number, action in enumerate((Action.RETRY, Action.RELEASE, Action.DEAD_LETTER), 1):
            self.put(broker, b"%d" % number)
            broker.settle([Settlement(self.one(broker).receipt, action, reason="no", id=_id(number))])
            if action is not Action.DEAD_LETTER:
                broker.settle([Settlement(self.one(broker).receipt)])
        self.put(broker, b"again")
        self.one(broker)

        assert not broker.ended([_id(1), _id(2), _id(3)])

    def test_nothing_is_remembered_without_a_window(self, new: MakeBroker) -> None:
        """With a window of 0 none is remembered."""
        broker = new(replay_window=0.0)
        self.put(broker, b"1", b"2")
        broker.settle([Settlement(self.one(broker).receipt, id=_id(1))])
        self.one(broker)

        assert not broker.ended([_id(1)])

    def test_the_latest_ids_are_remembered(self, new: MakeBroker) -> None:
        """At least the last `Settings.replay_limit` ids are remembered, each for
        `Settings.replay_window` seconds; with a window of 0 none is.
        """  # noqa: D205 - the obligation, whole
        broker = self._remembering(new, replay_limit=10)
        ids = [_id(number * 70_000) for number in range(40)]
        for id_ in ids:
            self.put(broker, id_)
            broker.settle([Settlement(self.one(broker).receipt, id=id_)])
        self.put(broker, b"last")
        self.one(broker)

        assert set(ids[-10:]) <= set(broker.ended(ids))

    def _remembering(self, new: MakeBroker, replay_limit: int = 100_000) -> Broker:
        broker = new(replay_window=_WINDOW, replay_limit=replay_limit)
        skip_unless(broker.capabilities.remembers_ended, "does not remember what has ended")
        return broker
