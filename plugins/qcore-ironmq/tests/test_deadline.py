"""A server that answers a byte at a time does not hold a call."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import pytest

from qcore.errors import BackendUnavailable
from qcore.interfaces import Settings
from qcore.model import Outgoing
from qcore_ironmq import IronBroker, IronSettings
from qcore_testing.server_line import ServerLine, in_time

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .conftest import Server


@pytest.fixture
def line(ironmq: Server) -> Iterator[ServerLine]:
    """Return a line to the server."""
    made = ServerLine(("127.0.0.1", ironmq.port))
    yield made
    made.close()


def broker_by(server: Server, line: ServerLine, **fields: Any) -> IronBroker:
    """Return a broker that speaks by the line."""
    section = IronSettings(**{**server.settings, "port": line.port}, **fields)
    return IronBroker(Settings(name=f"drip{os.urandom(4).hex()}", sections={"iron_mq": section}))


def test_an_answer_that_drips_is_given_up_in_time(ironmq: Server, line: ServerLine) -> None:
    """The limit is for the whole request, head and body, and does not start anew with each byte."""
    broker = broker_by(ironmq, line, timeout=1.0)
    in_time(lambda: broker.enqueue([Outgoing(os.urandom(16), b"first")]))

    with line.dripping():
        since = time.monotonic()
        with pytest.raises(BackendUnavailable, match="does not answer"):
            broker.size()
        # whole it would be here after ten seconds
        assert 0.9 < time.monotonic() - since < 5


@pytest.mark.parametrize("call", ["enqueue", "purge"])
def test_a_call_of_several_requests_has_one_limit(ironmq: Server, line: ServerLine, call: str) -> None:
    """Each request would be answered in time, and all of them together are not."""
    broker = broker_by(ironmq, line, timeout=1.0)
    many = [Outgoing(os.urandom(16), b"one") for _ in range(500)]
    in_time(lambda: broker.enqueue(many))
    calls = {"enqueue": lambda: broker.enqueue(many), "purge": broker.purge}

    with line.late(0.75), pytest.raises(BackendUnavailable, match="does not answer"):
        calls[call]()


def test_a_wait_for_messages_is_not_cut_short(ironmq: Server, line: ServerLine) -> None:
    """The limit is for what a request takes beyond the time it waits in the service."""
    broker = broker_by(ironmq, line, timeout=1.0)
    in_time(broker.ping)
    since = time.monotonic()

    assert list(broker.lease(1, 2.0)) == []

    assert time.monotonic() - since >= 2.0


def test_a_limit_is_above_zero() -> None:
    """Another one is an error that names the value."""
    with pytest.raises(ValueError, match=r"timeout: got '0'; must be a number of seconds above 0"):
        IronSettings(timeout=0)
