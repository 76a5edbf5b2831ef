"""What Redis and its connections do to a queue, and that nothing is lost."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from qcore.errors import BackendRejected, BackendUnavailable
from qcore.interfaces import Settings
from qcore.model import Action, Outgoing, Settlement, State, StoredResult
from qcore_redis import RedisBroker, RedisResults, RedisSettings, error_mapping
from qcore_redis import connection as connection_module
from qcore_redis.connection import Connection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def settings(server: Any, **fields: Any) -> Settings:
    """Return settings of a queue that no other test has."""
    return named(f"q{os.urandom(4).hex()}", RedisSettings(unix_socket_path=server.path), **fields)


def named(name: str, section: Any, **fields: Any) -> Settings:
    """Return settings with this section."""
    return Settings(name=name, sections={"redis": section}, **fields)


def put(broker: RedisBroker, *bodies: bytes, delay: float = 0.0) -> None:
    """Enqueue messages with these bodies."""
    broker.enqueue([Outgoing(os.urandom(16), body, delay) for body in bodies])


def acks(deliveries: Any) -> list[Settlement]:
    """Return settlements that remove messages."""
    return [Settlement(one.receipt) for one in deliveries]


def result(body: bytes) -> StoredResult:
    """Return a success."""
    return StoredResult(os.urandom(16), State.SUCCESS, body, "a.task", None, time.time(), time.time() + 600)


def drain(broker: RedisBroker, wait: float = 0.0) -> list[bytes]:
    """Take and settle all there is."""
    found = []
    while taken := broker.lease(100, wait):
        found += [one.body for one in taken]
        broker.settle(acks(taken))
    return found


def in_time(call: Callable[[], Any]) -> Any:
    """Return what a call returns as soon as the server answers."""
    end = time.monotonic() + 100
    while True:
        try:
            return call()
        except BackendUnavailable:
            if time.monotonic() > end:
                raise
            threading.Event().wait(0.01)


def test_a_wait_that_runs_out_loses_nothing(shared: Any) -> None:
    """A message that comes at the very moment a wait ends is found by the next."""
    made = settings(shared)
    consumer, producer = RedisBroker(made), RedisBroker(made)
    got: list[bytes] = []
    for turn in range(5):
        timer = threading.Timer(0.1, put, (producer, b"%d" % turn))
        timer.start()
        got += [one.body for one in consumer.lease(1, 0.1)]
        timer.join()
        got += [one.body for one in consumer.lease(1, 1.0)] if len(got) <= turn else []

    assert got == [b"0", b"1", b"2", b"3", b"4"]


def test_scripts_are_loaded_again(any_server: Any) -> None:
    """SCRIPT FLUSH between any two calls changes nothing."""
    broker = RedisBroker(settings(any_server))
    put(broker, *[b"%d" % number for number in range(30)])
    found = []
    with any_server.client() as client:
        taken = broker.lease(7, 0.0)
        while taken:
            client.script_flush()
            found += [one.body for one in taken]
            taken = broker.commit_and_lease(None, (), acks(taken), 7)
        client.script_flush()

    assert list(broker.lease(1, 0.05)) == []
    assert found == [b"%d" % number for number in range(30)]


def test_leases_survive_the_server(own: Any) -> None:
    """With an append-only file a restart keeps what is queued, leased and settled."""
    made = settings(own, retry=1.0)
    broker = RedisBroker(made)
    put(broker, b"done", b"held", b"waiting")
    done, _held = broker.lease(2, 0.0)
    own.kill()

    with pytest.raises(BackendUnavailable, match="does not answer"):
        broker.ping()
    own.start()
    in_time(broker.ping)
    broker.settle(acks([done]))

    assert sorted(drain(broker, 2.0)) == [b"held", b"waiting"]


def silent(link: Any) -> None:
    """Wait until a connection is looked at before it is used; a server can be back sooner."""
    while any(
        time.monotonic() - connection._answered <= connection_module._SILENCE for connection in link._cell
    ):
        pass


def test_a_connection_that_was_closed_in_silence_costs_nobody_a_task(own: Any) -> None:
    """A producer that enqueued before a restart, or long ago, is not refused for it."""
    made = settings(own)
    broker, results = RedisBroker(made), RedisResults(made)
    put(broker, b"before")
    own.kill()
    own.start()
    silent(broker._link)

    put(broker, b"after")
    results.save([kept := result(b"body")])
    own.kill()
    own.start()
    silent(results._link)
    silent(broker._link)

    assert results.get([kept.id]) == [kept]
    assert drain(broker) == [b"before", b"after"]


def test_a_waiting_consumer_outlives_the_server(own: Any) -> None:
    """A consumer that waits learns that the server died, and goes on with the next."""
    made = settings(own)
    consumer = RedisBroker(made)
    killing = threading.Timer(0.2, own.kill)
    killing.start()
    with pytest.raises(BackendUnavailable):
        consumer.lease(1, 20.0)
    killing.join()
    own.start()
    put(RedisBroker(made), b"after")

    assert [one.body for one in in_time(lambda: consumer.lease(1, 1.0))] == [b"after"]


def test_a_paused_server_loses_nothing(own: Any) -> None:
    """CLIENT PAUSE makes waits longer, and what they get is still theirs."""
    made = settings(own, retry=5.0)
    consumer, producer = RedisBroker(made), RedisBroker(made)
    with own.client() as client:
        client.execute_command("CLIENT", "PAUSE", 300, "ALL")
        got = list(consumer.lease(1, 0.1))
    put(producer, b"one")
    got += consumer.lease(1, 2.0)

    assert [one.body for one in got] == [b"one"]
    consumer.settle(acks(got))
    assert consumer.size().ready == consumer.size().leased == 0


def test_a_replica_is_told_as_such(own: Any) -> None:
    """A failover is an obstacle that passes: the same broker goes on after it."""
    broker = RedisBroker(settings(own))
    put(broker, b"before")
    with own.client() as client:
        client.execute_command("REPLICAOF", "127.0.0.1", "1")
        with pytest.raises(BackendUnavailable, match="it is a replica"):
            put(broker, b"lost")
        with pytest.raises(BackendUnavailable, match="it is a replica"):
            broker.lease(1, 0.0)
        client.execute_command("REPLICAOF", "NO", "ONE")

    assert drain(broker) == [b"before"]


@pytest.mark.parametrize("kind", ["redis7", "valkey9", "redis6.2"])
def test_a_full_server_is_drained(start: Callable[..., Any], kind: str) -> None:
    """At maxmemory nothing new is accepted, and consumers go on, results included."""
    server = start(kind)
    made = settings(server)
    broker, store = RedisBroker(made), RedisResults(made)
    put(broker, *[bytes(2000)] * 1000)
    with server.client() as client:
        client.config_set("maxmemory", client.info("memory")["used_memory"] // 2)
        with pytest.raises(BackendUnavailable, match="maxmemory"):
            put(broker, b"one too many")
        with pytest.raises(BackendUnavailable, match="maxmemory"):
            put(broker, b"one too many", delay=5.0)
        taken = list(broker.lease(100, 0.0))
        count = 0
        while taken:
            count += len(taken)
            taken = list(broker.commit_and_lease(store, [result(b"r") for _ in taken], acks(taken), 100))
        client.config_set("maxmemory", 0)

    assert count == 1000
    assert store.counts() == {State.SUCCESS: 1000}


# -- connections that are cut ---------------------------------------------------------------


@pytest.fixture
def behind(own: Any, make_proxy: Callable[[str], Any]) -> Iterator[tuple[Any, Callable[..., RedisBroker]]]:
    """Return a proxy and a maker of brokers behind it."""
    proxy = make_proxy(own.path)
    made: list[RedisBroker] = []

    def make(**fields: Any) -> RedisBroker:
        section = RedisSettings(host="127.0.0.1", port=proxy.port, socket_timeout=2.0)
        made.append(RedisBroker(named("cut", section, **fields)))
        return made[-1]

    yield proxy, make
    for broker in made:
        broker.close()


def test_a_dead_line_is_noticed(behind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer that is gone without a word is asked once, and for no longer than wait and timeout."""
    proxy, make = behind
    broker = make()
    broker.ping()
    proxy.forward = False
    seconds: list[float] = []
    ask = Connection.ask

    def noted(connection: Connection, words: tuple[Any, ...], deadline: float, before: Any = ()) -> Any:
        seconds.append(deadline - time.monotonic())
        return ask(connection, words, deadline, before)

    monkeypatch.setattr(Connection, "ask", noted)
    with pytest.raises(BackendUnavailable, match="does not answer"):
        broker.lease(1, 0.2)

    (given,) = seconds
    assert given <= 2.0 + 0.2
    proxy.forward = True
    put(broker, b"healed")
    assert drain(broker) == [b"healed"]


