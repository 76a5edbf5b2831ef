"""Whatever Disque contains, or answers in its place, ends no worker."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from qcore.errors import BackendError, BackendRejected, ConfigError
from qcore.interfaces import Settings
from qcore.model import Action, Outgoing, Settlement
from qcore_disque import DisqueBroker
from qcore_plugin_support import CountedMessage
from qcore_testing.beside_garbage import check_tasks_run_beside_garbage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from .conftest import Server

#: what a broker may raise
ALLOWED = BackendError
NODE: Final = b"0123456789abcdef0123456789abcdef01234567"
#: an id as Disque gives one
JOB: Final = b"D-01234567-AAAAAAAAAAAAAAAAAAAAAAAA-05a1"

quickly = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def broker_on(node: str, name: str = "alone") -> DisqueBroker:
    """Return a broker on a node."""
    return DisqueBroker(Settings(name=name, retry=60.0, sections={"disque_nodes": [node]}))


# -- garbage in the queue and among the dead letters ------------------------------------------

#: bytes of anybody's, and such as look like ours at first sight
bodies = st.binary(max_size=200) | st.binary(max_size=60).map(lambda tail: b"\x01" + tail)


@quickly
@given(strange=st.lists(bodies, min_size=1, max_size=5))
@example(strange=[b"\x01" + b"\x7f\xf0" * 20, b"\x01\0\0\0\0\0\0\x7f\xf8\0\0\0\0\0\0\0\0", b"\x01" * 17])
def test_strange_dead_letters_are_listed_and_removed(disque: Server, strange: list[bytes]) -> None:
    """Their times can be shown, and their order does not depend on what is not a number."""
    name = f"letters-{os.urandom(6).hex()}"
    broker = broker_on(disque.node, name)
    with contextlib.closing(broker):
        for body in strange:
            disque.ask("ADDJOB", f"{name}:dead-letters", body, 0)

        letters = broker.dead_letters()

        assert len(letters) == len(strange)
        assert all(0 <= letter.dead_since < 1e12 for letter in letters)
        assert broker.delete([letter.id for letter in letters]) == len(strange)


@given(data=st.binary(max_size=100))
@example(data=b"\x01" + bytes(6) + b"\x7f\xf8" + bytes(6) + b"\xff\xff")
def test_any_bytes_can_be_read_and_written(data: bytes) -> None:
    """What is read can be written again, with the same counters."""
    item = CountedMessage.read(data)

    assert CountedMessage.read(item.write()) == item


@given(receipt=st.binary(max_size=80) | st.builds(lambda tail: JOB + b":" + tail, st.binary(max_size=20)))
def test_any_receipt_can_be_settled(disque: Server, receipt: bytes) -> None:
    """One that never was is skipped."""
    with contextlib.closing(broker_on(disque.node, "receipts")) as broker:
        broker.settle([Settlement(receipt, action) for action in Action])
        broker.extend([receipt], 60.0)


# -- what answers -----------------------------------------------------------------------------


def written(reply: Any) -> bytes:
    """Return a reply as it is sent; a text is an error."""
    if reply is None:
        return b"*-1\r\n"
    if isinstance(reply, int):
        return b":%d\r\n" % reply
    if isinstance(reply, str):
        return b"-" + reply.encode() + b"\r\n"
    if isinstance(reply, bytes):
        return b"$%d\r\n%s\r\n" % (len(reply), reply)
    return b"*%d\r\n" % len(reply) + b"".join(written(one) for one in reply)


class Liar:
    """A server that says HELLO as a node does, and then what it is told to say."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.node = f"127.0.0.1:{self.port}"
        node = [NODE, b"127.0.0.1", b"%d" % self.port, b"1"]
        self.hello = self._usual = written([1, NODE, node])
        #: sent for each command, and nothing after it if it is bytes that end the connection
        self.says = b""
        threading.Thread(target=self._serve, daemon=True).start()

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
            while words := client.recv(1 << 16):
                if b"SETINFO" in words:
                    # redis-py tells what it is, and takes an error for an answer
                    client.sendall(b"-ERR unknown command\r\n" * words.count(b"SETINFO"))
                elif b"HELLO" in words:
                    client.sendall(self.hello)
                    if self.hello != self._usual:
                        break
                else:
                    client.sendall(self.says)
                    break
            # what is not a whole reply ends here, and nobody waits for the rest of it
            client.shutdown(socket.SHUT_WR)
            while client.recv(1 << 16):
                pass


@pytest.fixture(scope="module")
def liar() -> Iterator[Liar]:
    """Return a server that lies."""
    made = Liar()
    yield made
    made.close()


#: replies of every shape; ids and words of Disque's among them, so that some are nearly right
values = (
    st.none()
    | st.integers(-(2**63), 2**63 - 1)
    | st.binary(max_size=12)
    | st.sampled_from(
        [JOB, NODE, b"alone", b"id", b"queue", b"state", b"queued", b"active", b"body", b"delay"]
    )
)
words = values | st.sampled_from(
    ["ERR no", "NOJOB", "MOVED", "ASK 1", "LOADING", "OOM", "NOAUTH", "READONLY x", "LEAVING"]
)
replies = st.recursive(words, lambda inner: st.lists(inner, max_size=8), max_leaves=20)
torn = [b"", b"$99999999999\r\n", b"*9999\r\n", b"*1\r\n" * 3000, b":\r\n", b"-\r\n", b"$-5\r\n", b"$x\r\n"]
other = [
    b"HTTP/1.1 400 Bad Request\r\n\r\n",
    b"-MOVED\r\n",
    b"-ASK \xff\r\n",
    b"+\xff\xfe\r\n",
    b"%1\r\n+a\r\n:1\r\n",
]
raw = st.binary(max_size=60) | st.sampled_from([*torn, *other])

