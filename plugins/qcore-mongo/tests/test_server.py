"""Behaviour with the server: indexes, sizes, lost answers, expiry."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from qcore.errors import BackendRejected, BackendUnavailable, PayloadTooLarge
from qcore.interfaces import Settings
from qcore.model import Action, Outgoing, Settlement, State, StoredResult
from qcore_mongo import MongoBroker, MongoCoordination, MongoResults, MongoSchedules, MongoSettings, messages
from qcore_mongo.client import Client
from qcore_mongo.indexes import INDEXES, Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def settings(land: Any, database: str) -> Iterator[Callable[..., Settings]]:
    """Return a factory of settings of one queue; fields are those of the table `mongo`."""

    def make(retry: float = 60.0, **fields: Any) -> Settings:
        told = MongoSettings(**{**land.settings, **fields})
        return Settings(name="q", retry=retry, sections={"mongo": told, "mongo_db": database})

    yield make
    with land.client() as client:
        client.drop_database(database)


def test_indexes_are_created_once_and_used_by_name(
    settings: Callable[..., Settings], land: Any, look: Callable[..., Any]
) -> None:
    """Each collection has the indexes of its kind; one that was dropped is created again."""
    broker, results, schedules = (kind(settings()) for kind in (MongoBroker, MongoResults, MongoSchedules))
    broker.enqueue([Outgoing(bytes(16), b"one")])
    broker.publish_status("a", b"status", 60.0)
    results.recent()
    MongoCoordination(Client(settings())).get_flags(["a"])
    schedules.all()

    found = look(land)
    for kind in Kind:
        names = set(found[kind.collection("q")].index_information())
        assert names == {"_id_", *(index.document["name"] for index in INDEXES[kind])}
    found[Kind.MESSAGES.collection("q")].drop_index("qcore_ready")
    with pytest.raises(BackendUnavailable, match="an index is missing; it will be created again"):
        broker.lease(1, 0.0)
    assert len(broker.lease(1, 0.0)) == 1
    for one in (broker, results, schedules):
        one.close()


def test_an_index_with_other_fields_is_reported(
    settings: Callable[..., Settings], land: Any, look: Callable[..., Any]
) -> None:
    """An index of the same name on other fields is refused with what to do."""
    look(land)[Kind.MESSAGES.collection("q")].create_index("body", name="qcore_ready")
    broker = MongoBroker(settings())

    with pytest.raises(BackendRejected, match=r"index of this name .* drop it"):
        broker.enqueue([Outgoing(bytes(16), b"one")])
    broker.close()


def test_ready_messages_are_found_by_the_index(
    settings: Callable[..., Settings], land: Any, look: Callable[..., Any]
) -> None:
    """As many messages are read as are wanted, however many are delayed, leased or dead-lettered."""
    broker = MongoBroker(settings())
    broker.enqueue([Outgoing(os.urandom(16), b"later", 60.0) for _ in range(200)])
    broker.enqueue([Outgoing(os.urandom(16), b"now") for _ in range(200)])
    broker.lease(100, 0.0)
    database = look(land)
    level = database.command("profile", 2)["was"]

    assert len(broker.lease(10, 0.0)) == 10

    database.command("profile", level)
    seen = list(database["system.profile"].find({"ns": {"$regex": "messages$"}}))
    assert {one["command"].get("find") or one["op"] for one in seen} == {"qcore.q.messages", "update"}
    # the update looks each id up, and may look at what stands behind it
    assert [one["docsExamined"] for one in seen] == [10, 10]
    assert all(one["keysExamined"] <= 20 for one in seen)
    broker.close()


def test_a_large_batch_is_leased_in_two_commands(
    settings: Callable[..., Settings], land: Any, look: Callable[..., Any]
) -> None:
    """The driver would fetch the first hundred, and the rest in another command."""
    broker = MongoBroker(settings())
    broker.enqueue([Outgoing(os.urandom(16), b"now") for _ in range(200)])
    database = look(land)
    level = database.command("profile", 2)["was"]

    assert len(broker.lease(150, 0.0)) == 150

    database.command("profile", level)
    seen = list(database["system.profile"].find({"ns": {"$regex": "messages$"}}))
    assert [one["op"] for one in seen] == ["query", "update"]
    broker.close()


@pytest.mark.parametrize("delay", [0.0, 60.0])
def test_an_error_says_which_messages_were_inserted(
    settings: Callable[..., Settings], land: Any, look: Callable[..., Any], delay: float
) -> None:
    """A server that refuses one document of many keeps the others, and `accepted` has their ids."""
    broker = MongoBroker(settings())
    broker.enqueue([Outgoing(os.urandom(16), b"before")])
    rule = {"body": {"$ne": b"refused"}}
    look(land).command("collMod", Kind.MESSAGES.collection("q"), validator=rule)
    sent = [Outgoing(os.urandom(16), b"%d" % number) for number in range(4)]
    sent.insert(2, Outgoing(os.urandom(16), b"refused", delay))

    with pytest.raises(BackendRejected, match="failed validation") as caught:
        broker.enqueue(sent)

    assert sorted(caught.value.accepted) == sorted(one.id for one in sent if one.body != b"refused")
    assert broker.size().ready == 5
    broker.close()


def test_a_missing_certificate_file_is_reported(settings: Callable[..., Settings]) -> None:
    """A missing file is reported as an error of the setting."""
    broker = MongoBroker(settings(host="127.0.0.1", port=1, tls=True, tlsCAFile="/nowhere/ca.pem"))

    with pytest.raises(BackendRejected, match=r"^`mongo`: .*No such file or directory"):
        broker.ping()
    broker.close()


def test_a_result_too_large_is_refused_with_its_size(settings: Callable[..., Settings]) -> None:
    """A result that does not fit into a document is refused before it is sent."""
    store = MongoResults(settings())
    with pytest.raises(PayloadTooLarge, match=r"a\.task has 16777216 bytes"):
        store.save([StoredResult(bytes(16), State.SUCCESS, bytes(16 * 2**20), "a.task")])
    store.close()


def test_the_largest_message_can_fail_and_be_dead_lettered(settings: Callable[..., Settings]) -> None:
    """There is space for all fields that are added to the body."""
    broker = MongoBroker(settings())
    body = bytes(broker.capabilities.max_bytes or 0)
    broker.enqueue([Outgoing(bytes(16), body)])
    (first,) = broker.lease(1, 0.0)
    broker.settle([Settlement(first.receipt, Action.RETRY, failures=2**31 - 1, crashes=2**31 - 1)])
    (again,) = broker.lease(1, 0.0)

    broker.settle([Settlement(again.receipt, Action.DEAD_LETTER, reason="\N{SNOWMAN}\0$" * 20_000)])

    (letter,) = broker.dead_letters()
    assert (letter.body, letter.failures) == (body, 0)
    assert letter.reason.startswith("\N{SNOWMAN}\\0$")
    broker.close()


def test_a_reason_is_not_an_expression(settings: Callable[..., Settings]) -> None:
    """A text that looks like a field's name, and one with invalid characters, are stored unchanged."""
    broker = MongoBroker(settings())
    reasons = ["$body", "$$NOW", "half \ud800 of a character"]
    broker.enqueue([Outgoing(os.urandom(16), reason.encode(errors="replace")) for reason in reasons])
    found = broker.lease(3, 0.0)

    broker.settle(
        [
            Settlement(one.receipt, Action.DEAD_LETTER, reason=reason)
            for one, reason in zip(found, reasons, strict=True)
        ]
    )

    assert [one.reason for one in broker.dead_letters()] == ["$body", "$$NOW", "half \\ud800 of a character"]
    broker.close()