def test_what_nobody_learnt_of_is_not_held(behind: Any) -> None:
    """Messages of a lost reply are ready again as soon as the line is back."""
    proxy, make = behind
    broker = make(retry=60.0)
    put(broker, *[b"%d" % number for number in range(5)])
    first = broker.lease(2, 0.0)
    proxy.answer = False
    with pytest.raises(BackendUnavailable):
        broker.commit_and_lease(None, (), acks(first), 5)

    proxy.answer = True
    again = [*broker.commit_and_lease(None, (), acks(first), 5), *broker.lease(5, 0.0)]

    assert [one.body for one in again] == [b"2", b"3", b"4"]
    assert {one.deliveries for one in again} == {1}
    broker.settle(acks(again))
    assert (broker.size().ready, broker.size().leased) == (0, 0)


def test_a_message_caught_in_a_cut_wait_comes_back(behind: Any, own: Any) -> None:
    """A wait whose answer is lost may have got a message: it is not held for long."""
    proxy, make = behind
    consumer = make(retry=60.0)
    consumer.ping()
    proxy.answer = True
    producer = RedisBroker(named("cut", RedisSettings(unix_socket_path=own.path)))

    def cut_and_put() -> None:
        proxy.answer = False
        put(producer, b"caught")

    threading.Timer(0.2, cut_and_put).start()
    with pytest.raises(BackendUnavailable):
        consumer.lease(1, 1.0)
    proxy.answer = True

    assert [one.body for one in consumer.lease(1, 5.0)] == [b"caught"]


