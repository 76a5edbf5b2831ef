"""The broker keeps to qcore's interface, on a stand-in for Disque with a quicker clock."""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING, ClassVar, Final

import attrs
import msgspec
import pytest

from qcore.interfaces import Settings
from qcore_disque import DisqueBroker
from qcore_disque.dead_letters import dead_letters_of
from qcore_disque.several import DisqueQueues, queue_of
from qcore_testing import BrokerContract
from qcore_testing.broker import PhysicalQueueContract
from qcore_testing.broker.physical import declaring
from qcore_testing.processes import frozen
from qcore_testing.server_line import ServerLine

from .conftest import Server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from qcore.interfaces import Broker
    from qcore.model import Outgoing, Settlement
    from qcore_disque.nodes import Nodes
    from qcore_queues.routes import Route
    from qcore_testing.contract import Outage

#: every Python asks the built-in brokers the same: this takes the oldest one only
pytestmark = pytest.mark.slow

#: seconds of the stand-in in one second of the tests: Disque counts whole seconds
QUICKER: Final = 4

_numbers = itertools.count()


class QuickBroker(DisqueBroker):
    """Speaks of seconds of the stand-in's quicker clock where a caller speaks of the tests'."""

    def __init__(self, settings: Settings, nodes: Nodes | None = None) -> None:
        super().__init__(attrs.evolve(settings, retry=settings.retry * QUICKER), nodes)

    def enqueue(self, messages: Sequence[Outgoing]) -> None:
        """Delay by as many seconds of the stand-in."""
        super().enqueue([msgspec.structs.replace(one, delay=one.delay * QUICKER) for one in messages])

    def settle(self, settlements: Sequence[Settlement]) -> None:
        """Delay by as many seconds of the stand-in."""
        super().settle([msgspec.structs.replace(one, delay=one.delay * QUICKER) for one in settlements])


class QuickQueues(DisqueQueues):
    """Does the same with several queues."""

    kind = QuickBroker


@pytest.fixture(scope="module")
def quick() -> Iterator[Server]:
    """Return a server of one node whose seconds are shorter."""
    server = Server(speed=QUICKER)
    yield server
    server.kill()


class _Disque:
    """What the tests of both need; Disque counts whole seconds, which are quarters here."""

    time_unit = 1 / QUICKER

    @pytest.fixture
    def apart(self) -> str:
        """Return what the queues of this test have in their names."""
        return f"-{os.getpid()}-{next(_numbers)}"

    @pytest.fixture
    def put_raw(self, quick: Server, apart: str) -> Callable[[bytes], object]:
        """Return a function that adds a job without the broker."""
        return lambda body: quick.ask("ADDJOB", f"kit{apart}", body, 0)

    @pytest.fixture
    def line(self, quick: Server) -> Iterator[ServerLine]:
        """Return a line to the server."""
        made = ServerLine(("127.0.0.1", quick.ports[0]))
        yield made
        made.close()

    @pytest.fixture
    def make(self, quick: Server, apart: str, request: pytest.FixtureRequest) -> Callable[..., Broker]:
        """Return a maker of brokers of a queue of this test alone."""
        cut = "restart_server" in request.fixturenames
        node = f"127.0.0.1:{request.getfixturevalue('line').port}" if cut else quick.node
        # nobody need wait for a frozen server as long as users do
        timeout = 2.0 if "freeze_server" in request.fixturenames else 5.0
        sections = {"disque_nodes": [node], "disque_timeout": timeout}
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


class TestDisqueBroker(_Disque, BrokerContract):
    """DisqueBroker keeps to Broker."""


class TestDisqueQueues(PhysicalQueueContract, _Disque):
    """DisqueQueues keeps to what Broker says of queues."""

    queues_setting: ClassVar[str] = "disque_queues"
    priorities_setting: ClassVar[str] = "disque_priorities"
    makes_queues: ClassVar[bool] = False

    @pytest.fixture
    def declare(self, quick: Server, apart: str) -> Callable[..., Broker]:
        """Return a maker of brokers of one name."""
        return declaring(
            lambda queues, priorities: {
                "disque_nodes": [quick.node],
                "disque_queues": queues,
                "disque_priorities": priorities,
            },
            QuickBroker,
            QuickQueues,
            apart,
        )

    @pytest.fixture
    def requests(self, quick: Server) -> Callable[[], int]:
        """Return what counts the commands."""
        return lambda: int(quick.ask("DEBUG", "ASKED"))

    @classmethod
    def physical_names(cls, name: str, route: Route) -> set[str]:
        """Return the names at Disque."""
        queue = queue_of(name, route)
        return {queue, dead_letters_of(queue.encode()).decode()}