CALLS: Final[list[Callable[[DisqueBroker], object]]] = [
    lambda broker: broker.enqueue([Outgoing(bytes(16), b"work")]),
    lambda broker: broker.lease(5, 0),
    lambda broker: broker.settle([Settlement(JOB + b":01234567:0:0", Action.RETRY)]),
    lambda broker: broker.settle([Settlement(JOB + b":01234567:0:0")]),
    lambda broker: broker.extend([JOB + b":01234567:0:0"], 60.0),
    lambda broker: broker.size(),
    lambda broker: broker.purge(),
    lambda broker: broker.peek(),
    lambda broker: broker.waiting(5),
    lambda broker: broker.move_to(b"other"),
    lambda broker: broker.dead_letters(),
    lambda broker: broker.requeue([JOB.decode()]),
    lambda broker: broker.delete([JOB.decode()]),
    lambda broker: broker.ping(),
    lambda broker: broker.info(),
    lambda broker: broker.queue_id(),
]


@pytest.mark.parametrize("call", range(len(CALLS)))
@quickly
@given(answer=replies.map(written) | raw)
def test_any_answer_is_taken_or_refused(liar: Liar, call: int, answer: bytes) -> None:
    """By the errors that a worker knows how to take, and by no other."""
    liar.says = answer
    with contextlib.closing(broker_on(liar.node)) as broker, contextlib.suppress(ALLOWED):
        CALLS[call](broker)


@quickly
@given(
    hello=raw
    | st.lists(words, max_size=4).map(written)
    | st.lists(st.lists(words, max_size=4) | words, max_size=4).map(lambda nodes: written([1, NODE, *nodes]))
)
@example(hello=written([1, NODE, [NODE, b"a" * 64 + b".", b"99999", b"1"]]))
@example(hello=written([1, NODE, [NODE, b"\0", b"7711", b"1"], [NODE[::-1], b"127.0.0.1", b"0", b"1"]]))
def test_any_hello_is_taken_or_refused(hello: bytes) -> None:
    """What is not an address is never connected to."""
    with contextlib.closing(Liar()) as liar:
        liar.hello = hello
        with contextlib.closing(broker_on(liar.node)) as broker, contextlib.suppress(ALLOWED):
            broker.size()


@quickly
@given(strange=st.lists(values | st.lists(values, max_size=8), max_size=5), place=st.integers(0, 5))
def test_a_good_job_is_not_held_up_by_what_is_none(liar: Liar, strange: list[Any], place: int) -> None:
    """What cannot be read is logged and ignored; what comes with it is delivered."""
    good = [b"alone", JOB, b"good", b"nacks", 0, b"additional-deliveries", 0]
    place = min(place, len(strange))
    liar.says = written([*(one for one in strange[:place] if one != good), good, *strange[place:]])

    with contextlib.closing(broker_on(liar.node)) as broker:
        found = broker.lease(10, 0)

    assert b"good" in [one.body for one in found]


@pytest.mark.parametrize("reply", [5, b"OK", None, [JOB], 'no "id"'])
def test_a_message_counts_as_accepted_only_by_its_id(liar: Liar, reply: Any) -> None:
    """Whatever else is answered is an error to whoever enqueues."""
    liar.says = written(reply)

    with contextlib.closing(broker_on(liar.node)) as broker, pytest.raises(BackendError):
        broker.enqueue([Outgoing(bytes(16), b"work")])


def test_what_is_no_disque_is_told(liar: Liar) -> None:
    """With its address and the setting that leads there."""
    liar.says = b"HTTP/1.1 400 Bad Request\r\n\r\n"

    told = rf"{liar.node} is not a Disque: .*see `disque_nodes`"
    with contextlib.closing(broker_on(liar.node)) as broker, pytest.raises(BackendRejected, match=told):
        broker.ping()


def test_a_password_that_is_wanted_amid_the_work_is_told(liar: Liar) -> None:
    """However many answers are still to come: redis-py hangs up at the first."""
    liar.says = b"-NOAUTH Authentication required.\r\n" * 2

    with (
        contextlib.closing(broker_on(liar.node)) as broker,
        pytest.raises(BackendRejected, match="wants a password"),
    ):
        broker.size()


@pytest.mark.parametrize(
    ("nodes", "wanted"),
    [
        ([], "got an empty list"),
        (["one:0"], "its port must be 1 to 65535"),
        (["one:99999"], "got 'one:99999'"),
    ],
)
def test_addresses_that_cannot_be_are_faults_of_the_configuration(nodes: list[str], wanted: str) -> None:
    """They are reported before the first request."""
    with pytest.raises(ConfigError, match=wanted):
        DisqueBroker(Settings(name="alone", sections={"disque_nodes": nodes}))


def test_a_cluster_runs_what_is_good(disque: Server, tmp_path: Path) -> None:
    """Beside a hundred jobs that nobody signed: no worker ends."""
    name = f"cluster-{os.urandom(6).hex()}"
    settings = {"name": name, "disque_nodes": [disque.node], "result_store": "sqlite"}

    def put() -> int:
        for number in range(100):
            body = os.urandom(number) if number % 2 else b"\x01" + os.urandom(number)
            disque.ask("ADDJOB", name, body, 0)
        return 100

    check_tasks_run_beside_garbage({**settings, "sqlite": {"path": str(tmp_path / "r.db")}}, put)
