"""The stand-in answers to the letter what a Disque node answers."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
import redis

if TYPE_CHECKING:
    from .conftest import Server


@pytest.fixture
def ask(disque: Server) -> Any:
    """Return what sends a command."""
    return redis.Redis(port=disque.ports[0], protocol=2).execute_command


@pytest.mark.parametrize(
    ("command", "error"),
    [
        (["ADDJOB", "q", "body"], "wrong number of arguments for 'addjob' command"),
        (["HELLO", "2"], "wrong number of arguments for 'hello' command"),
        (["GETJOB"], "wrong number of arguments for 'getjob' command"),
        (["ACKJOB"], "wrong number of arguments for 'ackjob' command"),
        (["FASTACK"], "wrong number of arguments for 'fastack' command"),
        (["QLEN"], "wrong number of arguments for 'qlen' command"),
        (["QLEN", "one", "two"], "wrong number of arguments for 'qlen' command"),
        (["PAUSE", "q"], "wrong number of arguments for 'pause' command"),
        (["SHOW"], "wrong number of arguments for 'show' command"),
        (["QPEEK", "q", "many"], "value is not an integer or out of range"),
        (["PAUSE", "q", "bogus"], "syntax error"),
        (["ADDJOB", "q", "body", "soon"], "timeout is not an integer or out of range"),
        (["ADDJOB", "q", "body", "0", "REPLICATE", "65536"], "REPLICATE must be between 1 and 65535"),
        (["ADDJOB", "q", "body", "0", "RETRY", "x"], "RETRY time must be a non negative number"),
        (["SHOW", "no id"], "BADID Invalid Job ID format"),
        (["JSCAN", "0", "NOTHING"], "syntax error"),
        (["NONSENSE"], "unknown command"),
    ],
)
def test_what_is_wrong_is_an_error(ask: Any, command: list[str], error: str) -> None:
    """Never an exception of the stand-in's own."""
    with pytest.raises(redis.ResponseError, match=error):
        ask(*command)


def test_a_queue_is_described(ask: Any) -> None:
    """As QSTAT does; what is unknown is a null."""
    ask("ADDJOB", "described", "body", 0)
    ask("ADDJOB", "described", "body", 0)
    ask("GETJOB", "FROM", "described")

    shown = ask("QSTAT", "described")
    fields = dict(zip(shown[::2], shown[1::2], strict=True))

    wanted = {b"name": b"described", b"len": 1, b"jobs-in": 2, b"jobs-out": 1, b"pause": b"none"}
    assert {key: fields[key] for key in wanted} == wanted
    assert ask("QSTAT", "unknown") is None


def test_queues_are_listed_by_their_length(ask: Any) -> None:
    """Those that were only asked for too."""
    ask("ADDJOB", "listed", "body", 0)
    ask("GETJOB", "NOHANG", "FROM", "listed-empty")

    assert {b"listed", b"listed-empty"} <= set(ask("QSCAN")[1])
    assert b"listed-empty" not in ask("QSCAN", 0, "COUNT", 100, "MINLEN", 1)[1]
    assert b"listed" not in ask("QSCAN", "MAXLEN", 0)[1]


def test_a_queue_is_paused_by_direction(ask: Any) -> None:
    """`state` only tells, `out` holds back what is there, `in` refuses what comes."""
    ask("ADDJOB", "paused", "body", 0)

    assert ask("PAUSE", "paused", "state") == b"none"
    assert ask("PAUSE", "paused", "out") == b"out"
    assert ask("GETJOB", "NOHANG", "FROM", "paused") is None
    ask("ADDJOB", "paused", "another", 0)
    assert ask("PAUSE", "paused", "in") == b"in"
    assert ask("GETJOB", "NOHANG", "FROM", "paused")[0][2] == b"body"
    with pytest.raises(redis.ResponseError, match="PAUSED"):
        ask("ADDJOB", "paused", "body", 0)
    assert ask("PAUSE", "paused", "all") == b"all"
    assert ask("PAUSE", "paused", "state", "bcast") == b"all"
    assert ask("PAUSE", "paused", "none") == b"none"
    assert ask("GETJOB", "NOHANG", "FROM", "paused")[0][2] == b"another"


def test_jobs_are_listed_in_several_states(ask: Any) -> None:
    """STATE may be said more than once."""
    queued, taken = (ask("ADDJOB", "states", body, 0) for body in ("queued", "taken"))
    ask("ADDJOB", "states", "delayed", 0, "DELAY", 60)
    ask("DEQUEUE", taken)

    def found(*states: str) -> int:
        asked = [word for state in states for word in ("STATE", state)]
        return len(ask("JSCAN", 0, "QUEUE", "states", *asked)[1])

    assert (found("queued"), found("active"), found("queued", "active"), found("acked")) == (1, 2, 3, 0)
    assert queued in ask("JSCAN", "QUEUE", "states", "STATE", "queued")[1]


def test_the_time_is_told(ask: Any) -> None:
    """In seconds and microseconds."""
    seconds, microseconds = ask("TIME")

    assert abs(int(seconds) - time.time()) < 60
    assert 0 <= int(microseconds) < 1_000_000


def test_a_client_may_quit(disque: Server) -> None:
    """It is told goodbye, and the line is closed."""
    connection: Any = redis.Connection(port=disque.ports[0], protocol=2)
    connection.connect()
    connection.send_command("QUIT")

    assert connection.read_response() == b"OK"
    with pytest.raises(redis.ConnectionError):
        connection.read_response()
