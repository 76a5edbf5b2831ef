"""Queues and priorities of tasks on their way to a broker."""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from qcore import App, Config
from qcore.cluster import check_backends
from qcore.errors import ConfigError, NotSupported
from qcore.messages.envelope import route_of_body
from qcore.messages.head import Head, encode_head, read_head, route_of
from qcore_queues.order import QueueOrder
from qcore_queues.refusal import refusing_routes
from qcore_testing.memory.broker import MemoryBroker
from qcore_testing.memory.queue import MemoryQueue

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from qcore.interfaces import Settings

QUEUE = MemoryQueue()


class OneQueue(MemoryBroker):
    """A broker that has one queue."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(QUEUE, retry=settings.retry, backend="one")
        self.capabilities = attrs.evolve(self.capabilities, queues=False)


class ManyQueues(MemoryBroker):
    """The same with many."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(QUEUE, retry=settings.retry, backend="many", order=settings.queues)


class DeclaredQueues(ManyQueues):
    """The same, of which a user has to declare the queues."""

    def check_route(self, queue: str, priority: int) -> None:
        """Refuse one that is not declared."""
        del priority
        if queue not in {"", "mail"}:
            raise NotSupported(f"queue={queue!r}: sqs.queues declares default, mail")


def double(number: int) -> int:
    """Return twice the number."""
    return 2 * number


@pytest.fixture
def app() -> App:
    """Return an App whose broker has queues."""
    QUEUE.purge()
    return App(Config.from_dict(table("ManyQueues")))


@pytest.fixture
def simple() -> App:
    """Return an App whose broker has one queue."""
    QUEUE.purge()
    return App(Config.from_dict(table("OneQueue")))


def table(broker: str, **others: Any) -> dict[str, Any]:
    """Return the table of a configuration."""
    return {"broker_class": f"{__name__}.{broker}", "secret_key": "k" * 40, "result_store": "memory"} | others


def waiting() -> list[tuple[str, int]]:
    """Return queue and priority of each waiting message, and see that its body has them, too."""
    found = QUEUE.waiting(100, None)
    assert [route_of_body(one.body) for one in found] == [(one.queue, one.priority) for one in found]
    return [(one.queue, one.priority) for one in found]


def test_a_message_goes_to_the_queue_of_its_task(app: App) -> None:
    """By declaration or for one call; the default queue may be named."""
    send = app.task(queue="mail", priority=10)(double)

    send.enqueue(1)
    send.using(priority=-10).enqueue(1)
    send.using(queue="default", priority=0).enqueue(1)
    app.enqueue_many([send.using(queue="reports").bind(1), app.task(double).bind(1)])

    assert sorted(waiting()) == [("", 0), ("", 0), ("mail", -10), ("mail", 10), ("reports", 10)]


def test_who_uses_neither_sends_the_same_bytes() -> None:
    """A head without them is as long as before there were any."""
    head = Head("a.task", label="x", at_most_once=True)

    data = encode_head(head)

    assert data[:3] == b"\xdc\x00\x15"
    assert len(encode_head(Head("a.task", label="x", at_most_once=True, priority=1))) == len(data) + 2
    assert read_head(data) == head
    assert route_of(data) == ("", 0)
    assert route_of(encode_head(Head("a.task", queue="mail", priority=-100))) == ("mail", -100)


@pytest.mark.parametrize("body", [b"", b"Qc", b"Qc" + bytes(200), b"no envelope" * 20])
def test_junk_has_the_default_queue(body: bytes) -> None:
    """What is moved need not be a message."""
    assert route_of_body(body) == ("", 0)


def test_a_forged_name_of_a_queue_is_not_followed(app: App) -> None:
    """What nobody has verified names no queue that the broker could not have."""
    app.task(double).using(queue="mail").enqueue(1)
    (found,) = QUEUE.waiting(1, "mail")

    assert route_of_body(found.body.replace(b"mail", b"m il")) == ("", 0)


def test_a_schedule_has_a_queue(app: App) -> None:
    """Its own, or that of its task."""
    send = app.task(queue="mail", priority=3)(double)
    app.schedules.create(send, 1, name="a", every=60, next_run=time.time() + 600)
    app.schedules.create(send, 1, name="b", every=60, queue="night", priority=-1, next_run=time.time() + 600)

    for name in ("a", "b"):
        app.schedules.run(name)
    app.schedules.update("b", queue=None, priority=8)
    app.schedules.run("b")

    assert sorted(waiting()) == [("", 8), ("mail", 3), ("night", -1)]


