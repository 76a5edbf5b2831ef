"""A server that is away or hangs is reported, and waited out."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from qcore.model import Action, Settlement
from qcore_testing.broker.base import BrokerTests, acks, bodies, message
from qcore_testing.contract import Stopwatch
from qcore_testing.store_outages import outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from qcore.interfaces import Broker
    from qcore_testing.broker.base import MakeBroker
    from qcore_testing.contract import Outage


class OutageRules(BrokerTests):
    """What a broker says while its server does not answer.

    They need the fixtures `restart_server` and `freeze_server`: each returns a function that
    makes a context in which the server is away, or stopped by SIGSTOP. After the first it is
    back with all it had accepted.
    """

    def test_a_server_that_is_away_is_reported(self, new: MakeBroker, restart_server: Outage) -> None:
        """Every call that needs the server raises `BackendUnavailable`, and none reports a success."""
        broker = new()
        self.put(broker, b"leased", b"ready")
        leased = self.some(broker, 1)[0]

        with restart_server():
            told = [said for name, call in calls(broker, leased.receipt) if (said := outcome(name, call))]
            assert not told, f"while the server was away: {'; '.join(told)}"

        self.goes_on(broker, leased.receipt)

    def test_a_server_that_was_restarted_is_used_again(self, new: MakeBroker, restart_server: Outage) -> None:
        """The same broker works again once the server is back, and what was accepted is still there."""
        broker = new()
        self.put(broker, b"leased", b"ready")
        leased = self.some(broker, 1)[0]

        with restart_server():
            pass

        self.goes_on(broker, leased.receipt)

    def test_a_server_that_hangs_is_not_waited_for(self, new: MakeBroker, freeze_server: Outage) -> None:
        """A call that the server does not answer raises `BackendUnavailable` in bounded time."""
        names = [name for name, _ in calls(new(), b"")]
        first = new(retry=8 * self.time_unit)
        self.put(first, b"leased", b"ready")
        held = self.one(first)
        frozen, thawed = threading.Event(), threading.Event()
        connected = threading.Semaphore(0)
        told: dict[str, str | None] = {}

        def ask(number: int) -> None:
            # a connection belongs to the thread that made it
            broker = new(retry=8 * self.time_unit)
            broker.size()
            name, call = list(calls(broker, held.receipt))[number]
            connected.release()
            frozen.wait()
            told[name] = outcome(name, call)
            thawed.wait()
            broker.close()

        # a call that hangs for ever must not keep this process from its end
        threads = [threading.Thread(target=ask, args=(number,), daemon=True) for number in range(len(names))]
        for thread in threads:
            thread.start()
        for _ in threads:
            assert connected.acquire(timeout=self.timeout)
        with freeze_server():
            frozen.set()
            since = Stopwatch()
            # a call may ask more than once, each time in bounded time
            while len(told) < len(names) and since.seconds < 2 * self.timeout:
                self.let_pass(0.02)
            silent = [f"{name} did not return in {since.seconds:.0f} s" for name in names if name not in told]
            wrong = [said for said in told.values() if said]
        thawed.set()
        for thread in threads:
            thread.join(self.timeout)

        assert not silent + wrong, f"while the server was frozen: {'; '.join(silent + wrong)}"
        # what was asked while it was frozen may be done now
        waiting = {b"leased", b"ready"} - {held.body}
        found: list[bytes] = []
        for left in self.deadline():
            taken = first.lease(1, min(left, 8 * self.time_unit))
            found += bodies(taken)
            first.settle(acks(taken))
            if waiting <= {*found}:
                return
        raise AssertionError(f"{waiting} was lost while the server was frozen; it gave {found}")

    def goes_on(self, broker: Broker, receipt: bytes) -> None:
        """See that a broker works again, and that nothing was lost."""
        for _ in self.deadline():
            if outcome("ping", broker.ping) == "ping returned None":
                break
            self.let_pass(0.02)
        broker.settle([Settlement(receipt, Action.RETRY)])
        assert sorted(bodies(self.some(broker, 2))) == [b"leased", b"ready"]
        self.nothing(broker)


def calls(broker: Broker, receipt: bytes) -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield calls that cannot be answered without the server."""
    yield "ping", broker.ping
    yield "enqueue", lambda: broker.enqueue([message(b"never accepted")])
    yield "lease", lambda: broker.lease(1, 0.0)
    yield "settle", lambda: broker.settle([Settlement(receipt, Action.RETRY)])
    yield "size", broker.size
    if broker.capabilities.extend:
        yield "extend", lambda: broker.extend([receipt], 60.0)
