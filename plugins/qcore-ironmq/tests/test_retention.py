"""How long the service keeps messages."""

from __future__ import annotations

import logging
import os
import time
from typing import TYPE_CHECKING, Any

import iron_mq
import pytest

from qcore.errors import BackendUnavailable
from qcore.interfaces import Settings
from qcore.model import Action, Outgoing, Settlement
from qcore_ironmq import IronBroker, IronSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Server

MONTH = 2_592_000


def broker_on(server: Server) -> IronBroker:
    """Return a broker on a server."""
    return IronBroker(
        Settings(name="alone", sections={"iron_mq": IronSettings(**server.settings)}, retry=30.0)
    )


def message() -> Outgoing:
    """Return a message."""
    return Outgoing(os.urandom(16), b"work")


def lasting(server: Server, queue: str = "alone") -> Any:
    """Return how long a queue keeps messages."""
    return iron_mq.IronMQ(**server.settings).queue(queue).info()["message_expiration"]


def dead_letter(broker: IronBroker) -> None:
    """Dead-letter a message."""
    broker.enqueue([message()])
    broker.settle([Settlement(one.receipt, Action.DEAD_LETTER) for one in broker.lease(1, 0)])


def test_messages_and_dead_letters_last_a_month(start: Callable[..., Server]) -> None:
    """The service would keep them for a week, which is no longer than a delay may be."""
    server = start()
    dead_letter(broker_on(server))

    assert [lasting(server, queue) for queue in ("alone", "alone.dead_letters")] == [MONTH, MONTH]


def test_a_queue_that_is_waited_at_first_lasts_as_long(start: Callable[..., Server]) -> None:
    """Whether a worker or a producer comes first."""
    server = start()

    broker_on(server).lease(1, 0)

    assert lasting(server) == MONTH


def test_a_queue_that_keeps_messages_for_less_is_changed(start: Callable[..., Server]) -> None:
    """One that an older version made, or another program; what else it is told stays."""
    server = start()
    client = iron_mq.IronMQ(**server.settings)
    for name in ("alone", "alone.dead_letters"):
        client.create_queue(name, {"message_expiration": 86_400, "message_timeout": 120})

    dead_letter(broker_on(server))

    assert [lasting(server, queue) for queue in ("alone", "alone.dead_letters")] == [MONTH, MONTH]
    assert client.queue("alone").info()["message_timeout"] == 120


def test_a_queue_is_looked_at_once(start: Callable[..., Server]) -> None:
    """A message is one request."""
    server = start()
    broker = broker_on(server)
    broker.enqueue([message()])
    before = server.requests()

    broker.enqueue([message()])

    assert server.requests() == before + 1


def test_a_queue_that_may_not_be_changed_is_used_and_told(
    start: Callable[..., Server], caplog: pytest.LogCaptureFixture
) -> None:
    """The work is more than how long it lasts."""
    server = start()
    iron_mq.IronMQ(**server.settings).create_queue("alone", {"message_expiration": 86_400})
    server.fail("PATCH ", 403, text='{"msg": "Forbidden"}')
    broker = broker_on(server)

    with caplog.at_level(logging.WARNING):
        broker.enqueue([message()])

    assert broker.size().ready == 1
    assert "queue alone keeps messages for 86400 s only" in caplog.text


def test_nothing_is_posted_while_it_is_unknown_how_long_it_lasts(start: Callable[..., Server]) -> None:
    """It is asked again with the next message."""
    server = start()
    broker = broker_on(server)
    server.fail("PUT ")
    with pytest.raises(BackendUnavailable):
        broker.enqueue([message()])

    broker.enqueue([message()])

    assert (broker.size().ready, lasting(server)) == (1, MONTH)


def test_the_stand_in_keeps_messages_as_long_as_it_is_told(start: Callable[..., Server]) -> None:
    """And refuses what the service refuses."""
    server = start(1)
    client = iron_mq.IronMQ(**server.settings)
    for wrong in ({"message_expiration": MONTH + 1}, {"message_timeout": 86_401}, {"message_timeout": "60"}):
        with pytest.raises(Exception, match="400"):
            client.create_queue("short", wrong)
    client.create_queue("short", {"message_expiration": 1, "message_timeout": 90})
    client.queue("short").post("soon gone")
    deadline = time.monotonic() + 100

    while client.queue("short").size() and time.monotonic() < deadline:
        pass

    assert client.queue("short").size() == 0