def test_an_unsure_enqueue_says_so(behind: Any) -> None:
    """Nothing is sent twice: the caller learns that it may have been accepted."""
    proxy, make = behind
    broker = make()
    broker.ping()
    proxy.answer = False
    with pytest.raises(BackendUnavailable, match="may have been accepted"):
        put(broker, b"perhaps")
    proxy.answer = True

    assert drain(broker, 0.5) == [b"perhaps"]


# -- words ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "kind", "told"),
    [
        ("LOADING Redis is loading the dataset in memory", BackendUnavailable, "reading its data"),
        ("READONLY You can't write against a read only replica.", BackendUnavailable, "replica"),
        ("MASTERDOWN Link with MASTER is down", BackendUnavailable, "lost its primary"),
        ("CLUSTERDOWN The cluster is down", BackendUnavailable, "cluster is down"),
        ("TRYAGAIN Multiple keys request during rehashing", BackendUnavailable, "moving"),
        ("MOVED 1 127.0.0.1:7000", BackendUnavailable, "redis+cluster://"),
        ("ASK 1 127.0.0.1:7000", BackendUnavailable, "moving"),
        (
            "ERR Script attempted to access a non local key in a cluster node script: f, on @user_script:15.",
            BackendUnavailable,
            "moving",
        ),
        (
            "ERR Script attempted to execute a command while the cluster is down",
            BackendUnavailable,
            "is down",
        ),
        ("OOM command not allowed when used memory > 'maxmemory'.", BackendUnavailable, "maxmemory"),
        ("ERR max number of clients reached", BackendUnavailable, "maxclients"),
        ("MISCONF Errors writing to the AOF file", BackendUnavailable, "disk"),
        ("NOAUTH Authentication required.", BackendRejected, "redis.password"),
        ("WRONGPASS invalid username-password pair", BackendRejected, "redis.username"),
        ("NOPERM this user has no permissions", BackendRejected, "ACL"),
        ("WRONGTYPE Operation against a key", BackendRejected, "another program"),
        (
            "ERR Error running script (call to f_1): @user_script:4: -READONLY no",
            BackendUnavailable,
            "replica",
        ),
        ("ERR unknown command", BackendRejected, "unknown command"),
    ],
)
def test_an_error_says_what_to_do(text: str, kind: type[Exception], told: str) -> None:
    """What may pass is unavailable, what will not is refused; both in words."""
    error = error_mapping.refused(Exception(text), "db:6379/0")

    assert isinstance(error, kind)
    assert told in str(error)
    assert "db:6379/0" in str(error)


