"""The key of a unique task is kept for as long as the task is there, and for nothing that is not."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from typing import TYPE_CHECKING

import pytest

from qcore.errors import EncodeError, PayloadTooLarge
from tests.integration import tasks

if TYPE_CHECKING:
    from collections.abc import Callable

    from qcore import App
    from qcore.tasks.task import Sender
    from tests.integration.land import Land

pytestmark = pytest.mark.portable


def interrupt(_: int, __: int) -> None:
    """Behave like a user who presses Ctrl-C."""
    raise KeyboardInterrupt


def _neighbour(app: App, task: Sender[..., int]) -> None:
    with pytest.raises(EncodeError):
        app.send([task.bind(1, 2), task.using(unique=False).bind(object(), 2)])


def _itself(_: App, task: Sender[..., int]) -> None:
    with pytest.raises(PayloadTooLarge):
        task.enqueue(os.urandom(8192), 2)


def _inline(app: App, _: Sender[..., int]) -> None:
    here = app.task(interrupt).using(unique="lost", sync=True)
    with pytest.raises(KeyboardInterrupt):
        here.enqueue(1, 2)


@pytest.mark.parametrize("fail", [_neighbour, _itself, _inline])
def test_a_call_that_never_comes_to_the_queue_keeps_no_key(
    land: Land, fail: Callable[[App, Sender[..., int]], None]
) -> None:
    """Its neighbour cannot be written, it is too large itself, or the user interrupts it."""
    app = land.app(max_message=4096)
    task = app.task(tasks.add).using(unique="lost")

    fail(app, task)

    assert not task.enqueue(1, 2).duplicate


def test_a_task_with_a_long_delay_keeps_its_key_until_it_may_run(land: Land) -> None:
    """A day is counted from the moment it may begin."""
    app = land.app()
    week = 7 * 86400.0

    app.task(tasks.add).using(unique="late", delay=week).enqueue(1, 2)

    with contextlib.closing(sqlite3.connect(land.folder / "queue.db")) as file:
        (until,) = file.execute("select until from permit").fetchone()
    assert until > time.time() + week
