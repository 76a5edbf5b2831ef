"""The broker keeps to qcore's interface, on a stand-in for IronMQ with a quicker clock."""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING, ClassVar, Final

import attrs
import msgspec
import pytest

from qcore.interfaces import Settings
from qcore_ironmq import IronBroker, IronSettings
from qcore_ironmq.dead_letters import dead_letters_of
from qcore_ironmq.several import IronQueues, queue_of
from qcore_testing import BrokerContract
from qcore_testing.broker import PhysicalQueueContract
from qcore_testing.broker.physical import declaring
from qcore_testing.processes import frozen
from qcore_testing.server_line import ServerLine

from .conftest import Server, post

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from qcore.interfaces import Broker
    from qcore.model import Outgoing, Settlement
    from qcore_ironmq.client import Client
    from qcore_queues.routes import Route
    from qcore_testing.contract import Outage

#: every Python asks the built-in brokers the same: this takes the oldest one only
pytestmark = pytest.mark.slow

#: seconds of the stand-in in one second of the tests: IronMQ counts whole seconds
QUICKER: Final = 4

_numbers = itertools.count()


class QuickBroker(IronBroker):
    """Speaks of seconds of the stand-in's quicker clock where a caller speaks of the tests'."""

    # less than the service takes, so that the tests need not wait
    least_lease = 1

    def __init__(self, settings: Settings, link: Client | None = None) -> None:
        super().__init__(attrs.evolve(settings, retry=settings.retry * QUICKER), link)

    def enqueue(self, messages: Sequence[Outgoing]) -> None:
        """Delay by as many seconds of the stand-in."""
        super().enqueue([msgspec.structs.replace(one, delay=one.delay * QUICKER) for one in messages])

    def settle(self, settlements: Sequence[Settlement]) -> None:
        """Delay by as many seconds of the stand-in."""
        super().settle([msgspec.structs.replace(one, delay=one.delay * QUICKER) for one in settlements])

    def extend(self, receipts: Sequence[bytes], seconds: float) -> None:
        """Extend by as many seconds of the stand-in."""
        super().extend(receipts, seconds * QUICKER)


class QuickQueues(IronQueues):
    """Does the same with several queues."""

    kind = QuickBroker


@pytest.fixture(scope="module")
def quick() -> Iterator[Server]:
    """Return a server whose seconds are shorter, and which reserves for one of them too."""
    server = Server(least=1, speed=QUICKER)
    yield server
    server.kill()


class _Iron:
    """What the tests of both need; IronMQ counts whole seconds, which are quarters here."""

    time_unit = 1 / QUICKER

    @pytest.fixture
    def apart(self) -> str:
        """Return what the queues of this test have in their names, and what has to be quoted."""
        return f":{os.getpid()}.{next(_numbers)}"

    @pytest.fixture
    def put_raw(self, quick: Server, apart: str) -> Callable[[bytes], object]:
        """Return a function that posts a text without the broker."""
        return lambda body: post(quick, f"kit{apart}", [body.decode("latin-1")])

    @pytest.fixture
    def line(self, quick: Server) -> Iterator[ServerLine]:
        """Return a line to the server."""
        made = ServerLine(("127.0.0.1", quick.port))
        yield made
        made.close()

    @pytest.fixture
    def make(self, quick: Server, apart: str, request: pytest.FixtureRequest) -> Callable[..., Broker]:
        """Return a maker of brokers of a queue of this test alone."""
        cut = "restart_server" in request.fixturenames
        port = request.getfixturevalue("line").port if cut else quick.port
        # nobody need wait for a frozen server as long as users do
        timeout = 2.0 if "freeze_server" in request.fixturenames else 10.0
        sections = {"iron_mq": IronSettings(**{**quick.settings, "port": port}, timeout=timeout)}
        return lambda name="kit", **fields: QuickBroker(
            Settings(name=name + apart, sections=sections, **fields)
        )

    @pytest.fixture
    def restart_server(self, line: ServerLine) -> Outage:
        """Return what cuts the line for a while: what the server had accepted is there afterwards."""
        return line.away

    @pytest.fixture
    def freeze_server(self, quick: Server) -> Outage:
        """Return what stops the stand-in for a while."""
        return lambda: frozen(quick.pid)


class TestIronBroker(_Iron, BrokerContract):
    """IronBroker keeps to Broker."""


class TestIronQueues(PhysicalQueueContract, _Iron):
    """IronQueues keeps to what Broker says of queues."""

    queues_setting: ClassVar[str] = "iron_mq.queues"
    priorities_setting: ClassVar[str] = "iron_mq.priorities"

    @pytest.fixture
    def declare(self, quick: Server, apart: str) -> Callable[..., Broker]:
        """Return a maker of brokers of one name."""
        return declaring(
            lambda queues, priorities: {
                "iron_mq": IronSettings(**quick.settings, queues=queues, priorities=priorities)
            },
            QuickBroker,
            QuickQueues,
            apart,
        )

    @pytest.fixture
    def requests(self, quick: Server) -> Callable[[], int]:
        """Return what counts the requests."""
        return quick.requests

    @classmethod
    def physical_names(cls, name: str, route: Route) -> set[str]:
        """Return the names in the project."""
        queue = queue_of(name, route)
        return {queue, dead_letters_of(queue)}