def test_messages_are_ordered_by_the_server_whatever_the_clocks_say(
    settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A producer whose clock is an hour ahead does not change the order."""
    one, other = MongoBroker(settings()), MongoBroker(settings())
    one.enqueue([Outgoing(os.urandom(16), b"1")])
    with monkeypatch.context() as patch:
        now = time.time
        patch.setattr(time, "time", lambda: now() + 3600)
        one.enqueue([Outgoing(os.urandom(16), b"2")])
        one.enqueue([Outgoing(os.urandom(16), b"later", 30.0)])
    other.enqueue([Outgoing(os.urandom(16), b"3")])

    assert [found.body for found in other.lease(10, 0.0)] == [b"1", b"2", b"3"]
    one.close()
    other.close()


def test_the_server_removes_expired_documents(
    settings: Callable[..., Settings], land: Any, look: Callable[..., Any]
) -> None:
    """Expired results, coordination records and statuses are removed without a request."""
    broker, results = MongoBroker(settings()), MongoResults(settings())
    broker.publish_status("a", b"status", 0.1)
    results.save([StoredResult(bytes(16), State.FAILED, b"", "a.task", expires=time.time() - 1)])
    MongoCoordination(Client(settings())).set_flag("a", b"mark", 0.1)

    database, end = look(land), time.monotonic() + 90
    kinds = (Kind.STATUSES, Kind.RESULTS, Kind.NOTES)
    while any(database[kind.collection("q")].count_documents({}) for kind in kinds):
        assert time.monotonic() < end
        threading.Event().wait(0.1)
    broker.close()
    results.close()


class Line:
    """A proxy to a server that can drop answers, and can end connections instead of answering."""

    def __init__(self, port: int) -> None:
        self.answers = True
        self.cut = False
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._open: list[socket.socket] = [self._listener]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
                self._open += [client, server]
                for source, sink, back in ((client, server, False), (server, client, True)):
                    thread = threading.Thread(target=self._pump, args=(source, sink, back), daemon=True)
                    self._threads.append(thread)
                    thread.start()

    def _pump(self, source: socket.socket, sink: socket.socket, back: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if self.cut and back:
                    break
                # what is swallowed stays swallowed: the line is of no more use
                if self.answers or not back:
                    sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close all connections."""
        for one in self._open:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
        for one in self._open:
            one.close()


@pytest.fixture
def line(land: Any) -> Iterator[Line]:
    """Return a proxy to the server."""
    made = Line(land.nodes[0].port)
    yield made
    made.close()


@pytest.fixture
def by_line(settings: Callable[..., Settings], line: Line) -> Callable[..., Settings]:
    """Return a factory of settings that use the proxy; it is soon clear that it lets nobody through."""
    told = {
        "host": "127.0.0.1", "port": line.port, "replicaSet": None, "directConnection": True,
        "serverSelectionTimeoutMS": 1000,
    }  # fmt: skip
    return lambda **fields: settings(**{**told, **fields})


def test_a_claim_whose_answer_is_lost_is_released(by_line: Callable[..., Settings], line: Line) -> None:
    """It is not known what was claimed, so the next call releases it before the lease expires."""
    broker = MongoBroker(by_line())
    broker.enqueue([Outgoing(os.urandom(16), b"one")])
    broker.size()
    claims = broker._claims
    claims._unknown[b"x" * 12] = []
    claims.release_unknown()
    claim = claims._claim

    def cut(copies: Any) -> Any:
        line.cut = True
        return claim(copies)

    claims._claim = cut  # type: ignore[method-assign]  # the line is cut between two commands
    with pytest.raises(BackendUnavailable):
        broker.lease(1, 0.0)
    claims._claim = claim  # type: ignore[method-assign]  # as above
    assert claims._unknown
    line.cut = False

    (found,) = lease_when_it_is_back(broker)

    assert (found.body, found.deliveries) == (b"one", 1)
    broker.close()


def lease_when_it_is_back(broker: MongoBroker) -> Any:
    """Lease, and repeat the call while the broker is unavailable, as a worker does."""
    end = time.monotonic() + 100
    while True:
        try:
            if found := broker.lease(1, 0.0):
                return found
        except BackendUnavailable:
            pass
        assert time.monotonic() < end


def test_an_enqueue_whose_answer_is_lost_may_be_repeated(
    by_line: Callable[..., Settings], line: Line
) -> None:
    """The error says that the message may have been accepted; repeating the call adds no second one."""
    broker = MongoBroker(by_line())
    sent = Outgoing(os.urandom(16), b"one")
    broker.size()
    line.cut = True
    with pytest.raises(BackendUnavailable, match="may have been accepted"):
        broker.enqueue([sent])
    line.cut = False

    end = time.monotonic() + 100
    while True:
        with contextlib.suppress(BackendUnavailable):
            broker.enqueue([sent])
            break
        assert time.monotonic() < end

    assert len(lease_when_it_is_back(broker)) == 1
    assert list(broker.lease(1, 0.0)) == []
    broker.close()


def test_closing_does_not_wait_for_a_server_that_does_not_answer(
    by_line: Callable[..., Settings], line: Line
) -> None:
    """Closing takes at most a second or two, whatever the server does."""
    broker = MongoBroker(by_line(serverSelectionTimeoutMS=20_000, socketTimeoutMS=20_000))
    broker.enqueue([Outgoing(os.urandom(16), b"one")])
    assert len(broker.lease(1, 0.0)) == 1
    broker.lease(1, 0.5)
    line.answers = False

    since = time.monotonic()
    broker.close()

    assert time.monotonic() - since < 10


def test_hidden_messages_are_neither_leased_nor_counted(settings: Callable[..., Settings]) -> None:
    """Hidden messages of a process that died do not affect a queue."""
    broker = MongoBroker(settings())
    sent = Outgoing(os.urandom(16), b"slot")
    messages.hide(broker._client.collection(Kind.MESSAGES), [sent])

    assert list(broker.lease(1, 0.0)) == []
    assert (broker.size().ready, broker.purge()) == (0, 0)
    assert list(broker.remove_messages([sent.id])) == []
    broker.enqueue([sent])
    assert [one.body for one in broker.lease(2, 0.0)] == [b"slot"]
    messages.show(broker._client.collection(Kind.MESSAGES), [sent.id])
    assert list(broker.lease(1, 0.0)) == []
    broker.close()
