"""How a waiting process is woken, and what it does where it cannot be."""

from __future__ import annotations

import errno
import os
import threading
import time
from typing import TYPE_CHECKING

import pytest

from qcore.model import Action, State
from qcore_sqlite import make_broker, make_results, wakeup
from qcore_sqlite.wakeup import Bell, watch
from tests.unit.sqlite_base import LONG, bodies, outgoing, result, settings_for, settle_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

#: seconds in which whatever should happen at once has happened, on a loaded machine too
PATIENCE = 45.0


@pytest.fixture(autouse=True)
def only_the_bell(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody look without being woken."""
    monkeypatch.setattr(wakeup, "SAFETY", LONG)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the queue of this test lies."""
    return tmp_path / "queue.db"


@pytest.fixture
def bell(tmp_path: Path) -> Iterator[Bell]:
    """Yield a bell that is listened to."""
    bell = Bell(str(tmp_path / "bell"), LONG)
    bell.wait(0)
    yield bell
    bell.close()


def no_more_of_them(_: str) -> int:
    """Refuse to watch, as the kernel does after 128 times."""
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


def seconds_of(work: Callable[[], object]) -> float:
    """Return how long it took."""
    started = time.monotonic()
    work()
    return time.monotonic() - started


def test_the_first_wait_returns_at_once(tmp_path: Path) -> None:
    """Before the watch stands anything may have happened: the caller looks once more."""
    bell = Bell(str(tmp_path / "bell"), LONG)

    assert seconds_of(lambda: bell.wait(LONG)) < PATIENCE
    bell.close()


def test_a_ring_before_the_wait_ends_it(bell: Bell) -> None:
    """What is rung between a look and the wait behind it is not lost."""
    bell.ring()

    assert seconds_of(lambda: bell.wait(LONG)) < PATIENCE


def test_a_ring_during_the_wait_ends_it(bell: Bell, tmp_path: Path) -> None:
    """Another process that rings wakes whoever waits."""
    other = Bell(str(tmp_path / "bell"), LONG)
    thread = threading.Thread(target=bell.wait, args=(LONG,))
    thread.start()

    while thread.is_alive():
        other.ring()
        thread.join(0.01)
    other.close()


def test_many_rings_are_one(bell: Bell) -> None:
    """Rings nobody waited for do not wake again and again."""
    for _ in range(10_000):
        bell.ring()
    bell.wait(LONG)

    assert seconds_of(lambda: bell.wait(0.02)) >= 0.02


def test_a_wait_ends_after_its_seconds(bell: Bell) -> None:
    """Without a ring it lasts as long as it was told, not shorter."""
    assert seconds_of(lambda: bell.wait(0.05)) >= 0.05
    assert seconds_of(lambda: bell.wait(-1)) < PATIENCE


def test_a_closed_bell_can_be_used_again(bell: Bell) -> None:
    """After a fork or a close the descriptors are made anew."""
    bell.close()
    bell.close()
    bell.ring()
    bell.wait(LONG)
    bell.ring()

    assert seconds_of(lambda: bell.wait(LONG)) < PATIENCE


def test_a_bell_that_cannot_be_rung_is_no_error(tmp_path: Path) -> None:
    """What it tells of has happened; the others look by themselves before long."""
    Bell(str(tmp_path / "missing" / "bell"), LONG).ring()


def test_where_nothing_can_be_watched_the_queue_is_looked_at(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the kernel has no watch left, `poll` is the interval of the looks."""
    monkeypatch.setattr(wakeup, "watch", no_more_of_them)
    waiting, other = (make_broker(settings_for(path, poll=0.01)) for _ in range(2))
    timer = threading.Timer(0.05, lambda: None)
    leased: list[bytes] = []
    thread = threading.Thread(target=lambda: leased.extend(bodies(waiting.lease(1, PATIENCE))))
    thread.start()
    timer.start()
    timer.join()

    other.enqueue(outgoing(b"a"))
    thread.join()
    waiting.close()
    other.close()

    assert leased == [b"a"]


def test_watching_a_missing_file_gives_the_descriptor_back(tmp_path: Path) -> None:
    """A watch that fails leaves nothing open."""
    with pytest.raises(FileNotFoundError, match="missing"):
        watch(str(tmp_path / "missing"))


def test_a_delayed_message_ends_the_wait(path: Path) -> None:
    """Nobody rings when a delay is over."""
    broker = make_broker(settings_for(path))
    broker.enqueue(outgoing(b"a", delay=0.05))

    assert bodies(broker.lease(1, PATIENCE)) == [b"a"]
    broker.close()


def test_the_end_of_a_lease_ends_the_wait(path: Path) -> None:
    """Nobody rings when a lease is outlived, be it the first of its message or a later one."""
    broker = make_broker(settings_for(path, retry=0.05))
    broker.enqueue(outgoing(b"a"))

    leased = [bodies(broker.lease(1, PATIENCE)) for _ in range(3)]
    broker.close()

    assert leased == [[b"a"]] * 3


@pytest.mark.parametrize("action", [Action.RETRY, Action.RELEASE])
def test_a_message_that_comes_back_wakes(path: Path, action: Action) -> None:
    """Who waits takes what another one gives back."""
    holder, waiting = (make_broker(settings_for(path)) for _ in range(2))
    holder.enqueue(outgoing(b"a"))
    held = holder.lease(1, 0)
    leased: list[bytes] = []
    thread = threading.Thread(target=lambda: leased.extend(bodies(waiting.lease(1, PATIENCE))))
    thread.start()

    settle_all(holder, held, action)
    thread.join()
    holder.close()
    waiting.close()

    assert leased == [b"a"]


@pytest.mark.parametrize("by_exchange", [False, True])
def test_a_result_wakes_who_waits_for_it(path: Path, by_exchange: bool) -> None:
    """A result is there as soon as it is saved; one of a run that will be repeated is not enough."""
    broker, saving, waiting = (
        make_broker(settings_for(path)),
        make_results(settings_for(path)),
        make_results(settings_for(path)),
    )
    found: list[object] = []
    thread = threading.Thread(target=lambda: found.append(waiting.wait(bytes(16), PATIENCE)))
    thread.start()

    saving.save([result(bytes(16), State.RETRYING)])
    if by_exchange:
        broker.commit_and_lease(saving, [result(bytes(16))], (), 0)
    else:
        saving.save([result(bytes(16))])
    thread.join()
    for store in (broker, saving, waiting):
        store.close()

    assert found == [result(bytes(16))]


def test_acknowledgements_wake_nobody(path: Path) -> None:
    """An idle worker sleeps on while another one works."""
    broker = make_broker(settings_for(path))
    broker.enqueue(outgoing(*[b"a"] * 10))
    leased = broker.lease(10, 0)
    bell = Bell(f"{path}-work", LONG)
    bell.wait(0)

    settle_all(broker, leased)
    broker.commit_and_lease(None, (), (), 5)

    assert seconds_of(lambda: bell.wait(0.02)) >= 0.02
    bell.close()
    broker.close()
