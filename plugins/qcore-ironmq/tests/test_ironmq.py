"""What is IronMQ's alone, on a stand-in for it."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING, Any

import iron_mq
import pytest

from qcore import App, Cluster, Config
from qcore.errors import BackendRejected, BackendUnavailable
from qcore.interfaces import Settings
from qcore.model import Action, Outgoing, Settlement
from qcore_ironmq import IronBroker, IronSettings
from qcore_ironmq.settings import ServerAddress

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .conftest import Server

KEY = "a key of the tests of qcore-ironmq"


def broker_on(server: Server, **fields: Any) -> IronBroker:
    """Return a broker on a server, with the limits of the service."""
    sections = {"iron_mq": IronSettings(**server.settings)}
    return IronBroker(Settings(**{"name": "alone", "sections": sections, "retry": 30.0, **fields}))


def message(body: bytes) -> Outgoing:
    """Return a message."""
    return Outgoing(os.urandom(16), body)


def test_a_token_is_shown_nowhere(start: Callable[..., Server]) -> None:
    """Not in errors, not in info, not in a repr."""
    server = start()
    sections = {"iron_mq": IronSettings(**{**server.settings, "token": "wrong-token"})}
    broker = IronBroker(Settings(name="alone", sections=sections))

    with pytest.raises(BackendRejected, match=r"see iron_mq\.token and iron_mq\.project_id") as raised:
        broker.ping()

    shown = f"{raised.value}{broker.info()}{sections}{ServerAddress.of(sections['iron_mq'])}"
    assert "wrong-token" not in shown


# -- its rules --------------------------------------------------------------------------------


def test_a_lease_the_service_would_not_give_is_refused(start: Callable[..., Server]) -> None:
    """Thirty seconds at least, a day at most."""
    server = start()
    for retry in (5.0, 90_000.0):
        with pytest.raises(
            BackendRejected, match=f"retry is {retry:g}; IronMQ reserves a message for 30 to 86400"
        ):
            broker_on(server, retry=retry)


def test_what_ends_the_wait_of_a_frozen_worker_comes_back_after_thirty_seconds(
    start: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody confirms it, so it is not reserved for `retry` seconds, by a worker that waits for one."""
    server = start()
    frozen, other = broker_on(server, retry=600.0), broker_on(server, retry=600.0)
    other.enqueue([message(b"one")])
    call = frozen._link.call

    def freezing(method: str, queue: str, path: str = "", *args: Any, **how: Any) -> Any:
        if path.endswith("/touch"):
            raise BackendUnavailable("it is frozen")
        return call(method, queue, path, *args, **how)

    with monkeypatch.context() as patch:
        patch.setattr(frozen._link, "call", freezing)
        with pytest.raises(BackendUnavailable, match="it is frozen"):
            frozen.lease(1, 5.0)

    server.advance(31)
    assert [one.body for one in other.lease(1, 0.0)] == [b"one"]


def test_what_ends_a_wait_is_reserved_as_long_as_anything(start: Callable[..., Server]) -> None:
    """Its receiver confirms it, and settles it by the reservation that it got for it."""
    server = start()
    broker = broker_on(server, retry=600.0)
    broker.enqueue([message(b"one")])
    (leased,) = broker.lease(1, 5.0)

    server.advance(500)
    assert list(broker.lease(1, 0.0)) == []
    broker.settle([Settlement(leased.receipt)])
    server.advance(200)
    assert list(broker.lease(1, 0.0)) == []
    assert leased.deliveries == 1


def test_a_longer_delay_is_refused(start: Callable[..., Server]) -> None:
    """A week at most."""
    with pytest.raises(BackendRejected, match="delays by 604800 at most"):
        broker_on(start()).enqueue([Outgoing(b"i" * 16, b"late", 700_000.0)])


