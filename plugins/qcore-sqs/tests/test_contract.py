"""SqsBroker fulfils its contract, on a standard and on a FIFO queue."""

from __future__ import annotations

import base64
import time
import uuid
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar, Final

import attrs
import boto3
import msgspec
import pytest

from qcore.interfaces import Settings
from qcore_sqs import SqsBroker, SqsSettings, dead_letters, leasing, purging, transfer
from qcore_sqs.queues import Queues
from qcore_sqs.several import SqsQueues, settings_of
from qcore_testing import BrokerContract
from qcore_testing.broker import PhysicalQueueContract
from qcore_testing.broker.physical import declaring
from qcore_testing.processes import frozen
from qcore_testing.server_line import ServerLine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from qcore.interfaces import Broker
    from qcore.model import Outgoing, Settlement
    from qcore_queues.routes import Route
    from qcore_testing.contract import Outage

    from .conftest import Sqs


#: every Python asks the built-in brokers the same: this takes the oldest one only
pytestmark = pytest.mark.slow

#: seconds of the server in one second of the tests: SQS counts whole seconds
QUICKER: Final = 4


class QuickBroker(SqsBroker):
    """Speaks of seconds of the server's quicker clock where a caller speaks of the tests'."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(attrs.evolve(settings, retry=settings.retry * QUICKER))

    def enqueue(self, messages: Sequence[Outgoing]) -> None:
        """Delay by as many seconds of the server."""
        super().enqueue([msgspec.structs.replace(one, delay=one.delay * QUICKER) for one in messages])

    def settle(self, settlements: Sequence[Settlement]) -> None:
        """Delay by as many seconds of the server."""
        super().settle([msgspec.structs.replace(one, delay=one.delay * QUICKER) for one in settlements])

    def extend(self, receipts: Sequence[bytes], seconds: float) -> None:
        """Extend by as many seconds of the server."""
        super().extend(receipts, seconds * QUICKER)


class QuickQueues(SqsQueues):
    """Does the same with several queues."""

    kind = QuickBroker


@pytest.fixture(scope="session")
def shared(start: Callable[..., Sqs]) -> Sqs:
    """Return a server whose seconds are shorter."""
    return start(QUICKER)


class _Sqs:
    """What the tests of all need; SQS counts whole seconds, which are quarters here."""

    time_unit: ClassVar[float] = 1 / QUICKER
    #: it keeps no order, even if moto does
    ordered: ClassVar[bool] = False
    message_count: ClassVar[int] = 120
    fields: ClassVar[dict[str, Any]] = {}

    @pytest.fixture
    def line(self, sqs: Sqs) -> Iterator[ServerLine]:
        """Return a line to the server."""
        made = ServerLine(("127.0.0.1", sqs.port))
        yield made
        made.close()

    @pytest.fixture
    def patched(self, sqs: Sqs, monkeypatch: pytest.MonkeyPatch) -> None:
        """Have the broker go by the server's clock where it compares the two."""
        # seconds for which letters are invisible when a process dies that reads them
        monkeypatch.setattr(dead_letters, "_READING", 3 * QUICKER)
        began, there = time.time(), sqs.now()
        quick = SimpleNamespace(
            time=lambda: there + (time.time() - began) * QUICKER, monotonic=time.monotonic, sleep=time.sleep
        )
        for module in (leasing, purging, transfer):
            monkeypatch.setattr(module, "time", quick)

    @pytest.fixture
    def make(
        self,
        section: Callable[..., Any],
        patched: None,
        request: pytest.FixtureRequest,
    ) -> Callable[..., Broker]:
        """Return a factory of brokers of one name."""
        del patched
        how = dict(self.fields)
        if "restart_server" in request.fixturenames:
            how["endpoint_url"] = f"http://127.0.0.1:{request.getfixturevalue('line').port}"
        if "freeze_server" in request.fixturenames:
            # nobody need wait for a frozen server as long as users do
            how["timeout"] = 4.0
        sections = {"sqs": section(**how)}
        return lambda name="kit", **fields: QuickBroker(Settings(name=name, sections=sections, **fields))

    @pytest.fixture
    def put_raw(self, sqs: Any) -> Callable[[bytes], None]:
        """Return a function that sends a text without attributes, base64 where it is none that SQS takes."""
        client = boto3.client(
            "sqs",
            endpoint_url=sqs.url,
            region_name="eu-west-1",
            aws_access_key_id="id-of-these-tests",
            aws_secret_access_key="secret-of-these-tests",
        )
        fifo = self.fields.get("fifo")

        def put(body: bytes) -> None:
            text = body.decode("latin-1")
            if not text or not text.isprintable():
                text = base64.b64encode(body).decode() or "="
            more = (
                dict.fromkeys(["MessageGroupId", "MessageDeduplicationId"], uuid.uuid4().hex) if fifo else {}
            )
            url = client.get_queue_url(QueueName="kit.fifo" if fifo else "kit")["QueueUrl"]
            client.send_message(QueueUrl=url, MessageBody=text, **more)

        return put

    @pytest.fixture
    def restart_server(self, line: ServerLine) -> Outage:
        """Return what cuts the line for a while: what the server had accepted is there afterwards."""
        return line.away

    @pytest.fixture
    def freeze_server(self, sqs: Sqs) -> Outage:
        """Return what stops the server for a while."""
        return lambda: frozen(sqs.pid)


class TestSqsBroker(_Sqs, BrokerContract):
    """SqsBroker fulfils the contract of Broker on a standard queue."""


@pytest.mark.further
class TestFifoBroker(_Sqs, BrokerContract):
    """SqsBroker fulfils the contract of Broker on a FIFO queue."""

    fields: ClassVar[dict[str, Any]] = {"fifo": True}


class TestSqsQueues(PhysicalQueueContract, _Sqs):
    """SqsQueues fulfils what Broker says of queues."""

    queues_setting: ClassVar[str] = "sqs.queues"
    priorities_setting: ClassVar[str] = "sqs.priorities"

    @pytest.fixture
    def declare(self, section: Callable[..., Any], patched: None) -> Callable[..., Broker]:
        """Return a factory of brokers of one name."""
        del patched

        return declaring(
            lambda queues, priorities: {"sqs": section(queues=queues, priorities=priorities)},
            QuickBroker,
            QuickQueues,
        )

    @pytest.fixture
    def requests(self, sqs: Sqs) -> Callable[[], int]:
        """Return what counts the requests."""
        return lambda: sum(sqs.asked().values())

    @classmethod
    def physical_names(cls, name: str, route: Route) -> set[str]:
        """Return the names at SQS."""
        section = SqsSettings(queues=["mail"], aws_region="eu-west-1")
        queues = Queues(settings_of(Settings(name=name, sections={"sqs": section}), route))
        return {queues.name, queues.dead_letters_name}
