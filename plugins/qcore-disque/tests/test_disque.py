"""What is Disque's alone, on a stand-in for it."""

from __future__ import annotations

import logging
import os
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest

from qcore import App, Cluster, Config
from qcore.errors import BackendRejected, BackendUnavailable, ConfigError, NotSupported
from qcore.interfaces import Settings
from qcore.model import Action, Outgoing, Settlement
from qcore_disque import DisqueBroker, plugin, replies
from qcore_disque.lease import Lease
from qcore_plugin_support import CountedMessage

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .conftest import Server

KEY = "a key of the tests of qcore-disque"


def broker_on(*nodes: str, auth: str | None = None, retry: float = 60.0, name: str = "alone") -> DisqueBroker:
    """Return a broker on these nodes."""
    sections = {"disque_nodes": list(nodes), "disque_auth": auth}
    return DisqueBroker(Settings(name=name, retry=retry, sections=sections))


def message(body: bytes) -> Outgoing:
    """Return a message."""
    return Outgoing(os.urandom(16), body)


# -- the nodes --------------------------------------------------------------------------------


def test_a_password_is_given_the_old_way(start: Callable[..., Server]) -> None:
    """Disque knows no users, only a password."""
    server = start(password="open sesame")
    broker = broker_on(server.node, auth="open sesame")

    broker.enqueue([message(b"one")])

    assert broker.size().ready == 1


@pytest.mark.parametrize(
    ("told", "wanted"), [("wrong", "does not take this password"), (None, "wants a password")]
)
def test_a_wrong_password_is_told(start: Callable[..., Server], told: str | None, wanted: str) -> None:
    """It will not be right a moment later, and it is not shown."""
    broker = broker_on(start(password="open sesame").node, auth=told)

    with pytest.raises(BackendRejected, match=wanted) as raised:
        broker.ping()

    assert "wrong" not in str(raised.value).replace("wrong number", "")


def test_another_node_is_taken_when_one_is_gone(start: Callable[..., Server]) -> None:
    """Whichever was chosen, work goes on with the one that lives."""
    server = start(3)
    brokers = [broker_on(*server.nodes[:2]) for _ in range(8)]
    for broker in brokers:
        broker.ping()

    server.down(0)

    unreachable = 0
    for broker in brokers:
        try:
            broker.enqueue([message(b"work")])
        except BackendUnavailable:
            # its connection died under it: what became of the request is unknown
            unreachable += 1
            broker.enqueue([message(b"work")])
    assert unreachable < len(brokers)
    assert server.ask("QLEN", "alone", node=1) == len(brokers)


def test_no_node_at_all_is_told_with_all_names() -> None:
    """The message names the nodes that were tried."""
    broker = broker_on("127.0.0.1:1", "127.0.0.1:2")

    with pytest.raises(BackendUnavailable, match=r"127\.0\.0\.1:1,127\.0\.0\.1:2 does not answer") as told:
        broker.ping()

    assert "refused; start it, or correct `disque_nodes`" in str(told.value)


# -- jobs -------------------------------------------------------------------------------------


def test_a_name_of_dead_letters_is_refused() -> None:
    """It would be the queue of another queue's dead letters, and its workers would run them."""
    with pytest.raises(ConfigError, match="name: got 'orders:dead-letters', which Disque has for another"):
        DisqueBroker(Settings(name="orders:dead-letters", sections={"disque_nodes": ["127.0.0.1"]}))


@pytest.mark.parametrize(("told", "counted"), [(70_000, 70_001), (2**40, 2**31 - 1)])
def test_deliveries_are_counted_beyond_16_bits(told: int, counted: int) -> None:
    """As the counters of every broker are, to 31 bits."""
    lease = Lease(b"D-one", b"node", 0, told)
    assert replies.delivery(lease, CountedMessage(b"body")).deliveries == counted


def test_either_all_are_accepted_or_none(start: Callable[..., Server]) -> None:
    """One job refused in the middle: those added before are removed again."""
    server = start()
    broker = broker_on(server.node)
    for error in ("", "NOREPL Not enough reachable nodes"):
        if error:
            server.ask("DEBUG", "FAIL", "ADDJOB", error)

    with pytest.raises(BackendUnavailable, match="too few of its nodes"):
        broker.enqueue([message(b"one"), message(b"two"), message(b"three")])

    assert broker.size().ready == 0


def test_a_paused_queue_is_an_obstacle_that_passes(start: Callable[..., Server]) -> None:
    """An operator has paused it: try again later."""
    server = start()
    broker = broker_on(server.node)
    server.ask("PAUSE", "alone", "in")

    with pytest.raises(BackendUnavailable, match="the queue is paused"):
        broker.enqueue([message(b"one")])