def test_a_missing_or_wrong_password_is_refused(start: Callable[..., Any]) -> None:
    """Waiting does not help; and no password is ever shown."""
    server = start("redis7")
    with server.client() as client:
        client.config_set("requirepass", "the-secret")
    for section in (
        RedisSettings(unix_socket_path=server.path),
        RedisSettings(unix_socket_path=server.path, password="not-the-secret"),
    ):
        with pytest.raises(BackendRejected, match=r"redis\.password") as caught:
            RedisBroker(named("kit", section)).ping()
        assert "secret" not in str(caught.value).replace("redis.password", "")

    section = RedisSettings(unix_socket_path=server.path, password="the-secret")
    broker = RedisBroker(named("kit", section))
    broker.ping()
    assert "the-secret" not in f"{broker.info()}{section!r}{broker.capabilities}"
    with server.client(password="the-secret") as client:
        client.config_set("requirepass", "")


# -- room and time --------------------------------------------------------------------------


def test_settled_messages_leave_nothing(any_server: Any) -> None:
    """After all is settled, deleted or forgotten, no key is left."""
    made = settings(any_server)
    broker, store = RedisBroker(made), RedisResults(made)
    with any_server.client() as client:
        client.flushall()
        bodies = [b"small", bytes(20_000)] * 20
        put(broker, *bodies)
        put(broker, b"later", bytes(30_000), delay=0.05)
        kept = []
        for action in (Action.RETRY, Action.RELEASE, Action.RETRY):
            taken = broker.lease(40, 0.0)
            broker.settle([Settlement(one.receipt, action, failures=1) for one in taken])
        while taken := broker.lease(9, 0.2):
            results = [result(b"r") for _ in taken]
            kept += [one.id for one in results]
            broker.commit_and_lease(store, results, acks(taken[:-1]), 0)
            broker.settle([Settlement(taken[-1].receipt, Action.DEAD_LETTER, reason="no")])
        letters = broker.dead_letters(1000)
        assert {len(letter.body) for letter in letters} <= {5, 20_000, 30_000}
        assert broker.delete([letter.id for letter in letters]) == len(letters)
        assert store.delete(kept) == len(kept) == 42
        broker.close()

        names = client.keys("*")

    # the counter from which ids are made is all there is
    assert [name.rpartition(b":")[2] for name in names] in ([], [b"n"])


def test_the_oldest_message_is_shown_whole(shared: Any) -> None:
    """A large body lies apart from its item, and a call to look at what is due is not shown."""
    broker = RedisBroker(settings(shared))
    put(broker, bytes(20_000), b"small")
    assert broker.peek() == bytes(20_000)

    with shared.client() as client:
        client.lpush(broker._queue, b"\4")

    assert broker.peek() == bytes(20_000)
    while not (leased := broker.lease(1, 0.0)):
        continue
    broker.settle(acks(leased))
    assert broker.peek() == b"small"


def test_a_purge_takes_large_bodies_along(shared: Any) -> None:
    """Bodies that lie apart go with their messages."""
    made = settings(shared)
    broker = RedisBroker(made)
    put(broker, bytes(20_000), b"small", bytes(20_000))
    put(broker, bytes(20_000), delay=60.0)

    assert broker.purge() == 4

    with shared.client() as client:
        assert client.keys(f"*{made.name}*b:*") == []


def test_one_that_waits_learns_of_what_is_due_sooner(shared: Any) -> None:
    """A delayed message does not have to wait until a consumer's wait is over."""
    made = settings(shared)
    consumer, producer = RedisBroker(made), RedisBroker(made)
    threading.Timer(0.2, put, (producer, b"soon"), {"delay": 0.3}).start()

    since = time.monotonic()
    taken = consumer.lease(1, 20.0)

    assert [one.body for one in taken] == [b"soon"]
    assert 0.4 < time.monotonic() - since < 19
    consumer.settle(acks(taken))
    assert consumer.size().ready == consumer.size().leased == 0


def test_a_queued_message_takes_little_room(shared: Any) -> None:
    """A message costs its body and some ten bytes."""
    broker = RedisBroker(settings(shared))
    with shared.client() as client:
        before = client.info("memory")["used_memory"]
        for _ in range(20):
            put(broker, *[bytes(100)] * 1000)
        used = client.info("memory")["used_memory"] - before
    broker.purge()

    assert used / 20_000 < 125


