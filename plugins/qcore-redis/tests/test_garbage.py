"""Whatever the server contains, nothing stops a worker and good messages get through."""

from __future__ import annotations

import os
import struct
import time
from typing import TYPE_CHECKING, Any, Final

import attrs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qcore import App, Cluster, Config, State
from qcore.coordination import BarrierMember
from qcore.interfaces import Settings
from qcore.model import Action, Outgoing, Settlement, StoredResult, StoredSchedule
from qcore_queues.order import QueueOrder
from qcore_redis import RedisBroker, RedisResults, RedisSchedules, RedisSettings
from qcore_redis.coordination import make_coordination
from qcore_testing.store_writer import check_a_writer_without_a_key_changes_nothing

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

P: Final = b"{qcore:q}:"
ID: Final = bytes(range(16))


def message(body: bytes, delay: float = 0.0) -> Outgoing:
    """Return a message of an id of its own."""
    return Outgoing(os.urandom(16), body, delay)


# -- in a real cluster of workers -----------------------------------------------------------


def garbage_of_a_queue(client: Any, prefix: bytes) -> None:
    """Put a few bytes wherever a worker reads."""
    for junk in (
        b"",
        b"\1",
        b"\1short",
        b"\2",
        b"\3",
        b"\4",
        b"\4more",
        b"hello",
        b"\xff" * 30,
        b"\0",
        b"\1" * 21,
    ):
        client.lpush(prefix + b"q", junk)
        client.zadd(prefix + b"d", {junk: 0, b"12345678" + junk: 1})
        client.hset(prefix + b"r", os.urandom(16), junk)
        client.rpush(prefix + b"s", junk)
        client.zadd(prefix + b"e", {junk: 1})
        client.zadd(prefix + b"cz", {junk: 1})
        client.hset(prefix + b"c", b"n" + junk, junk)
        client.zadd(prefix + b"cz", {b"n" + junk: 1})
        client.hset(prefix + b"u", junk, junk)
        client.zadd(prefix + b"xz", {junk: 7})
        client.hset(prefix + b"x", b"9" + junk, junk)
        client.rpush(prefix + b"l:" + junk, junk, b"\1", b"")
        client.lpush(prefix + b"q", b"\x08\x6a\x04mail" + junk, b"\x08\xff\x04mail" + junk)
        client.rpush(prefix + b"q:5:mail", junk)
        client.zadd(prefix + b"qs", {junk: 1, b"5:mail": -5, b"3:" + junk: -3})
        client.zadd(prefix + b"qs:mail", {junk: 1})
        client.hset(prefix + b"qp", b"no queue" + junk, junk)
        client.zadd(prefix + b"l", {junk: 1, b"string" + junk: float("-inf")})
        client.set(prefix + b"l:string" + junk, b"no list")
        client.hset(prefix + b"t", junk, b"no number")
    client.set(prefix + b"n", b"no number")
    client.set(prefix + b"k", b"no number")
    for name in (b"y", b"f", b"w", b"qw", b"qh", b"q:7:mail"):
        # in one step, because workers write some of them
        with client.pipeline() as pipe:
            pipe.delete(prefix + name).hset(prefix + name, b"of", b"another kind").execute()


def test_good_messages_run_beside_garbage(own: Any, capfd: pytest.CaptureFixture[str]) -> None:
    """Workers set aside what nobody signed, and end by nothing that the server contains."""
    common = {"secret_key": "the key of these tests, not of anybody else", "workers": 2, "save_limit": 0}
    config = Config.from_dict({"name": "q", **common, "redis": {"unix_socket_path": own.path}})
    app = App(config)
    with own.client() as client:
        garbage_of_a_queue(client, P)
    jobs = app.enqueue_many([app.task(pow).bind(number, 2) for number in range(100)])
    with Cluster(config) as cluster:
        workers = {one.pid for one in cluster.status().workers}
        assert [app.results.get(job.id, wait=100) for job in jobs] == [number**2 for number in range(100)]
        with own.client() as client:
            garbage_of_a_queue(client, P)
        more = app.enqueue_many([app.task(pow).bind(number, 3) for number in range(100)])
        assert [app.results.get(job.id, wait=100) for job in more] == [number**3 for number in range(100)]
        assert {one.pid for one in cluster.status().workers} == workers
        assert cluster.status().reincarnations.get("crashed", 0) == 0
    app.close()

    told = capfd.readouterr().err
    assert "Traceback" not in told
    assert "CRITICAL" not in told


