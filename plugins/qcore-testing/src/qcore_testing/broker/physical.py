"""Rules of queues that a user declares and that are physical ones."""

from __future__ import annotations

import string
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qcore.errors import ConfigError, NotSupported, QueueMissing
from qcore.interfaces import Settings
from qcore.model import Action
from qcore_queues.order import QueueOrder
from qcore_queues.physical import PhysicalQueues
from qcore_queues.routes import Route
from qcore_testing.broker.base import acks, bodies, message
from qcore_testing.broker.queues import DECLARED, QueueTests

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qcore.interfaces import Broker
    from qcore_testing.broker.base import MakeBroker

_NAMES: Final = st.text(string.ascii_letters + string.digits + "_.:-", min_size=1, max_size=80)
_QUEUES: Final = st.text(string.ascii_letters + string.digits + "_.-", max_size=64).filter("default".__ne__)
_ROUTES: Final = st.tuples(_NAMES, st.builds(Route, _QUEUES, st.sampled_from([-1, 0, 1])))
#: as the message calls a queue that is not declared, and the priority that is not told apart
_UNKNOWN: Final = "nail"


class Declare(Protocol):
    """The fixture `declare` of `PhysicalRules`."""

    def __call__(
        self,
        declared: Sequence[str] = ...,
        *,
        priorities: bool = ...,
        order: QueueOrder | None = ...,
        **fields: Any,
    ) -> Broker:
        """Return a broker of the one name of this test; with neither, one of one queue."""


def declaring(
    sections: Callable[[list[str], bool], dict[str, Any]],
    one_queue: Callable[[Settings], Broker],
    several: Callable[[Settings], Broker],
    suffix: str = "",
) -> Declare:
    """Return what the fixture `declare` returns.

    Args:
        sections: returns the settings of the plugin, of declared queues and of whether priorities are.
        one_queue: makes a broker of one queue.
        several: makes one of several.
        suffix: behind the name of each queue, where tests share a server.

    """

    def declare(
        declared: Sequence[str] = (),
        *,
        priorities: bool = False,
        order: QueueOrder | None = None,
        name: str = "kit",
        **fields: Any,
    ) -> Broker:
        made = sections([*declared], priorities)
        kind = several if declared or priorities else one_queue
        return kind(Settings(name=name + suffix, queues=order, sections=made, **fields))

    return declare


