"""How a waiting process is woken, and how it polls if it cannot be."""

from __future__ import annotations

import errno
import os
import threading
import time
from typing import TYPE_CHECKING

import pytest

from qcore.model import Action, State
from qcore_sqlite import make_broker, make_results, wakeup
from qcore_sqlite.wakeup import Wakeup, watch
from tests.unit.sqlite_base import LONG, bodies, outgoing, result, settings_for, settle_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

#: seconds; anything that should happen at once happens within them, even on a loaded machine
TIMEOUT = 45.0


@pytest.fixture(autouse=True)
def no_polling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Disable the periodic check, so that only a notification ends a wait."""
    monkeypatch.setattr(wakeup, "MAX_WAIT", LONG)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the file of this test's queue."""
    return tmp_path / "queue.db"


@pytest.fixture
def wakeup_file(tmp_path: Path) -> Iterator[Wakeup]:
    """Yield an object that watches its file."""
    wakeup_file = Wakeup(str(tmp_path / "wakeup_file"), LONG)
    wakeup_file.wait(0)
    yield wakeup_file
    wakeup_file.close()


def refuse_to_watch(_: str) -> int:
    """Raise what the kernel raises when a user has too many inotify instances."""
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


def seconds_of(work: Callable[[], object]) -> float:
    """Return how many seconds a call took."""
    started = time.monotonic()
    work()
    return time.monotonic() - started


def test_the_first_wait_returns_at_once(tmp_path: Path) -> None:
    """Anything may have happened before the watch began, so the caller checks once more."""
    wakeup_file = Wakeup(str(tmp_path / "wakeup_file"), LONG)

    assert seconds_of(lambda: wakeup_file.wait(LONG)) < TIMEOUT
    wakeup_file.close()


def test_a_notification_before_the_wait_ends_it(wakeup_file: Wakeup) -> None:
    """A notification between a check and the following wait is not lost."""
    wakeup_file.notify()

    assert seconds_of(lambda: wakeup_file.wait(LONG)) < TIMEOUT


def test_a_notification_during_the_wait_ends_it(wakeup_file: Wakeup, tmp_path: Path) -> None:
    """A notification of another process wakes a waiting one."""
    other = Wakeup(str(tmp_path / "wakeup_file"), LONG)
    thread = threading.Thread(target=wakeup_file.wait, args=(LONG,))
    thread.start()

    while thread.is_alive():
        other.notify()
        thread.join(0.01)
    other.close()


def test_many_notifications_count_as_one(wakeup_file: Wakeup) -> None:
    """Notifications that nobody waited for end only one wait."""
    for _ in range(10_000):
        wakeup_file.notify()
    wakeup_file.wait(LONG)

    assert seconds_of(lambda: wakeup_file.wait(0.02)) >= 0.02


@pytest.mark.parametrize("replace", [False, True], ids=["deleted", "replaced"])
def test_a_file_that_is_gone_is_made_and_watched_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replace: bool
) -> None:
    """Both who waits and who notifies notice, so that nobody has to wait for the periodic check."""
    monkeypatch.setattr(wakeup, "MAX_WAIT", 0.0)
    file = tmp_path / "wakeup_file"
    waiting, notifying = Wakeup(str(file), LONG), Wakeup(str(file), LONG)
    waiting.wait(0)
    notifying.notify()
    waiting.wait(LONG)

    if replace:
        other = tmp_path / "other"
        other.touch()
        other.rename(file)
    else:
        file.unlink()
    assert seconds_of(lambda: waiting.wait(TIMEOUT)) < TIMEOUT
    notifying.notify()

    assert seconds_of(lambda: waiting.wait(TIMEOUT)) < TIMEOUT
    waiting.close()
    notifying.close()


def test_who_waits_does_not_make_a_deleted_file_anew(tmp_path: Path) -> None:
    """A folder that is deleted with all its files stays empty; only who enqueues makes the file again."""
    file = tmp_path / "wakeup_file"
    waiting = Wakeup(str(file), 0.01)
    waiting.wait(0)
    file.unlink()

    waiting.wait(TIMEOUT)
    waiting.wait(TIMEOUT)
    assert not file.exists()

    Wakeup(str(file), 0.01).notify()
    waiting.wait(TIMEOUT)
    waiting.close()


def test_a_wait_ends_after_its_seconds(wakeup_file: Wakeup) -> None:
    """Without a notification a wait lasts at least as long as its argument says."""
    assert seconds_of(lambda: wakeup_file.wait(0.05)) >= 0.05
    assert seconds_of(lambda: wakeup_file.wait(-1)) < TIMEOUT


