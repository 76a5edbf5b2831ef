"""Processes die behind each step of a call; nothing is lost."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Final

from qcore.model import Action, Settlement
from qcore_testing.broker.base import BrokerTests, acks
from qcore_testing.contract import skip_unless
from qcore_testing.fail_points import kill_behind, no_kill

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from qcore.interfaces import Broker
    from qcore_testing.broker.base import MakeBroker

#: steps after which a call is not looked into any further
_MOST: Final = 60
#: seconds of a lease: those whose receipt died with its process come back before timeout ends
_LEASE: Final = 8.0


class StepRules(BrokerTests):
    """One process for each step of a call, killed behind that step: no crash window is met by luck."""

    def test_a_settlement_is_cut_short_at_each_step(self, new: MakeBroker) -> None:
        """Each settlement is whole, or as if it had not been.

        The step from leased to the new state is atomic: a crash leaves one or the other, or
        both where the capabilities say so.
        """
        broker = self.crashing(new)
        can = broker.capabilities
        actions = [one for one in Action if one is not Action.DEAD_LETTER or can.dead_letters]
        held: dict[bytes, bytes] = {}
        found: Counter[bytes] = Counter()

        for step in range(_MOST):
            names = {b"%s %d" % (one.name.encode(), step): one for one in actions}
            self.put(broker, *names)
            taken = self.hold(broker, set(names), found)
            held |= taken

            settlements = [Settlement(taken[name], action) for name, action in names.items()]
            if self.survives(new, step, partial(_settle, settlements)):
                break

        # leases of those that died before they could end them; the others' receipts are ignored
        broker.settle([Settlement(receipt, Action.RELEASE) for receipt in held.values()])
        self.whole(found, held, broker)

    def test_a_requeue_is_cut_short_at_each_step(self, new: MakeBroker) -> None:
        """A crash leaves each a dead letter or ready, or both where settlements are not atomic."""
        broker = self.crashing(new)
        skip_unless(broker.capabilities.dead_letters, "keeps no dead letters")
        found: Counter[bytes] = Counter()
        names = []

        for step in range(_MOST):
            names.append(b"requeued %d" % step)
            self.put(broker, names[-1])
            receipt = self.hold(broker, {names[-1]}, found)[names[-1]]
            broker.settle([Settlement(receipt, Action.DEAD_LETTER, reason="no")])
            (id,) = [letter.id for letter in broker.dead_letters() if letter.body == names[-1]]
            if self.survives(new, step, partial(_requeue, id)):
                break

        self.whole(found, names, broker)

    def crashing(self, new: MakeBroker) -> Broker:
        """Return a broker whose processes may die."""
        broker = new(retry=_LEASE)
        skip_unless(broker.capabilities.cross_process, "is not seen by other processes")
        skip_unless(broker.capabilities.redelivers, "gives no receipts")
        return broker

    def hold(self, broker: Broker, wanted: set[bytes], found: Counter[bytes]) -> dict[bytes, bytes]:
        """Lease messages and return their receipts; take those of earlier steps off the queue."""
        receipts: dict[bytes, bytes] = {}
        for left in self.deadline():
            taken = broker.lease(min(20, broker.capabilities.max_batch), left)
            receipts |= {one.body: one.receipt for one in taken if one.body in wanted}
            old = [one for one in taken if one.body not in wanted]
            found.update(one.body for one in old)
            broker.settle(acks(old))
            if receipts.keys() == wanted:
                return receipts
        raise AssertionError(f"{len(receipts)} of {len(wanted)} messages came in {self.timeout:.0f} s")

    def survives(self, new: MakeBroker, step: int, act: Callable[[Broker], object]) -> bool:
        """Let a process of its own act and die behind a step; return whether it had fewer steps."""

        def work(tell: Callable[[str], None]) -> None:
            broker = new(retry=_LEASE)
            broker.size()  # it connects, which does not count as a step
            kill_behind(step)
            act(broker)
            no_kill()
            tell("whole")

        with self.child(work) as child:
            return child.line() == "whole"

    def whole(self, leased: Counter[bytes], names: Iterable[bytes], broker: Broker) -> None:
        """See that nothing is lost, and doubled only where the capabilities say so."""
        gone = {name for name in names if name.startswith(b"ACK ")}
        most = 1 if broker.capabilities.atomic_settle else 2
        names, found = {*names} - gone, leased
        # a service may hide for a while what a process was looking at when it died
        for _ in self.deadline():
            while taken := broker.lease(min(100, broker.capabilities.max_batch), self.time_unit / 4):
                leased.update(one.body for one in taken)
                broker.settle(acks(taken))
            dead = broker.dead_letters(10 * _MOST) if broker.capabilities.dead_letters else ()
            found = leased + Counter(letter.body for letter in dead)
            if names <= found.keys():
                break
        lost = sorted(name.decode() for name in names if not found[name])
        counts = {name: found[name] for name in names if found[name] > most}
        counts |= {name: found[name] for name in gone if found[name] > 1}
        doubled = sorted(f"{name.decode()} ({count} times)" for name, count in counts.items())
        assert not lost, f"lost when the process died behind a step: {', '.join(lost)}"
        assert not doubled, f"doubled when the process died behind a step: {', '.join(doubled)}"


def _settle(settlements: Sequence[Settlement], broker: Broker) -> None:
    broker.settle(settlements)


def _requeue(id: str, broker: Broker) -> None:
    broker.requeue([id])
