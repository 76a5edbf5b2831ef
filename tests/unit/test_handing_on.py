"""What a worker's reporter has the supervisor's receive."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from qcore.interfaces import ErrorReporter
from qcore_reports import handing_on
from qcore_reports.handing_on import Giver, Taker
from qcore_reports.policy import Policy
from qcore_reports.reporters import Reporters
from qcore_testing.processes import Child
from tests.integration.land import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from qcore.interfaces import ErrorReport


class Carrier(ErrorReporter):
    """Hands on what it hears of."""

    def __init__(self) -> None:
        self.received: list[bytes] = []
        self.began: list[int] = []
        self.flushed = 0
        self.has_something = False

    def start(self) -> None:
        """Note in which process."""
        self.began.append(os.getpid())

    def receive(self, data: bytes) -> None:
        """Keep it."""
        if data == b"rubbish":
            raise ValueError("cannot be read")
        self.received.append(data)

    def qcore_post_execute(self, event: object) -> None:
        """Hear of more than failures."""

    def waits(self) -> bool:
        """Return what the test says."""
        return self.has_something

    def report(self, report: ErrorReport) -> None:
        """Do nothing."""

    def flush(self, seconds: float) -> None:
        """Count."""
        self.flushed += 1


class Pair(NamedTuple):
    """Reporters of a zygote and of a supervisor, each with a carrier that is not the first of them."""

    zygote: Reporters
    theirs: Carrier
    supervisor: Reporters
    ours: Carrier


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Yield reporters as a zygote preloads them, and those of a supervisor that listens to its workers."""
    theirs, ours = Carrier(), Carrier()
    zygote, supervisor = (
        Reporters([("other", Carrier(), Policy()), ("one", one, Policy())]) for one in (theirs, ours)
    )
    zygote.preload()
    supervisor.start()
    zygote.connect(lambda fd: supervisor.listen(-1 if fd is None else os.dup(fd)))
    yield Pair(zygote, theirs, supervisor, ours)
    end(zygote)
    until(lambda: all(one.has_ended for one in supervisor._takers))


def end(zygote: Reporters) -> None:
    """Close what the workers write to."""
    assert zygote._giver is not None
    zygote._giver.close()


def test_the_reporter_of_the_same_name_receives_what_is_handed_on(pair: Pair) -> None:
    """From each process that is forked, also from one that is killed right after."""
    zygote, theirs, supervisor, ours = pair

    def work(tell: Callable[[str], None]) -> None:
        zygote.start()
        tell(str(theirs.hand_on(b"from a worker")))
        threading.Event().wait(60)

    for _ in range(2):
        with Child(work) as child:
            assert child.line() == "True"
            child.kill()
    supervisor.flush()

    assert ours.received == [b"from a worker"] * 2


def test_reporters_begin_after_the_fork(pair: Pair) -> None:
    """Not in the process that workers are forked from, whoever asks there."""
    zygote, theirs, _, _ = pair
    zygote.start()
    assert not theirs.began

    def work(tell: Callable[[str], None]) -> None:
        for _ in range(2):
            zygote.start()
        tell(str(theirs.began == [os.getpid()]))

    with Child(work) as child:
        assert child.line() == "True"


def test_a_worker_with_nothing_to_send_ends_without_a_thread(pair: Pair) -> None:
    """One that hears of runs is asked before it is flushed."""
    _, _, supervisor, ours = pair
    before = threading.active_count()

    supervisor.flush()
    assert (ours.flushed, threading.active_count()) == (0, before)
    ours.has_something = True
    supervisor.flush()

    assert (ours.flushed, threading.active_count()) == (1, before + 1)


def test_what_cannot_be_received_is_counted(pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
    """The others are received."""
    _, theirs, supervisor, ours = pair

    theirs.hand_on(b"rubbish")
    theirs.hand_on(b"fine")
    supervisor.flush()

    assert (supervisor.lost, ours.received) == (1, [b"fine"])
    assert "error reporter one: a report is lost: ValueError: cannot be read" in caplog.text


def test_nobody_waits_for_a_supervisor_that_does_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker is told, and sends by itself; so it is with what is too long for one message."""
    giver = Giver()
    ends: list[int] = []
    giver.connect(lambda fd: ends.append(os.dup(fd)))

    assert not giver.give(0, bytes(1 << 16))
    count = 0
    while giver.give(0, bytes(1000)):
        count += 1
    assert count > 50

    # its thread reads nothing meanwhile
    monkeypatch.setattr(handing_on, "_PAUSE", 600.0)
    received: list[tuple[int, bytes]] = []
    taker = Taker(ends[0], lambda place, data: received.append((place, data)))
    taker.drain(20)
    assert len(received) == 20, "the supervisor has more to do"
    taker.drain()
    assert received == [(0, bytes(1000))] * count
    assert giver.give(0, bytes(1000))
    giver.close()
    taker.drain()
    assert taker.has_ended


def test_the_supervisor_stops_listening_when_all_workers_have_ended(pair: Pair) -> None:
    """A thread of each zygote that was replaced would stay for ever."""
    zygote, _, supervisor, _ = pair
    (taker,) = supervisor._takers

    end(zygote)

    until(lambda: taker.has_ended)


def test_without_one_that_receives_there_is_no_line() -> None:
    """What is not used costs nothing."""

    class Plain(Carrier):
        receive = ErrorReporter.receive

    zygote = Reporters([("plain", Plain(), Policy())])
    zygote.preload()
    told: list[Any] = []
    zygote.connect(told.append)

    assert told == [None]
    assert not Plain().hand_on(b"nothing")
