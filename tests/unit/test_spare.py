"""A process that is forked ahead learns which worker it is, or ends."""

from __future__ import annotations

import errno
import itertools
import os
from typing import TYPE_CHECKING

from qcore.supervision.protocol import Order
from qcore.supervision.zygote import Zygote
from qcore_process.spare import Spare
from qcore_testing.processes import Child

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest


def waiting(spare: Spare) -> Callable[[Callable[[str], None]], None]:
    """Return what it does in a child: it tells what it was told."""
    return lambda send: send(repr(spare.await_order()))


def test_it_is_told_which_worker_it_is() -> None:
    """It waits until then."""
    spare = Spare()
    with Child(waiting(spare)) as child:
        spare.forked(child.pid)

        assert spare.become(b"an order")
        assert child.line() == repr(b"an order")


def test_it_ends_when_it_is_dismissed() -> None:
    """No order means that there is none to come."""
    spare = Spare()
    with Child(waiting(spare)) as child:
        spare.forked(child.pid)
        spare.dismiss()

        assert child.line() == repr(b"")


def test_one_that_has_ended_does_not_become_a_worker() -> None:
    """Another one is forked then."""
    spare = Spare()
    with Child(lambda _: os._exit(0)) as child:
        spare.forked(child.pid)
        child.join()

        assert not spare.become(b"an order")


def test_it_is_not_kept_for_ever() -> None:
    """It takes memory."""
    spare = Spare()

    assert 0 < spare.seconds_left() <= 10
    spare.forked(0)
    spare.dismiss()


def test_the_first_worker_of_a_slot_is_not_one_that_was_forked_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A process that was forked ahead has the workers of the slots that there were at the time."""
    forked = itertools.count(100)
    found = Zygote.__new__(Zygote)
    vars(found).update(_slots={}, _workers={}, _spare=None, _send=lambda *_: None)
    monkeypatch.setattr(found, "_make_worker", lambda slot: found._workers.update({slot: None}))
    monkeypatch.setattr(found, "_fork", lambda _: next(forked))
    monkeypatch.setattr("qcore.supervision.zygote.pidfd_of", lambda _: None)
    monkeypatch.setattr(Spare, "become", lambda one, _: one.dismiss() is None)

    for slot in (0, 0, 1, 1):
        found._execute(Order(slot))

    # the first of slot 0, the second, one ahead, which is dismissed, the first of slot 1 and its second
    assert list(found._slots) == [100, 101, 103, 104]
    found._dismiss_spare()


def test_a_zygote_without_descriptors_forks_none_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """It does without, and its workers go on."""

    def pipe() -> tuple[int, int]:
        raise OSError(errno.ENFILE, "Too many open files in system")

    found = Zygote.__new__(Zygote)
    vars(found).update(_spare=None)
    monkeypatch.setattr(os, "pipe", pipe)

    found._fork_ahead()

    assert found._spare is None
