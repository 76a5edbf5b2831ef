"""IronMQ is down and comes back: nothing is lost, and nobody has to start anything again."""

from __future__ import annotations

import itertools
import os
import time
from typing import TYPE_CHECKING, Any

import pytest

from qcore import App, Cluster, Config
from qcore.errors import BackendUnavailable
from qcore.interfaces import Settings
from qcore.model import Action, Outgoing, Settlement
from qcore_ironmq import IronBroker, IronSettings

from .faulty import FAULTS, Faulty

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from .conftest import Server

TIMEOUT = 90.0


@pytest.fixture
def server(start: Callable[..., Server]) -> Server:
    """Return a server of this test's own."""
    return start()


@pytest.fixture
def line(server: Server) -> Iterator[Faulty]:
    """Return a line to the server."""
    made = Faulty(server.port)
    yield made
    made.close()


def place(server: Server, line: Faulty) -> dict[str, Any]:
    """Return the table that leads to the server by the line."""
    return {**server.settings, "port": line.port}


def broker_by(server: Server, line: Faulty) -> IronBroker:
    """Return a broker that speaks by the line."""
    sections = {"iron_mq": IronSettings(**place(server, line))}
    return IronBroker(Settings(name="alone", sections=sections, retry=30.0))


@pytest.mark.parametrize("fault", FAULTS)
def test_every_call_says_that_the_service_is_away(server: Server, line: Faulty, fault: str) -> None:
    """By the error that is tried again later; the same connection works once the line does."""
    broker = broker_by(server, line)
    broker.enqueue([Outgoing(os.urandom(16), b"%d" % number) for number in range(3)])
    one, two = broker.lease(2, 0)

    with line.broken(fault):
        for call in (
            lambda: broker.lease(1, 0),
            lambda: broker.extend([one.receipt], 30.0),
            lambda: broker.settle([Settlement(two.receipt, Action.RETRY, failures=1)]),
            broker.size,
            broker.dead_letters,
            broker.ping,
        ):
            with pytest.raises(BackendUnavailable):
                call()

    server.advance(31)
    found = list(broker.lease(10, 0))
    assert {delivery.body for delivery in found} == {b"0", b"1", b"2"}


@pytest.mark.parametrize("fault", FAULTS)
def test_an_outage_amid_enqueueing_is_told(server: Server, line: Faulty, fault: str) -> None:
    """Where the service may have taken it, the error says so; where not, it is not there."""
    broker = broker_by(server, line)
    broker.ping()
    broker.enqueue([Outgoing(os.urandom(16), b"before")])

    with line.broken(fault), pytest.raises(BackendUnavailable) as raised:
        broker.enqueue([Outgoing(os.urandom(16), b"amid")])

    ready = broker.size().ready
    assert ready == (2 if fault == "truncate" else 1)
    assert ("nevertheless" in str(raised.value)) is (fault in {"truncate", "hang up"})


def test_an_error_says_which_messages_were_posted_and_stay(
    server: Server, line: Faulty, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line breaks behind the first hundred, which cannot be deleted: whoever repeats must know them."""
    broker = broker_by(server, line)
    broker.enqueue([Outgoing(os.urandom(16), b"before")])
    call, posts = broker._link.call, itertools.count()

    def breaking(method: str, *args: Any, **kwargs: Any) -> Any:
        if method == "POST" and next(posts) == 1:
            line.set("refuse")
        return call(method, *args, **kwargs)

    monkeypatch.setattr(broker._link, "call", breaking)
    sent = [Outgoing(os.urandom(16), b"%d" % number) for number in range(250)]

    with pytest.raises(BackendUnavailable) as caught:
        broker.enqueue(sent)
    line.set("")

    assert caught.value.accepted == [one.id for one in sent[:100]]
    assert "cannot be deleted" in caught.value.__notes__[0]
    assert broker.size().ready == 101


def test_a_cluster_works_on_after_outages(server: Server, line: Faulty, tmp_path: Path) -> None:
    """Each kind of them, one after the other, while tasks are enqueued and run."""
    config = Config.from_dict(
        {
            "name": "outage",
            "workers": 2,
            # a message whose reservation was answered in vain comes back after that time, the least there is
            "retry": 30,
            "iron_mq": place(server, line),
            "secret_key": "a key of the tests of qcore-ironmq",
            "result_store": "sqlite",
            "sqlite": {"path": str(tmp_path / "r.db")},
        }
    )
    app, numbers, jobs = App(config), itertools.count(), []

    def enqueue() -> None:
        deadline = time.monotonic() + TIMEOUT
        number = next(numbers)
        while time.monotonic() < deadline:
            try:
                jobs.append((number, app.enqueue("math.sqrt", number * number)))
            except BackendUnavailable:
                # it may be there: the task is one that may run twice
                continue
            return
        raise AssertionError("the service did not come back")

    with Cluster(config).start():
        for fault in FAULTS:
            for _ in range(5):
                enqueue()
            with line.broken(fault), pytest.raises(BackendUnavailable):
                app.enqueue("math.sqrt", 1)
            enqueue()
        results = [(number, job.result(wait=30 + TIMEOUT)) for number, job in jobs]

    assert [result for _, result in results] == [float(number) for number, _ in results]
    assert len(results) == 24
