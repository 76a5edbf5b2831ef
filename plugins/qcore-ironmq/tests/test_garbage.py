"""Whatever IronMQ contains, or answers in its place, ends no worker."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from qcore.errors import BackendError, BackendRejected
from qcore.interfaces import Settings
from qcore.model import Action, Outgoing, Settlement
from qcore_ironmq import IronBroker, IronSettings, codec
from qcore_ironmq.reservations import Tickets
from qcore_plugin_support import CountedMessage
from qcore_testing.beside_garbage import check_tasks_run_beside_garbage

from .conftest import post

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from .conftest import Server

#: what a broker may raise
ALLOWED = BackendError
RECEIPT: Final = b"owner:4611686018427387904:00ff"

quickly = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def broker_at(place: dict[str, Any], name: str = "alone") -> IronBroker:
    """Return a broker on a server."""
    return IronBroker(Settings(name=name, sections={"iron_mq": IronSettings(**place)}, retry=30.0))


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Note reservations where nobody else does."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


# -- garbage in the queue and among the dead letters ------------------------------------------


def coded(body: bytes, written_at: float = 0.0) -> str:
    """Return the text of a message."""
    return codec.encode(CountedMessage(body, written_at=written_at))


#: texts of anybody's, and such as look like ours at first sight
bodies = (
    st.text(max_size=80)
    | st.sampled_from(["", "AQ==", "\0", "\ufeff", "=" * 9])
    | st.binary(max_size=60).map(lambda tail: coded(b"")[:2] + coded(tail))
)


@quickly
@given(strange=st.lists(bodies, min_size=1, max_size=5))
@example(
    strange=[
        coded(b"", written_at=float("nan")),
        coded(b"", written_at=float("inf")),
        "\udfff",
    ]
)
def test_strange_dead_letters_are_listed_and_removed(ironmq: Server, strange: list[str]) -> None:
    """Their times can be shown, and their order does not depend on what is not a number."""
    name = f"letters-{os.urandom(6).hex()}"
    with contextlib.closing(broker_at(ironmq.settings, name)) as broker:
        post(ironmq, f"{name}.dead_letters", strange)

        letters = broker.dead_letters()

        assert len(letters) == len(strange)
        assert all(0 <= letter.dead_since < 1e12 for letter in letters)
        assert broker.delete([letter.id for letter in letters]) == len(strange)


@given(told=st.text(max_size=100))
@example(told="\ud800")
def test_any_text_can_be_read_and_written(told: str) -> None:
    """What is read can be written again, with the same counters."""
    item = codec.decode(told)

    assert codec.decode(codec.encode(item)) == item


@quickly
@given(written=st.binary(max_size=80))
@example(written=b"[" * 100_000)
@example(written=b'{"4611686018427387904": 5, "b": ["c"], "d": "e"}')
@example(written=b"\xff\xfe")
def test_any_file_of_reservations_can_be_read(written: bytes) -> None:
    """What is not a reservation counts as none."""
    tickets = Tickets("place")
    with tickets.of("owner"):
        pass
    tickets._path("owner").write_bytes(written)

    with tickets.of("owner") as known:
        assert all(isinstance(part, str) for pair in known.items() for part in pair)


# -- what answers -----------------------------------------------------------------------------


class Liar:
    """A server that answers every request with what it is told to say."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.says = b""
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def settings(self) -> dict[str, Any]:
        """Return the table that leads to it."""
        return {"host": "127.0.0.1", "port": self.port, "protocol": "http", "token": "t", "project_id": "p"}

    def tell(self, answer: Any) -> None:
        """Say this as JSON."""
        data = json.dumps(answer).encode()
        self.says = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(data), data)

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._socket.accept()
                threading.Thread(target=self._talk, args=(client,), daemon=True).start()

    def _talk(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            if client.recv(1 << 16):
                client.sendall(self.says)
            # what is not a whole answer ends here, and nobody waits for the rest of it
            client.shutdown(socket.SHUT_WR)
            while client.recv(1 << 16):
                pass


@pytest.fixture(scope="module")
def liar() -> Iterator[Liar]:
    """Return a server that lies."""
    made = Liar()
    yield made
    made.close()


values = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["4611686018427387904", "00ff", "AQ==", "Queue not found", "Reservation timed out"])
)
names = st.sampled_from(
    ["id", "body", "reserved_count", "reservation_id", "size", "messages", "message", "ids", "queue", "msg"]
)
answers = st.recursive(
    values,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=6),
    max_leaves=20,
)
OK: Final = b"HTTP/1.1 200 OK\r\n"
torn = [
    b"",
    b"HTTP/1.1",
    b"HTTP/1.1 abc\r\n\r\n",
    b"HTTP/1.1 999 \xff\r\n\r\n",
    b"\0" * 40,
    b"*1\r\n$3\r\n",
    OK + b"\r\n",
    OK + b"\xff: \xfe\r\n\r\n",
    OK + b"a: b\r\n" * 200,
    OK + b"Content-Length: 50\r\n\r\n{}",
    OK + b"Content-Length: x\r\n\r\n{",
    OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    OK + b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",
    OK + b"Content-Length: 100000\r\n\r\n" + b"[" * 100_000,
    OK + b"Content-Length: 5002\r\n\r\n[" + b"9" * 5000 + b"]",
    b"HTTP/1.1 301 Moved\r\nLocation: http://[\r\nContent-Length: 0\r\n\r\n",
]