def test_a_writer_without_a_key_changes_nothing(shared: Any) -> None:
    """What is forged or altered in Redis is refused by its seal."""
    settings = {"name": "writers", "redis": {"unix_socket_path": shared.path}}
    check_a_writer_without_a_key_changes_nothing(settings)


# -- every read, and anything there ---------------------------------------------------------

#: what something of ours begins with, so that what follows is looked at
_HEADS: Final = [
    *(b"", b"\0", b"\1", b"\2", b"\3", b"\4", b"1", b"2", b"3", b"1", b"99", b"-1", b"inf", b"9" * 30, ID),
    b"\1" + bytes(20),
    b"\3" + bytes(20),
    *(b"5:mail", b"0:", b"-7:mail", b"mail", b"\x08\x6a\x04mail", b"\x08\x65\0\0", b"\x08\x6a\x04mail\2"),
    *(struct.pack(">d", number) for number in (time.time() + 3600, float("nan"), float("inf"))),
    struct.pack(">dd", 1.0, 0.0) + ID,
    *(
        state + struct.pack(">dd16sHH", 1.0, 0.0, ID, *lengths) + b"abc"
        for state in (b"1", b"2", b"3")
        for lengths in ((3, 0xFFFF), (0x1FFF, 500), (0x4003, 0xFFFF), (0x1003, 0xFFFF))
    ),
    struct.pack(">dIII", 1.0, 1, 1, 3) + b"abc",
]
words = st.builds(lambda head, tail: head + tail, st.sampled_from(_HEADS), st.binary(max_size=40))
scores = st.one_of(
    st.floats(allow_nan=False),
    st.sampled_from([0.0, 1.0, time.time() * 1000 + 1e6, float("inf"), float("-inf")]),
)
#: all that is under a fixed name and examples of what is not, by the kind that belongs there
_OWN: Final = {
    "list": [b"q", b"s", b"l:token", b"q:5:mail", b"qw"],
    "zset": [
        b"qs",
        b"qs:mail",
        b"l",
        b"d",
        b"xz",
        b"f",
        b"y",
        b"e",
        b"cz",
        b"g:group",
        b"p:limit",
        b"po:limit",
        b"vh:rate",
    ],
    "hash": [b"qp", b"t", b"x", b"r", b"c", b"ch", b"u", b"z:flow"],
    "string": [b"qh", b"n", b"k", b"w", b"b:body", b"v:rate", b"m:mark"],
    "set": [b"w:" + ID],
}
_FILLINGS: Final = {
    "string": st.lists(words, min_size=1, max_size=1),
    "list": st.lists(words, min_size=1, max_size=5),
    "set": st.lists(words, min_size=1, max_size=5),
    "hash": st.lists(st.tuples(words, words), min_size=1, max_size=5),
    "zset": st.lists(st.tuples(words, scores), min_size=1, max_size=5),
}


def under(names: list[bytes], kind: str) -> st.SearchStrategy[tuple[bytes, str, list[Any]]]:
    """Return something of a kind under one of these names."""
    return st.tuples(st.sampled_from(names), st.just(kind), _FILLINGS[kind])


lying = st.one_of(
    *(under(names, kind) for kind, names in _OWN.items()),
    *(under([name for names in _OWN.values() for name in names], kind) for kind in _FILLINGS),
)


def fill(client: Any, key: bytes, kind: str, values: list[Any]) -> None:
    """Put something under a key."""
    if kind == "string":
        client.set(key, values[0])
    elif kind == "list":
        client.rpush(key, *values)
    elif kind == "set":
        client.sadd(key, *values)
    elif kind == "hash":
        client.hset(key, mapping=dict(values))
    else:
        client.zadd(key, dict(values))