def test_no_worker_hoards(shared: Any) -> None:
    """A batch is no more than a fair share of what is there."""
    made = settings(shared)
    # workers are told apart by their owners
    brokers = [RedisBroker(attrs.evolve(made, owner=b"%d" % number * 16)) for number in range(4)]
    put(brokers[0], *[b"%d" % number for number in range(102)])
    for broker in brokers:
        broker.lease(1, 0.0)

    assert len(brokers[0].lease(100, 0.0)) == 25


def test_expired_results_go_by_themselves(shared: Any) -> None:
    """A worker that looks for work forgets what is over; nobody has to ask."""
    made = settings(shared)
    broker, store = RedisBroker(made), RedisResults(made)
    now = time.time()
    store.save([StoredResult(os.urandom(16), state, b"r", "t", "g", now, now + 0.2) for state in State])

    broker.lease(1, 0.5)
    broker.lease(1, 0.2)

    with shared.client() as client:
        assert client.hlen(f"{{qcore:{made.name}}}:r") == 0
        assert client.llen(f"{{qcore:{made.name}}}:s") == 0


def test_many_results_are_pruned_and_the_newest_stay(shared: Any) -> None:
    """Thousands are forgotten at once; what stays is the newest, whatever order they were saved in."""
    store = RedisResults(settings(shared))
    now = time.time()
    many = [
        StoredResult(os.urandom(16), State.SUCCESS, b"r", "t", "g" if number % 7 else None, now + number)
        for number in range(5000)
    ]
    mixed = [one for start in range(0, 5000, 100) for one in reversed(many[start : start + 100])]
    for start in range(0, 5000, 250):
        store.save(mixed[start : start + 250])

    assert store.prune(130) == 4870

    assert list(store.get([one.id for one in many])) == [None] * 4870 + many[-130:]
    assert list(store.group("g")) == [one for one in many[-130:] if one.group]
    assert [one.id for one in store.recent(limit=130)] == [one.id for one in reversed(many[-130:])]


def test_a_reason_that_is_no_text_is_kept(shared: Any) -> None:
    """A lone surrogate in the text of an error does not stop a dead letter."""
    broker = RedisBroker(settings(shared))
    put(broker, b"bad")
    (one,) = broker.lease(1, 0.0)

    broker.settle([Settlement(one.receipt, Action.DEAD_LETTER, reason="ValueError: \ud800")])

    assert [letter.reason for letter in broker.dead_letters()] == ["ValueError: \\ud800"]


def test_a_server_that_still_reads_its_data_is_waited_for(start: Callable[..., Any]) -> None:
    """-LOADING is an obstacle that passes: it is reported as such, and nothing is missing afterwards."""
    server = start("redis7", "--appendonly", "yes")
    made = settings(server)
    before = RedisBroker(made)
    for number in range(2500):
        put(before, b"%d" % number)
    server.client().config_set("appendfsync", "always")
    put(before, b"the last")
    server.kill()

    # It answers others once in 1,024 commands it reads; each is to take a millisecond.
    server.restart("--key-load-delay", "1000")
    told = ""
    end = time.monotonic() + 100
    while "still reading its data" not in told and time.monotonic() < end:
        with pytest.raises(BackendUnavailable) as caught:
            before.ping()
        told = str(caught.value)
    in_time(before.ping)

    assert "still reading its data from disk" in told
    assert len(drain(before)) == 2501


def test_a_millisecond_is_no_eternity(any_server: Any) -> None:
    """Redis 6.2 takes a wait of 0.001 seconds for none at all, which is its word for without end."""
    section = RedisSettings(unix_socket_path=any_server.path, socket_timeout=2)
    made = named(f"q{os.urandom(4).hex()}", section)
    broker, results = RedisBroker(made), RedisResults(made)

    with any_server.client() as client:
        # a server looks ten times a second whose wait is over: the test took half a minute
        client.config_set("hz", 500)
        for microseconds in range(100, 3000, 20):
            assert not broker.lease(1, microseconds / 1e6)
            assert results.wait(b"nobody".ljust(16), microseconds / 1e6) is None
        client.config_set("hz", 10)

    broker.close()
    results.close()