def test_a_batch_is_accepted_whole_or_not(start: Callable[..., Server]) -> None:
    """Two hundred and fifty messages are three requests; the third fails, and none is there."""
    server = start()
    broker = broker_on(server)
    broker.enqueue([message(b"before")])
    sent = [message(b"%d" % number) for number in range(250)]
    calls: list[int] = []
    call = broker._link.call

    def failing(method: str, queue: str, path: str = "", body: Any = None, **how: Any) -> Any:
        if method == "POST" and path == "/messages":
            calls.append(len(body["messages"]))
            if len(calls) == 3:
                raise BackendUnavailable("the third is lost")
        return call(method, queue, path, body, **how)

    broker._link.call = failing  # type: ignore[method-assign]  # a line that breaks

    with pytest.raises(BackendUnavailable):
        broker.enqueue(sent)

    assert calls == [100, 100, 50]
    assert broker.size().ready == 1


@pytest.mark.parametrize("status", [503, 500, 429])
def test_a_service_that_is_busy_is_asked_later(start: Callable[..., Server], status: int) -> None:
    """Not by us behind the caller's back: nothing is sent twice."""
    server = start()
    broker = broker_on(server)
    server.fail("POST messages", status)

    with pytest.raises(BackendUnavailable, match="asks to come again"):
        broker.enqueue([message(b"once")])

    before = server.requests()
    broker.enqueue([message(b"once")])
    assert server.requests() == before + 1
    assert broker.size().ready == 1


def test_an_answer_that_is_lost_is_told(start: Callable[..., Server]) -> None:
    """The messages may be there; they are not sent again."""
    server = start()
    broker = broker_on(server)
    server.fail("POST messages", 0, done=True)

    with pytest.raises(BackendUnavailable, match="may have been accepted nevertheless"):
        broker.enqueue([message(b"perhaps")])

    assert broker.size().ready == 1


def test_a_settlement_whose_answer_is_lost_is_repeated(start: Callable[..., Server]) -> None:
    """What was deleted already is ignored, and its neighbours are deleted."""
    server = start()
    broker = broker_on(server)
    broker.enqueue([message(b"%d" % number) for number in range(5)])
    leased = broker.lease(5, 0)
    settlements = [Settlement(one.receipt) for one in leased]
    server.fail("DELETE messages", 0, done=True)
    with pytest.raises(BackendUnavailable):
        broker.settle(settlements[:3])

    broker.settle(settlements)

    assert broker.size().ready == 0
    assert broker._dead_letters.count() == 0


@pytest.mark.parametrize("at", ["GET messages/{}", "DELETE messages"])
def test_a_settlement_that_fails_half_way_is_repeated(start: Callable[..., Server], at: str) -> None:
    """What was posted anew by then is not posted a second time, only deleted."""
    server = start()
    broker = broker_on(server)
    broker.enqueue([message(b"%d" % number) for number in range(3)])
    leased = broker.lease(3, 0)
    settlements = [Settlement(one.receipt, Action.RETRY, failures=1) for one in leased]
    server.fail(at.format(leased[1].receipt.split(b":")[1].decode()))
    with pytest.raises(BackendUnavailable):
        broker.settle(settlements)

    broker.settle(settlements)

    server.advance(31)
    found = sorted((one.body, one.failures) for one in broker.lease(10, 0))
    assert found == [(b"0", 1), (b"1", 1), (b"2", 1)]


def test_an_extended_reservation_is_known_to_its_worker(start: Callable[..., Server]) -> None:
    """The supervisor touches, which gives another reservation; the worker settles with that one."""
    server = start(1)
    worker, supervisor = broker_on(server, owner=b"w" * 16), broker_on(server, owner=b"s" * 16)
    worker.enqueue([message(b"long"), message(b"longer")])
    long, longer = worker.lease(2, 0)

    for _ in range(3):
        supervisor.extend([long.receipt, longer.receipt], 30.0)
    worker.settle([Settlement(long.receipt)])
    supervisor.settle([Settlement(longer.receipt, Action.RETRY, failures=1)])

    (again,) = broker_on(server).lease(5, 0)
    assert (again.body, again.failures) == (b"longer", 1)


