"""A server that answers a byte at a time does not hold a call."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import pytest

from qcore.errors import BackendUnavailable
from qcore.model import Outgoing
from qcore_sqs import SqsSettings, client
from qcore_testing.server_line import ServerLine, in_time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from qcore_sqs import SqsBroker

    from .conftest import Sqs


@pytest.fixture
def line(sqs: Sqs) -> Iterator[ServerLine]:
    """Return a line to the server."""
    made = ServerLine(("127.0.0.1", sqs.port))
    yield made
    made.close()


def test_an_answer_that_drips_is_given_up_in_time(new: Callable[..., SqsBroker], line: ServerLine) -> None:
    """The limit is for a request and its repetitions, and does not start anew with each byte."""
    new().enqueue([Outgoing(os.urandom(16), b"first")])
    broker = new(endpoint_url=f"http://127.0.0.1:{line.port}", timeout=1.0)
    in_time(broker.ping)

    with line.dripping():
        since = time.monotonic()
        with pytest.raises(BackendUnavailable, match="does not answer"):
            broker.size()
        # whole it would be here after ten seconds
        assert 0.9 < time.monotonic() - since < 10


@pytest.mark.parametrize("call", ["enqueue", "purge"])
def test_a_call_of_several_requests_has_one_limit(
    new: Callable[..., SqsBroker], line: ServerLine, call: str
) -> None:
    """Each request would be answered in time, and all of them together are not."""
    many = [Outgoing(os.urandom(16), b"one") for _ in range(60)]
    new().enqueue(many)
    broker = new(endpoint_url=f"http://127.0.0.1:{line.port}", timeout=1.0)
    calls = {"enqueue": lambda: broker.enqueue(many), "purge": broker.purge}
    in_time(broker.ping)

    with line.late(0.75), pytest.raises(BackendUnavailable, match="does not answer"):
        calls[call]()


def test_a_wait_for_messages_is_not_cut_short(new: Callable[..., SqsBroker], line: ServerLine) -> None:
    """The limit is for what a request takes beyond the time it waits at SQS."""
    broker = new(endpoint_url=f"http://127.0.0.1:{line.port}", timeout=1.0)
    in_time(broker.ping)
    since = time.monotonic()

    assert list(broker.lease(1, 2.0)) == []

    assert time.monotonic() - since >= 2.0


def test_a_request_is_not_repeated_beyond_its_limit(
    new: Callable[..., SqsBroker], sqs: Sqs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Throttled without an end, it fails in time, however many tries it has."""
    monkeypatch.setattr(client, "_THROTTLE_RETRIES", (1000, 0.2, 0.2))
    new().enqueue([Outgoing(os.urandom(16), b"first")])
    broker = new(timeout=2.0)
    in_time(broker.ping)
    sqs.tell(throttle={"GetQueueAttributes": 1000})

    with pytest.raises(BackendUnavailable):
        broker.size()

    assert sqs.left()["throttle"]["GetQueueAttributes"] >= 900


@pytest.mark.parametrize("value", [0, -1, float("inf"), float("nan")])
def test_a_limit_is_above_zero(value: Any) -> None:
    """Another one is an error that names the value."""
    with pytest.raises(ValueError, match="it must be a number of seconds above 0"):
        SqsSettings(timeout=value)
