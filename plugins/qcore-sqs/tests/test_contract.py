"""SqsBroker fulfils its contract, on a standard and on a FIFO queue."""

from __future__ import annotations

import base64
import uuid
from typing import TYPE_CHECKING, Any, ClassVar

import boto3
import pytest

from qcore.interfaces import Settings
from qcore_sqs import dead_letters
from qcore_sqs.several import broker_of
from qcore_testing import BrokerContract
from qcore_testing.broker import DECLARED, QueueContract
from qcore_testing.processes import frozen
from qcore_testing.server_line import ServerLine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from qcore.interfaces import Broker
    from qcore_testing.contract import Outage

    from .conftest import Sqs


#: SQS counts whole seconds: minutes, on the oldest Python only
pytestmark = pytest.mark.slow


class _Sqs:
    """The settings of the contract for all queues of SQS."""

    #: SQS counts in whole seconds
    time_unit: ClassVar[float] = 1.0
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
    def make(
        self,
        section: Callable[..., Any],
        monkeypatch: pytest.MonkeyPatch,
        request: pytest.FixtureRequest,
    ) -> Callable[..., Broker]:
        """Return a factory of brokers of one name."""
        # seconds for which letters are invisible when a process dies that reads them
        monkeypatch.setattr(dead_letters, "_READING", 6)
        how = dict(self.fields)
        if "restart_server" in request.fixturenames:
            how["endpoint_url"] = f"http://127.0.0.1:{request.getfixturevalue('line').port}"
        if "freeze_server" in request.fixturenames:
            # nobody need wait for a frozen server as long as users do
            how["timeout"] = 4.0
        sections = {"sqs": section(**how)}
        return lambda name="kit", **fields: broker_of(Settings(name=name, sections=sections, **fields))

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


@pytest.mark.further
class TestSqsQueues(_Sqs, QueueContract):
    """SqsQueues fulfils what Broker says of queues."""

    fields: ClassVar[dict[str, Any]] = {"queues": [*DECLARED], "priorities": True}