def test_a_job_of_a_stranger_is_a_body(start: Callable[..., Server]) -> None:
    """What others have added is handed on as it is; the worker dead-letters it."""
    server = start()
    server.ask("ADDJOB", "alone", "hello", 100)

    (delivery,) = broker_on(server.node).lease(5, 1.0)

    assert (delivery.body, delivery.deliveries) == (b"hello", 1)


def test_a_late_settlement_of_a_retry_changes_nothing(start: Callable[..., Server]) -> None:
    """Only a plain acknowledgement goes through late: what goes on belongs to the present lease."""
    broker = broker_on(start().node, retry=1)
    broker.enqueue([message(b"slow")])
    (first,) = broker.lease(1, 1.0)
    (second,) = broker.lease(1, 10.0)

    broker.settle([Settlement(first.receipt, Action.DEAD_LETTER, reason="late")])

    assert (second.deliveries, list(broker.dead_letters())) == (2, [])


def test_fastack_acknowledges_too(start: Callable[..., Server]) -> None:
    """The cheaper acknowledgement ends the job as well."""
    server = start()
    sections = {"disque_nodes": [server.node], "disque_fastack": True}
    broker = DisqueBroker(Settings(name="alone", retry=1, sections=sections))
    broker.enqueue([message(b"one")])
    (delivery,) = broker.lease(1, 1.0)
    job = delivery.receipt.partition(b":")[0]

    broker.settle([Settlement(delivery.receipt)])

    assert server.ask("SHOW", job) is None


def test_with_retry_0_a_message_is_handed_out_once(
    start: Callable[..., Server], caplog: pytest.LogCaptureFixture
) -> None:
    """At most once, and the cluster's log says so."""
    server = start()
    with caplog.at_level(logging.WARNING):
        broker = broker_on(server.node, retry=0)
    broker.enqueue([message(b"once")])

    (delivery,) = broker.lease(1, 1.0)

    assert "at most once" in caplog.text
    assert not broker.capabilities.redelivers
    shown = server.ask("SHOW", delivery.receipt.partition(b":")[0])
    fields = dict(zip(shown[::2], shown[1::2], strict=True))
    assert fields[b"retry"] == 0
    with pytest.raises(NotSupported):
        broker.settle([Settlement(delivery.receipt, Action.DEAD_LETTER)])


# -- a whole cluster --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given",
    [
        {"name": "DisqueBroker", "workers": 2, "timeout": 50, "retry": 60},
        {"name": "TyndBroker", "workers": 2, "timeout": 30, "retry": 60, "bulk": 10, "auth": "open sesame"},
        {"name": "once", "workers": 1, "retry": 0},
    ],
)
def test_the_specifications_examples_run(
    start: Callable[..., Server], tmp_path: Path, given: dict[str, Any]
) -> None:
    """Each example of the page works, with the nodes of a server that is there."""
    password = given.pop("auth", "")
    server = start(password=password)
    settings = {
        **given,
        "disque_nodes": [server.node],
        "secret_key": KEY,
        "result_store": "sqlite",
        "sqlite": {"path": str(tmp_path / "r.db")},
    }
    if password:
        settings["disque_auth"] = password
    config = Config.from_dict(settings)
    app = App(config)

    with Cluster(config).start():
        jobs = [app.enqueue("math.sqrt", number * number) for number in range(50)]
        results = [job.result(wait=100) for job in jobs]

    assert results == [float(number) for number in range(50)]
    assert "open sesame" not in str(config.redacted())


def test_a_task_outlives_its_worker(start: Callable[..., Server], tmp_path: Path) -> None:
    """Killed with -9 in the middle of a task, it is run again by another worker."""
    server = start()
    config = Config.from_dict(
        {
            "name": "killed",
            "workers": 1,
            "retry": 30,
            "disque_nodes": [server.node],
            "secret_key": KEY,
            "result_store": "sqlite",
            "sqlite": {"path": str(tmp_path / "r.db")},
        }
    )
    app = App(config)

    with Cluster(config).start() as cluster:
        job = app.enqueue("time.sleep", 3.0)
        pid = _busy(cluster)
        os.kill(pid, signal.SIGKILL)
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


def test_a_retry_of_0_is_refused_elsewhere(tmp_path: Path) -> None:
    """A broker that redelivers messages has to know after how long."""
    config = Config.from_dict({"retry": 0, "sqlite": {"path": str(tmp_path / "q.db")}})

    with pytest.raises(ConfigError, match="retry: got 0"):
        App(config).runtime.make_broker()


def test_a_url_names_nodes_and_password() -> None:
    """The URL of `qcore move` says what the keys say."""
    read = plugin.qcore_urls()["disque"]

    assert read("disque://:se%40cret@one:7711,two:7712") == {
        "disque_nodes": ["one:7711", "two:7712"],
        "disque_auth": "se@cret",
    }
    assert read("disque://one") == {"disque_nodes": ["one"]}