def test_one_queue_refuses_others(simple: App) -> None:
    """Whatever enqueues; what asks for none is enqueued."""
    send = simple.task(double)
    for given, named in (({"queue": "mail"}, "queue='mail'"), ({"priority": 1}, "priority=1")):
        other = send.using(**given)
        with pytest.raises(NotSupported, match=f"^{named}: the broker .* has neither queues nor priorities"):
            other.enqueue(1)
        with pytest.raises(NotSupported, match=named):
            simple.chain([send.bind(1), other], pipe_result=True)
        with pytest.raises(NotSupported, match=named):
            simple.group([send.bind(1), other.bind(1)]).enqueue()
        with pytest.raises(NotSupported, match=named):
            simple.schedules.create(other, 1, name="tick", every=60)
    send.using(queue="default", priority=0).enqueue(1)

    assert waiting() == [("", 0)]


def test_messages_of_other_queues_are_refused_by_the_broker(simple: App, app: App) -> None:
    """Those that come by another way than a call, too."""
    app.task(double).using(queue="mail").enqueue(1)
    (found,) = QUEUE.take(1, 0.0, 60.0)
    broker = simple.runtime.make_broker()
    queue, priority = route_of_body(found.body)
    from qcore.model import Outgoing

    wrong = Outgoing(bytes(16), found.body, 0.0, queue, priority)
    with pytest.raises(NotSupported, match="queue='mail'"):
        broker.enqueue([wrong])
    with pytest.raises(NotSupported, match="queue='mail'"):
        broker.commit_and_lease(None, [], [], 0, [wrong])
    assert isinstance(broker, OneQueue)
    assert refusing_routes(app.runtime.make_broker(), "many").__class__ is ManyQueues


def test_a_cluster_names_queues_that_are_declared() -> None:
    """Another one is a fault of the configuration, before any worker is started."""
    config = Config.from_dict(table("DeclaredQueues", queues=["default", "mail", "nail"]))

    with pytest.raises(ConfigError, match=r"queues: queue='nail': sqs\.queues declares default, mail"):
        check_backends(config)


def test_a_cluster_of_one_queue_names_none() -> None:
    """It is refused when it starts."""
    app = App(Config.from_dict(table("OneQueue", queues=["mail"])))

    with pytest.raises(ConfigError, match=r"queues: got a list; the broker .* has one queue for each name"):
        app.runtime.make_broker()


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"mail": 0}, "each weight must be a whole number from 1 to 1000000; that of 'mail' is 0"),
        ({"mail": 1.5}, "each weight must be a whole number"),
        ({}, "must have a queue"),
        (["a b"], "each queue must be 1 to 64 letters, digits or _ . -; 'a b' is not one"),
        ({"a b": 1}, "each queue must be 1 to 64 letters"),
        (["mail", "mail"], "must name a queue once; 'mail' is there twice"),
        ("mail", "must be a list"),
    ],
)
def test_queues_that_a_cluster_cannot_have_are_refused(given: object, problem: str) -> None:
    """One error for each."""
    with pytest.raises(ConfigError, match=problem.replace(".", r"\.")):
        Config.from_dict(table("ManyQueues", queues=given))


@pytest.mark.parametrize(
    ("given", "weights"),
    [({"a": 3, "b": 1}, [("a", 300), ("b", 100)]), ({"a": 1, "b": 1, "default": 2}, [("", 200), ("a", 100)])],
)
def test_weights_are_evenly_spread(given: Mapping[str, int], weights: Sequence[tuple[str, int]]) -> None:
    """Each queue is the first in its proportion, and never late by more than a round."""
    order = QueueOrder(given)

    turns = [order.next() for _ in range(400)]

    first, whole = [turn[0] for turn in turns], sum(given.values())
    for name, count in weights:
        assert abs(first.count(name) - count) <= 1
        places = [-1, *(place for place, each in enumerate(first) if each == name)]
        gap = max(after - before for before, after in itertools.pairwise(places))
        # what comes evenly is there once a round, and after less than twice the gap that it has on average
        assert gap <= whole
        assert gap * count < 2 * len(turns)
    assert all(len(turn) == len(given) for turn in turns)


def test_a_list_is_strict() -> None:
    """The same order each time, as the broker knows the queues."""
    order = QueueOrder(["mail", "default"])

    assert [tuple(order.next()) for _ in range(3)] == [("mail", "")] * 3
    assert repr(order) == "QueueOrder(['mail', 'default'])"