def everything(
    broker: RedisBroker, store: RedisResults, schedules: RedisSchedules, ordered: RedisBroker
) -> list[Callable[[], object]]:
    """Return all that reads what lies there."""
    notes = make_coordination(Settings(name="q", beside=store))
    result = StoredResult(ID, State.SUCCESS, b"body", "a.task", "group", time.time())
    schedule = StoredSchedule("one", b"sealed", 1.0)
    return [
        broker.size,
        lambda: broker.dead_letters(10),
        lambda: [broker.requeue([one.id]) for one in broker.dead_letters(3)],
        lambda: [broker.delete([one.id]) for one in broker.dead_letters(3)],
        broker.statuses,
        lambda: broker.publish_status("one", b"status", 60.0),
        lambda: broker.remove_messages([ID]),
        lambda: broker.release_owner(b"owner"),
        lambda: broker.enqueue([message(b"delayed", 0.001)]),
        lambda: [
            broker.settle([Settlement(one.receipt, Action.RETRY, failures=1)]) for one in broker.lease(5, 0.0)
        ],
        lambda: store.get([ID]),
        lambda: store.wait(ID, 0.01),
        lambda: store.group("group"),
        lambda: store.recent(None, 10),
        store.counts,
        lambda: store.save([result]),
        lambda: store.save([StoredResult(ID, State.FAILED, b"body", "a.task", "group", time.time())]),
        lambda: store.prune(1),
        lambda: store.prune(1, "group"),
        lambda: store.prune(1, "label"),
        lambda: store.ungroup("group"),
        lambda: store.delete([ID]),
        schedules.all,
        lambda: schedules.get("one"),
        lambda: schedules.claim_due(time.time(), 5, 60.0),
        lambda: schedules.add(schedule),
        lambda: schedules.advance(schedule, None),
        lambda: schedules.remove("one"),
        lambda: notes.set_flag("mark", b"x", 60.0),
        lambda: notes.get_flags(["mark", "other"]),
        lambda: notes.acquire("limit", b"holder", 1, 60.0),
        lambda: notes.release([("limit", b"holder")]),
        lambda: notes.reserve("rate", b"holder", 0.001, 1),
        lambda: notes.join_barrier([BarrierMember("flow", 0, b"came")], 60.0),
        lambda: notes.barrier_members("flow"),
        lambda: notes.delete_barriers(["flow"]),
        broker.queues,
        broker.peek,
        broker.key_ids,
        lambda: broker.find_messages([ID]),
        lambda: [one.delay for one in broker.waiting(5) or ()],
        lambda: broker.waiting(5, "mail"),
        lambda: broker.pause_queue("mail", paused=True),
        lambda: broker.is_queue_paused("mail"),
        lambda: broker.move_queue("mail", ""),
        lambda: broker.move_queue("", "mail"),
        lambda: broker.purge_queue("mail"),
        lambda: broker.enqueue([Outgoing(os.urandom(16), b"routed", 0.0, "mail", 5)]),
        lambda: ordered.settle([Settlement(one.receipt, Action.RELEASE) for one in ordered.lease(5, 0.0)]),
    ]


def outcome(broker: RedisBroker) -> None:
    """Put a good message in, and lease and settle until it has come."""
    broker.enqueue([message(b"good")])
    end = time.monotonic() + 100
    while time.monotonic() < end:
        leased = broker.lease(100, 0.01)
        broker.settle([Settlement(one.receipt, Action.DEAD_LETTER, reason="so") for one in leased])
        if any(one.body == b"good" for one in leased):
            return
    raise AssertionError("the good message did not come")


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(lying, min_size=1, max_size=10), st.permutations(range(49)))
def test_nothing_that_lies_there_is_an_error(
    any_server: Any, there: list[tuple[bytes, str, list[Any]]], order: list[int]
) -> None:
    """Every read, with anything under any key: no exception, and a good message gets through."""
    with any_server.client(db=7) as client:
        client.flushdb()
        for key, kind, values in {one[0]: one for one in there}.values():
            fill(client, P + key, kind, values)
        if client.type(P + b"l") == b"none":
            client.zadd(P + b"l", {b"token": 1})
    made = Settings(
        name="q", sections={"redis": RedisSettings(unix_socket_path=any_server.path, db=7)}, owner=b"owner"
    )
    broker, store, schedules = RedisBroker(made), RedisResults(made), RedisSchedules(made)
    ordered = RedisBroker(attrs.evolve(made, queues=QueueOrder(["mail", "default"])))
    steps = everything(broker, store, schedules, ordered)
    assert len(steps) == len(order)
    for number in order:
        steps[number]()
    # what anybody has paused is paused
    broker.pause_queue("", paused=False)
    outcome(broker)
    for one in (broker, store, schedules, ordered):
        one.close()


def test_a_key_of_another_kind_is_set_aside_and_told(any_server: Any) -> None:
    """It is kept under another name, and a dead letter says which."""
    made = Settings(name="q", sections={"redis": RedisSettings(unix_socket_path=any_server.path, db=8)})
    broker = RedisBroker(made)
    with any_server.client(db=8) as client:
        client.flushdb()
        client.set(P + b"q", b"precious")
        broker.enqueue([message(b"good")])
        assert [one.body for one in broker.lease(1, 0.0)] == [b"good"]
        (letter,) = broker.dead_letters()
        assert "another kind" in letter.reason
        (kept,) = client.keys(P + b"aside:q:*")
        assert kept.decode() in letter.reason
        assert client.get(kept) == b"precious"
    broker.close()