def test_many_dead_letters_are_listed(start: Callable[..., Server]) -> None:
    """The service shows a hundred; the others are reserved and given back for it."""
    server = start()
    broker = broker_on(server)
    for start_ in range(0, 230, 100):
        broker.enqueue([message(b"%03d" % number) for number in range(start_, min(230, start_ + 100))])
        broker.settle(
            [Settlement(one.receipt, Action.DEAD_LETTER, reason="no") for one in broker.lease(100, 0)]
        )

    first = broker.dead_letters(150)
    rest = broker.dead_letters(150, after=first[-1].id)

    assert [letter.body for letter in (*first, *rest)] == [b"%03d" % number for number in range(230)]
    assert broker.requeue([letter.id for letter in rest]) == 80
    assert broker.size().ready == 80


def test_the_old_client_finds_what_it_knows(start: Callable[..., Server]) -> None:
    """The stand-in is what the iron-mq client takes for the service, and understands our messages' queue."""
    server = start()
    queue = iron_mq.IronMQ(**server.settings).queue("alone")
    queue.post({"body": "hello", "delay": 0}, "world")
    broker_on(server).enqueue([message(b"ours")])

    reserved = queue.reserve(max=2, timeout=60)["messages"]
    touched = queue.touch(reserved[0]["id"], reserved[0]["reservation_id"], timeout=60)

    assert [one["body"] for one in reserved] == ["hello", "world"]
    assert touched["msg"] == "Touched"
    assert queue.release(reserved[1]["id"], reserved[1]["reservation_id"])["msg"] == "Released"
    assert queue.delete(reserved[0]["id"], touched["reservation_id"])["msg"] == "Deleted"
    assert [one["body"] for one in queue.peek(1)["messages"]] == ["world"]
    assert queue.size() == 2
    (stranger, ours) = broker_on(server).lease(5, 0)
    assert (stranger.body, ours.body) == (b"world", b"ours")


# -- a whole cluster --------------------------------------------------------------------------


def _config(server: Server, tmp_path: Path, **fields: Any) -> Config:
    ours = {"secret_key": KEY, "result_store": "sqlite", "sqlite": {"path": str(tmp_path / "r.db")}}
    return Config.from_dict({**ours, "iron_mq": server.settings, **fields})


def test_the_specifications_example_runs(start: Callable[..., Server], tmp_path: Path) -> None:
    """With the server's own host, token and project."""
    config = _config(
        start(), tmp_path, name="IronBroker", workers=2, timeout=30, retry=60, queue_limit=50, bulk=10
    )
    app = App(config)

    with Cluster(config).start():
        jobs = app.enqueue_many([app.task(pow).bind(number, 2) for number in range(100)])
        results = [job.result(wait=40) for job in jobs]

    assert results == [number**2 for number in range(100)]
    assert "token-of-the-tests" not in str(config.redacted())


@pytest.mark.slow
def test_a_task_longer_than_its_lease_runs_once(start: Callable[..., Server], tmp_path: Path) -> None:
    """The reservation is touched while it runs, and the worker settles with the newest one."""
    server = start(1)
    config = _config(server, tmp_path, name="long", workers=2, retry=30)
    app = App(config)

    with Cluster(config).start():
        job = app.enqueue("time.sleep", 11.0)
        result = job.fetch(wait=60)
        deadline = time.monotonic() + 100
        while app.runtime.brokers.take().size().ready and time.monotonic() < deadline:
            pass

    assert result is not None
    assert (result.success, result.attempts) == (True, 1)


def test_a_task_outlives_its_worker(start: Callable[..., Server], tmp_path: Path) -> None:
    """Killed with -9 in the middle of a task, it is run again by another worker."""
    server = start()
    config = _config(server, tmp_path, name="killed", workers=1, retry=60)
    app = App(config)

    with Cluster(config).start() as cluster:
        job = app.enqueue("time.sleep", 2.0)
        os.kill(_busy(cluster), signal.SIGKILL)
        result = job.fetch(wait=40)
        while result is not None and not result.success:
            result = job.fetch(wait=40)

    assert result is not None
    assert result.crashes == 1


def _busy(cluster: Cluster) -> int:
    """Return the process that runs a task, once there is one."""
    deadline = time.monotonic() + 100
    while time.monotonic() < deadline:
        for worker in cluster.status().workers:
            # busy it is from the lease on: it must have begun
            if worker.running_for > 0:
                return worker.pid
    raise AssertionError("no worker became busy")
