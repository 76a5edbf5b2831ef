"""What queues and priorities are in Redis beyond the contract."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any, Final

import pytest

import qcore_redis.broker
from qcore import App, Cluster, Config
from qcore.interfaces import Settings
from qcore.model import Action, Outgoing, QueueSize, Settlement
from qcore_queues.order import QueueOrder
from qcore_redis import RedisBroker, RedisSettings, codec
from tests.integration.land import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

P: Final = b"{qcore:many}:"
#: seconds; longer than any test runs
LONG: Final = 10_000.0


@pytest.fixture
def client(shared: Any) -> Iterator[Any]:
    """Yield a client of an empty server that writes past the plugin."""
    with shared.client() as client:
        client.flushall()
        yield client


@pytest.fixture
def new(client: Any, shared: Any) -> Iterator[Callable[..., RedisBroker]]:
    """Yield a maker of brokers of one queue, which are closed in the end."""
    del client
    made: list[RedisBroker] = []

    def new(queues: Sequence[str] | None = None, **fields: Any) -> RedisBroker:
        order = None if queues is None else QueueOrder(queues)
        sections = {"redis": RedisSettings(unix_socket_path=shared.path)}
        made.append(RedisBroker(Settings(name="many", sections=sections, queues=order, **fields)))
        return made[-1]

    yield new
    for one in made:
        one.close()


def message(body: bytes, queue: str = "", priority: int = 0, delay: float = 0.0) -> Outgoing:
    """Return a message of its own id."""
    return Outgoing(os.urandom(16), body, delay, queue, priority)


def test_a_high_priority_is_next_behind_a_hundred_thousand(
    new: Callable[..., RedisBroker], client: Any
) -> None:
    """Those of the default priority, and those of a low one, are not looked at."""
    broker = new()
    for _ in range(5):
        client.rpush(P + b"q", *[b"\0low"] * 10_000)
        client.rpush(P + b"q:-5:mail", *[b"\x08\x60\x04mail\0lower"] * 10_000)
    broker.enqueue([message(b"lower", "mail", -5)])

    broker.enqueue([message(b"urgent", "mail", 7)])

    assert [one.body for one in broker.lease(1, 0.0)] == [b"urgent"]
    assert broker.size().ready == 100_001


def test_who_uses_neither_sends_and_keeps_what_it_did(
    new: Callable[..., RedisBroker], client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The words of each step are as many, and no key of queues is there."""
    broker = new()
    sent: list[tuple[Any, Sequence[Any]]] = []
    run = broker._link.run
    monkeypatch.setattr(
        broker._link,
        "run",
        lambda script, *words, **fields: sent.append((script, words)) or run(script, *words, **fields),
    )
    broker.enqueue([message(b"plain"), message(b"more")])
    leased = broker.lease(2, 0.0)
    broker.commit_and_lease(None, (), [Settlement(leased[0].receipt)], 1)
    broker.settle([Settlement(leased[1].receipt)])

    assert [len(words) for _, words in sent] == [9, 13, 13]
    assert {script for script, _ in sent} == {broker._commit_script}
    assert not [key for key in client.keys(P + b"q*") if key != P + b"q"]


def test_what_is_used_up_leaves_no_key(new: Callable[..., RedisBroker], client: Any) -> None:
    """Large bodies, dead letters, delays: nothing of a queue that is empty is left, and all had the tag."""
    broker = new()
    large = bytes(codec.LARGE + 1)
    broker.enqueue([message(large, "mail", 3), message(b"small", "mail"), message(large, "", 5)])
    broker.enqueue([message(large, "mail", 3, delay=600.0), message(b"other", "reports", -100)])
    assert all(key.startswith(P) for key in client.keys())  # noqa: SIM118 - as below
    for action in (Action.RETRY, Action.DEAD_LETTER):
        for one in broker.lease(10, 0.0):
            assert one.body in {large, b"small", b"other"}
            broker.settle([Settlement(one.receipt, action, reason="so")])
    while leased := broker.lease(10, 0.0):
        broker.settle([Settlement(one.receipt, Action.DEAD_LETTER, reason="so") for one in leased])
    letters = broker.dead_letters()
    assert sorted(len(one.body) for one in letters) == [5, 5, len(large), len(large)]
    assert broker.replace_dead_letter(letters[0].id, letters[0].body)
    assert broker.requeue([one.id for one in letters]) == 4
    assert broker.queues()[1:] == broker.queues()[1:]
    assert {one.name: one.size.ready for one in broker.queues()} == {"": 1, "mail": 2, "reports": 1}
    while leased := broker.lease(10, 0.0):
        broker.settle([Settlement(one.receipt) for one in leased])
    assert broker.purge_queue("mail") == 1

    assert broker.size() == QueueSize(0, 0, 0, 0)
    left = {key.removeprefix(P) for key in client.keys()}  # noqa: SIM118 - a client is not a mapping
    assert left <= {b"n", b"qw", b"qh", b"q"}
    assert broker.lease(1, 0.0) == ()


class Waiting:
    """A worker that waits in a thread of its own."""

    def __init__(self, broker: RedisBroker) -> None:
        self.found: list[bytes] = []
        self._broker = broker
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        leased = self._broker.lease(1, LONG)
        self.found = [one.body for one in leased]
        self._broker.settle([Settlement(one.receipt) for one in leased])

    def body(self) -> list[bytes]:
        """Return what it has got, once it has."""
        self._thread.join(100)
        assert not self._thread.is_alive(), "nobody has called it"
        return self.found