class PhysicalRules(QueueTests):
    """What a user sees of the queues that are declared."""

    #: the settings that declare them, as messages name them
    queues_setting: ClassVar[str]
    priorities_setting: ClassVar[str]
    #: whether a queue has to be made before it is there
    makes_queues: ClassVar[bool] = True

    @pytest.fixture
    def declare(self) -> Declare:
        """Return what makes brokers with other declarations; override it."""
        pytest.fail(f"{type(self).__name__} must override the fixture `declare`, see its docstring")

    @pytest.fixture
    def requests(self) -> Callable[[], int]:
        """Return what counts the requests that the service had; override it."""
        pytest.skip(f"{type(self).__name__} has no fixture requests: they cannot be counted")

    @classmethod
    def physical_names(cls, name: str, route: Route) -> set[str]:
        """Return the names of a queue at the service and of its dead letters; override it.

        Raises:
            ConfigError: a configuration may not have this name.

        """
        pytest.fail(f"{cls.__name__} must override `physical_names` for {name!r} and {route!r}")

    @given(_ROUTES, _ROUTES)
    @settings(
        max_examples=50,
        deadline=None,
        suppress_health_check=[HealthCheck.differing_executors, HealthCheck.too_slow],
    )
    def test_two_routes_never_meet(self, one: tuple[str, Route], other: tuple[str, Route]) -> None:
        """Names of queues and of their dead letters are those of one name, queue and band alone."""
        try:
            mine, others = self.physical_names(*one), self.physical_names(*other)
        except ConfigError:
            return

        assert len(mine) == len(others) == 2
        assert mine == others if one == other else not mine & others

    def test_the_default_queue_needs_no_declaration(self, declare: Declare) -> None:
        """What was enqueued, leased or dead-lettered before queues were declared is found, and back."""
        plain = declare()
        assert not plain.capabilities.queues
        assert not isinstance(plain, PhysicalQueues)
        plain.enqueue([message(b"leased"), message(b"dead")])
        leased, dead = sorted(self.some(plain, 2), key=lambda one: one.body, reverse=True)
        self.settle(plain, dead, Action.DEAD_LETTER, reason="of no use")
        declared = declare(["reports"], priorities=True)

        self.settle(declared, leased, Action.RELEASE)
        assert self.one(declared).body == b"leased"
        (letter,) = declared.dead_letters()
        assert declared.requeue([letter.id]) == 1
        assert self.one(plain).body == b"dead"

    def test_the_default_queue_costs_no_request_more(
        self, declare: Declare, requests: Callable[[], int]
    ) -> None:
        """A producer of the default queue makes the same requests whether others are declared or not."""
        plain = declare()
        # the first message may make the queue
        self.put(plain, b"first")
        plain.settle(acks([self.one(plain)]))
        asked = []
        for broker in (declare(), declare(["reports"], priorities=True)):
            broker.size() if not self.makes_queues else None
            before = requests()
            self.put(broker, b"one", b"two")
            leased = requests() - before
            found = self.some(plain, 2)
            before = requests()
            broker.settle(acks(found))
            asked.append((leased, requests() - before))

        assert asked[0] == asked[1]

    def test_what_is_not_declared_names_its_setting(self, declare: Declare) -> None:
        """One error each: for a message, a priority, a call, and the queues of a cluster."""
        broker = declare(["mail"])
        assert broker.capabilities.priorities == 1
        rule = f"{self.queues_setting} declares default, mail; add it there, for producers and clusters alike"
        with pytest.raises(NotSupported, match=f"queue='{_UNKNOWN}': {rule}"):
            broker.enqueue([message(b"fine", queue="mail"), message(b"wrong", queue=_UNKNOWN)])
        for call in (
            lambda: broker.purge_queue(_UNKNOWN),
            lambda: broker.waiting(5, _UNKNOWN),
            lambda: broker.move_queue("mail", _UNKNOWN),
            lambda: broker.move_queue(_UNKNOWN, "mail"),
        ):
            with pytest.raises(NotSupported, match=f"queue='{_UNKNOWN}': {rule}"):
                call()
        with pytest.raises(NotSupported, match=f"priority=5: {self.priorities_setting} is false; set it"):
            broker.enqueue([message(b"fine"), message(b"wrong", priority=5)])
        with pytest.raises(ConfigError, match=f"queues: got '{_UNKNOWN}'; {rule}"):
            declare(["mail"], order=QueueOrder(["mail", _UNKNOWN]))
        assert broker.size().ready == 0

    @pytest.mark.parametrize(
        ("queues", "why"),
        [
            (["a b"], "a name in queues must be 1 to 64 letters"),
            ([3], "a name in queues must be a text"),
            (["mail", "mail"], "queues has 'mail' twice"),
        ],
    )
    def test_a_wrong_declaration_is_refused(self, queues: list[Any], why: str, declare: Declare) -> None:
        """At the start, with what is wrong."""
        with pytest.raises((ConfigError, ValueError), match=why):
            declare(queues)

    def test_a_look_makes_no_queue(self, declare: Declare) -> None:
        """A command that makes no queue says so if none is there, and counts those that are."""
        if not self.makes_queues:
            pytest.skip("a queue that is missing is an empty one")
        with pytest.raises(QueueMissing, match="there is no queue"):
            declare(["reports"], create=False)
        declare(["reports"]).enqueue([message(b"one", queue="reports")])

        looking = declare(["reports"], create=False)

        assert [(one.name, one.size.ready) for one in looking.queues()] == [("", 0), ("reports", 1)]

    def test_receipts_and_letters_name_their_queue(self, declare: Declare) -> None:
        """Another connection settles, extends and requeues; what names none is the default queue's."""
        broker, other = (declare(["mail"], priorities=True) for _ in range(2))
        broker.enqueue([message(b"%d" % each, queue="mail", priority=each) for each in (0, 1, -1)])
        leased = [self.one(broker) for _ in range(3)]
        assert bodies(leased) == [b"1", b"0", b"-1"]
        words = [one.receipt.partition(b"@")[0] for one in leased]
        assert words == [b"mail:high", b"mail", b"mail:low"]

        other.extend([*(one.receipt for one in leased), b"mail@", b"nail@", b"@"], 60.0)
        for one in leased:
            self.settle(other, one, Action.DEAD_LETTER, reason="of no use")

        ids = [letter.id for letter in other.dead_letters()]
        assert sorted(one.partition("@")[0] for one in ids) == ["mail", "mail:high", "mail:low"]
        assert broker.requeue(["mail@none", "none", *ids]) == 3
        assert [self.one(other).body for _ in range(3)] == [b"1", b"0", b"-1"]

    def test_letters_of_all_queues_are_in_the_order_they_died(self, declare: Declare) -> None:
        """Pages of them go on where the one before has ended."""
        broker = declare(["mail"])
        for queue in ("mail", "", "mail", ""):
            broker.enqueue([message(queue.encode() or b"plain", queue=queue)])
            self.settle(broker, self.one(broker), Action.DEAD_LETTER, reason="of no use")
            # some services tell the times of two apart by milliseconds
            self.let_pass(0.01)

        first = broker.dead_letters(3)
        assert [one.body for one in first] == [b"mail", b"plain", b"mail"]
        (last,) = broker.dead_letters(3, after=first[-1].id)
        assert last.body == b"plain"

    @pytest.fixture
    def make(self, declare: Declare) -> MakeBroker:
        """Return a maker of brokers with the queues that the contract uses."""

        def make(*, queues: QueueOrder | None = None, **fields: Any) -> Broker:
            return declare(DECLARED, priorities=True, order=queues, **fields)

        return make
