"""What an answer means, from the service and from what is taken for it."""

from __future__ import annotations

import json
import os
import socket
from typing import TYPE_CHECKING, Any

import pytest

from qcore.errors import BackendRejected, BackendUnavailable, ConfigError
from qcore.interfaces import Settings
from qcore.model import Outgoing, Settlement
from qcore_ironmq import IronBroker, IronSettings, answers

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Server


def broker_on(server: Server, **place: Any) -> IronBroker:
    """Return a broker on a server."""
    sections = {"iron_mq": IronSettings(**{**server.settings, **place})}
    return IronBroker(Settings(name="alone", sections=sections, retry=30.0))


def message(body: bytes = b"work") -> Outgoing:
    """Return a message."""
    return Outgoing(os.urandom(16), body)


@pytest.mark.parametrize(
    "ask",
    [
        lambda broker: broker.enqueue([message()]),
        lambda broker: broker.lease(1, 0),
        lambda broker: broker.ping(),
        lambda broker: broker.size(),
        lambda broker: broker.purge(),
    ],
)
def test_a_project_that_is_not_there_is_told(ironmq: Server, ask: Callable[[IronBroker], object]) -> None:
    """It is not an empty queue: host and project are named, whatever was asked."""
    broker = broker_on(ironmq, project_id="another")

    with pytest.raises(BackendRejected, match=r"127\.0\.0\.1.*project another.*iron_mq\.project_id"):
        ask(broker)


@pytest.mark.parametrize("text", ["<html>Welcome to nginx</html>", "[]", "{}", '"ok"', '{"ids": 5}', "\xff"])
def test_what_is_no_ironmq_is_told(start: Callable[..., Server], text: str) -> None:
    """A web server answers at that address, or a portal one has to log in at."""
    server = start()
    broker = broker_on(server)
    broker.enqueue([message()])
    for at in ("POST messages", "POST reservations", "GET "):
        server.fail(at, 200, text=text)

    for ask in (lambda: broker.enqueue([message()]), lambda: broker.lease(1, 0), broker.ping):
        with pytest.raises(BackendRejected, match=rf"127\.0\.0\.1:{server.port}.* is not an IronMQ"):
            ask()


def test_a_redirection_is_not_taken_for_an_answer(start: Callable[..., Server]) -> None:
    """The token is not carried elsewhere, and nothing was done."""
    server = start()
    broker = broker_on(server)
    server.fail("POST messages", 302, text="{}")

    with pytest.raises(BackendRejected, match="is not an IronMQ: it answers HTTP 302"):
        broker.enqueue([message()])


@pytest.mark.parametrize("text", ["{}", '{"msg": null}', '{"msg": 5}', "[]", "no JSON"])
def test_an_error_without_a_message_is_told_by_its_number(start: Callable[..., Server], text: str) -> None:
    """Never as None."""
    server = start()
    server.fail("POST messages", 400, text=text)

    with pytest.raises(BackendRejected, match="refuses: HTTP 400"):
        broker_on(server).enqueue([message()])


@pytest.mark.parametrize(("told", "counted"), [(70_000, 70_000), (2**40, 2**31 - 1)])
def test_deliveries_are_counted_beyond_16_bits(told: int, counted: int) -> None:
    """As the counters of every broker are, to 31 bits."""
    found = answers.read({"id": "one", "body": "text", "reserved_count": told})
    assert found is not None
    assert found.deliveries == counted


def test_a_name_of_dead_letters_is_refused() -> None:
    """It would be the queue of another queue's dead letters, and its workers would run them."""
    section = IronSettings(token="token", project_id="project")
    with pytest.raises(ConfigError, match=r"name: got 'orders\.dead_letters', which IronMQ has for another"):
        IronBroker(Settings(name="orders.dead_letters", sections={"iron_mq": section}))


def test_a_message_that_is_gone_is_passed_over(start: Callable[..., Server]) -> None:
    """Somebody else has deleted it: that is not a fault."""
    server = start()
    broker = broker_on(server)
    broker.enqueue([message()])
    (delivery,) = broker.lease(1, 0)
    broker.settle([Settlement(delivery.receipt)])

    broker.settle([Settlement(delivery.receipt)])

    assert broker.size().ready == 0


@pytest.mark.parametrize("status", [404, 503])
def test_a_clean_up_that_fails_does_not_hide_why(start: Callable[..., Server], status: int) -> None:
    """What went wrong first is what can be mended; what is left of the batch stands beside it."""
    server = start()
    broker = broker_on(server)
    broker.enqueue([message()])
    # the first hundred is taken, then one is refused
    server.fail("POST messages", 200, text=json.dumps({"ids": [str(number) for number in range(100)]}))
    server.fail("POST messages", 400, text='{"msg": "too many"}')
    for _ in range(10):
        server.fail("DELETE messages", status)

    with pytest.raises(BackendRejected, match="too many") as raised:
        broker.enqueue([message() for _ in range(101)])

    assert "cannot be deleted" in raised.value.__notes__[0]


def test_no_outcome_is_unknown_where_no_connection_was_made() -> None:
    """Nobody has heard of the messages."""
    with socket.socket() as taken:
        # bound and not listened at: nothing can be reached here
        taken.bind(("127.0.0.1", 0))
        place = {"host": "127.0.0.1", "port": taken.getsockname()[1], "protocol": "http"}
        sections = {"iron_mq": IronSettings(**place, token="t", project_id="p")}
        broker = IronBroker(Settings(name="alone", sections=sections, retry=30.0))

        with pytest.raises(BackendUnavailable, match="does not answer") as raised:
            broker.enqueue([message()])

    assert "nevertheless" not in str(raised.value)
    assert "; start it, or correct `iron_mq`" in str(raised.value)