@pytest.fixture
def waits(
    new: Callable[..., RedisBroker], client: Any, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Waiting]:
    """Return what starts a worker that waits until it is called, and returns when it waits."""
    monkeypatch.setattr(qcore_redis.broker, "LONGEST", LONG)

    def start(*queues: str) -> Waiting:
        def blocked() -> int:
            return int(client.info("clients")["blocked_clients"])

        before = blocked()
        started = Waiting(new(queues or None, retry=4 * LONG))
        until(lambda: blocked() == before + 1)
        return started

    return start


def test_each_that_waits_is_called_for_its_queues(
    new: Callable[..., RedisBroker], waits: Callable[..., Waiting]
) -> None:
    """Whichever waits longest: a call that is for another is handed on."""
    plain, both, mail, reports = waits("default"), waits("mail", "default"), waits("mail"), waits("reports")
    broker = new()

    broker.enqueue([message(b"report", "reports", -3)])
    assert reports.body() == [b"report"]
    broker.enqueue([message(b"mail", "mail"), message(b"mail", "mail", 9)])
    assert both.body() == mail.body() == [b"mail"]
    broker.enqueue([message(b"plain")])
    assert plain.body() == [b"plain"]


def test_many_messages_call_many(new: Callable[..., RedisBroker], waits: Callable[..., Waiting]) -> None:
    """Who takes some of them calls the next."""
    waiting = [waits() for _ in range(3)] + [waits("mail") for _ in range(2)]

    new().enqueue([message(b"mail", "mail") for _ in range(5)])

    assert [one.body() for one in waiting] == [[b"mail"]] * 5


def test_who_waits_is_called_when_a_delay_ends(
    new: Callable[..., RedisBroker], waits: Callable[..., Waiting]
) -> None:
    """It was enqueued while they waited, for one of them."""
    plain, mail = waits("default"), waits("mail")

    new().enqueue([message(b"later", "mail", delay=0.05)])

    assert mail.body() == [b"later"]
    new().enqueue([message(b"plain")])
    assert plain.body() == [b"plain"]


def test_a_queue_is_paused_for_those_that_wait(
    new: Callable[..., RedisBroker], waits: Callable[..., Waiting]
) -> None:
    """They get nothing of it that comes later, until it is resumed."""
    waiting = [waits(), waits("default")]
    broker = new()

    broker.pause_queue("", paused=True)
    broker.enqueue([message(b"plain"), message(b"plain")])
    # a queue that is not paused calls them
    broker.enqueue([message(b"mail", "mail")])

    assert waiting[0].body() == [b"mail"]
    assert broker.size() == QueueSize(2, 0, 0, 0)
    broker.pause_queue("", paused=False)
    assert waiting[1].body() == [b"plain"]


def test_what_is_no_route_is_a_body(new: Callable[..., RedisBroker], client: Any) -> None:
    """Whoever leases it judges."""
    broker = new()
    strange = [
        b"\x08",
        b"\x08\x65",
        b"\x08\x65\x05mail",
        b"\x08\x00\x04mail\0x",
        b"\x08\x65\x04m/il\0x",
        b"\x08\xff\0\0x",
    ]
    client.rpush(P + b"q", *strange)

    assert [one.body for one in broker.lease(10, 0.0)] == strange


def test_streams_that_are_none_hold_nobody_up(new: Callable[..., RedisBroker], client: Any) -> None:
    """Names of none, of an empty one or of another queue are dropped; a key of another kind is set aside."""
    broker = new(["mail", "default"])
    names = {b"": 1, b"x:y": -1e300, b"5:mail": float("-inf"), b"1:a b": 0, b"7:other": 3.5, b"9:none": 2}
    client.zadd(P + b"qs", names)
    client.zadd(P + b"qs:mail", names)
    client.set(P + b"q:5:mail", b"no list")
    client.set(P + b"qw", b"no list")
    client.set(P + b"qh", b"no number")
    broker.enqueue([message(b"good", "mail", -4), message(b"plain")])

    assert [one.body for one in broker.lease(10, 0.0)] == [b"good", b"plain"]
    assert new().lease(1, 0.0) == ()
    assert client.zrange(P + b"qs:mail", 0, -1) == []
    assert len(client.keys(P + b"aside:*")) >= 2


def test_a_cluster_runs_its_queues_in_their_order(shared: Any, client: Any) -> None:
    """Urgent tasks first; those of other queues are left."""
    del client
    common = {
        "name": "many",
        "secret_key": "the key of these tests, not of anybody else",
        "workers": 1,
        "bulk": 1,
    }
    config = Config.from_dict(
        {**common, "queues": ["mail", "default"], "redis": {"unix_socket_path": shared.path}}
    )
    app = App(config)
    power: Any = app.task(pow)
    jobs = app.enqueue_many(
        [
            power.bind(2, 1),
            power.using(queue="mail", priority=-5).bind(2, 2),
            power.using(queue="mail", priority=5).bind(2, 3),
            power.using(queue="reports", priority=9).bind(2, 4),
            power.using(priority=3).bind(2, 5),
        ]
    )

    with Cluster(config):
        done = [jobs[number].fetch(100.0) for number in (2, 1, 4, 0)]
        assert [one.value for one in done] == [8, 4, 32, 2]
        assert sorted(done, key=lambda one: one.started) == done
        assert app.queue.size() == QueueSize(1, 0, 0, 0)
        assert [one.name for one in app.waiting()] == ["builtins.pow"]
        late: Any = power.using(queue="mail", priority=1).enqueue(3, 3)
        assert late.result(wait=100) == 27
    app.close()