def test_a_closed_wakeup_file_can_be_used_again(wakeup_file: Wakeup) -> None:
    """After a fork or a close new descriptors are opened."""
    wakeup_file.close()
    wakeup_file.close()
    wakeup_file.notify()
    wakeup_file.wait(LONG)
    wakeup_file.notify()

    assert seconds_of(lambda: wakeup_file.wait(LONG)) < TIMEOUT


def test_a_notification_that_fails_is_not_an_error(tmp_path: Path) -> None:
    """The change is committed already; other processes see it at their next periodic check."""
    Wakeup(str(tmp_path / "missing" / "wakeup_file"), LONG).notify()


def test_a_file_that_cannot_be_watched_is_polled(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the kernel refuses the watch, the queue is checked every `poll` seconds."""
    monkeypatch.setattr(wakeup, "watch", refuse_to_watch)
    waiting, other = (make_broker(settings_for(path, poll=0.01)) for _ in range(2))
    timer = threading.Timer(0.05, lambda: None)
    leased: list[bytes] = []
    thread = threading.Thread(target=lambda: leased.extend(bodies(waiting.lease(1, TIMEOUT))))
    thread.start()
    timer.start()
    timer.join()

    other.enqueue(outgoing(b"a"))
    thread.join()
    waiting.close()
    other.close()

    assert leased == [b"a"]


def test_a_watch_of_a_missing_file_raises(tmp_path: Path) -> None:
    """A watch that fails raises, and closes its descriptor."""
    with pytest.raises(FileNotFoundError, match="missing"):
        watch(str(tmp_path / "missing"))


def test_a_delayed_message_ends_the_wait(path: Path) -> None:
    """No process notifies when a delay ends."""
    broker = make_broker(settings_for(path))
    broker.enqueue(outgoing(b"a", delay=0.05))

    assert bodies(broker.lease(1, TIMEOUT)) == [b"a"]
    broker.close()


def test_an_expired_lease_ends_the_wait(path: Path) -> None:
    """No process notifies when a lease expires, be it the first of its message or a later one."""
    broker = make_broker(settings_for(path, retry=0.05))
    broker.enqueue(outgoing(b"a"))

    leased = [bodies(broker.lease(1, TIMEOUT)) for _ in range(3)]
    broker.close()

    assert leased == [[b"a"]] * 3


@pytest.mark.parametrize("action", [Action.RETRY, Action.RELEASE])
def test_a_released_or_retried_message_ends_the_wait(path: Path, action: Action) -> None:
    """A waiting process leases the message that another one gave back."""
    holder, waiting = (make_broker(settings_for(path)) for _ in range(2))
    holder.enqueue(outgoing(b"a"))
    held = holder.lease(1, 0)
    leased: list[bytes] = []
    thread = threading.Thread(target=lambda: leased.extend(bodies(waiting.lease(1, TIMEOUT))))
    thread.start()

    settle_all(holder, held, action)
    thread.join()
    holder.close()
    waiting.close()

    assert leased == [b"a"]


@pytest.mark.parametrize("with_commit", [False, True])
def test_a_saved_result_ends_the_wait_for_it(path: Path, with_commit: bool) -> None:
    """A final result ends the wait as soon as it is saved; a retrying one does not."""
    broker, saving, waiting = (
        make_broker(settings_for(path)),
        make_results(settings_for(path)),
        make_results(settings_for(path)),
    )
    found: list[object] = []
    thread = threading.Thread(target=lambda: found.append(waiting.wait(bytes(16), TIMEOUT)))
    thread.start()

    saving.save([result(bytes(16), State.RETRYING)])
    if with_commit:
        broker.commit_and_lease(saving, [result(bytes(16))], (), 0)
    else:
        saving.save([result(bytes(16))])
    thread.join()
    for store in (broker, saving, waiting):
        store.close()

    assert found == [result(bytes(16))]


def test_acknowledgements_end_no_wait(path: Path) -> None:
    """An idle worker is not woken while another worker acknowledges."""
    broker = make_broker(settings_for(path))
    broker.enqueue(outgoing(*[b"a"] * 10))
    leased = broker.lease(10, 0)
    wakeup_file = Wakeup(f"{path}-work", LONG)
    wakeup_file.wait(0)

    settle_all(broker, leased)
    broker.commit_and_lease(None, (), (), 5)

    assert seconds_of(lambda: wakeup_file.wait(0.02)) >= 0.02
    wakeup_file.close()
    broker.close()