CALLS: Final[list[Callable[[IronBroker], object]]] = [
    lambda broker: broker.enqueue([Outgoing(bytes(16), b"work")]),
    lambda broker: broker.lease(5, 0),
    lambda broker: broker.settle([Settlement(RECEIPT, Action.RETRY)]),
    lambda broker: broker.settle([Settlement(RECEIPT)]),
    lambda broker: broker.extend([RECEIPT], 60.0),
    lambda broker: broker.size(),
    lambda broker: broker.peek(),
    lambda broker: broker.waiting(5),
    lambda broker: broker.dead_letters(),
    lambda broker: broker.requeue(["4611686018427387904"]),
    lambda broker: broker.delete(["4611686018427387904"]),
    lambda broker: broker.ping(),
]


@pytest.mark.parametrize("call", range(len(CALLS)))
@quickly
@given(
    answer=answers | st.dictionaries(names, answers), status=st.sampled_from([200, 201, 400, 404, 403, 500])
)
@example(answer={"msg": "Queue not found"}, status=404)
@example(answer={"msg": "Reservation has timed out"}, status=403)
def test_any_answer_is_taken_or_refused(liar: Liar, call: int, answer: Any, status: int) -> None:
    """By the errors that a worker knows how to take, and by no other."""
    liar.tell(answer)
    liar.says = liar.says.replace(b"200 OK", b"%d X" % status, 1)
    with contextlib.closing(broker_at(liar.settings)) as broker, contextlib.suppress(ALLOWED):
        CALLS[call](broker)


@pytest.mark.parametrize("call", range(len(CALLS)))
@pytest.mark.parametrize("says", torn)
def test_a_torn_answer_is_an_error_of_the_backend(liar: Liar, call: int, says: bytes) -> None:
    """Cut off, or no HTTP at all."""
    liar.says = says
    with contextlib.closing(broker_at(liar.settings)) as broker, pytest.raises(ALLOWED):
        CALLS[call](broker)


@quickly
@given(says=st.binary(max_size=80) | st.binary(max_size=40).map(lambda tail: b"HTTP/1.1 200 OK\r\n" + tail))
def test_any_bytes_are_an_error_of_the_backend(liar: Liar, says: bytes) -> None:
    """What is not an answer is none, whatever it is."""
    liar.says = says
    with contextlib.closing(broker_at(liar.settings)) as broker, pytest.raises(ALLOWED):
        broker.ping()


@quickly
@given(strange=st.lists(answers, max_size=5), place=st.integers(0, 5))
def test_a_good_message_is_not_held_up_by_what_is_none(liar: Liar, strange: list[Any], place: int) -> None:
    """What cannot be read is logged and ignored; what comes with it is delivered."""
    good = {
        "id": "1",
        "body": coded(b"good"),
        "reserved_count": 1,
        "reservation_id": "2",
    }
    liar.tell({"messages": [*strange[:place], good, *strange[place:]]})

    with contextlib.closing(broker_at(liar.settings)) as broker:
        leased = broker.lease(10, 0)
    with contextlib.closing(broker_at(liar.settings)) as broker:
        letters = broker._dead_letters._peeked()

    assert b"good" in [one.body for one in leased]
    assert b"good" in [one.item.body for one in letters]


@pytest.mark.parametrize("body", [None, 5, ["x"], {"a": "b"}])
def test_a_message_without_text_can_be_dead_lettered(liar: Liar, body: Any) -> None:
    """It has an id, so that it can be taken out of the way."""
    liar.tell({"messages": [{"id": "1", "body": body, "reserved_count": "many", "reservation_id": "2"}]})

    with contextlib.closing(broker_at(liar.settings)) as broker:
        (delivery,) = broker.lease(10, 0)

    assert (delivery.body, delivery.deliveries) == (json.dumps(body).encode(), 1)


@pytest.mark.parametrize("ids", [[], ["1"], ["1", "2", "3"]])
def test_messages_count_as_accepted_only_by_an_id_for_each(
    start: Callable[..., Server], ids: list[str]
) -> None:
    """Fewer or more are an error to whoever enqueues."""
    server = start()
    with contextlib.closing(broker_at(server.settings)) as broker:
        broker.ping()
        server.fail("POST messages", 201, text=json.dumps({"ids": ids}))

        with pytest.raises(BackendRejected, match=rf"2 were sent, and its answer names {len(ids)}"):
            broker.enqueue([Outgoing(bytes(16), b"one"), Outgoing(bytes(16), b"two")])


def test_a_cluster_runs_what_is_good(ironmq: Server, tmp_path: Path) -> None:
    """Beside a hundred messages that nobody signed: no worker ends."""
    name = f"cluster-{os.urandom(6).hex()}"
    strange = ["\ud800", "AQ==", *(os.urandom(number).hex() for number in range(98))]
    settings = {"name": name, "iron_mq": ironmq.settings, "result_store": "sqlite"}

    def put() -> int:
        post(ironmq, name, strange)
        return len(strange)

    check_tasks_run_beside_garbage({**settings, "sqlite": {"path": str(tmp_path / "r.db")}}, put)
