"""Tests of a site: tasks run at once, or are captured."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from qcore import testing
from qcore_django.delivery import HereDelivery
from qcore_django.shared import app

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from unittest import TestCase

    from qcore.testing import Captured

    _Base = TestCase
else:
    _Base = object


def captured() -> AbstractContextManager[Captured]:
    """Capture what the site enqueues in this block and send nothing; see `qcore.testing.Captured`."""
    return testing.captured(app)


@contextmanager
def inline() -> Iterator[None]:
    """Run what the site enqueues in this block at once, in this process and its transaction.

    What a task raises reaches whoever enqueues it, and no result is stored of it.
    """
    with app.deliver_to(HereDelivery()):
        yield


class CapturedTasks(_Base):
    """A mixin for a TestCase: what its tests enqueue is captured in `tasks`, and nothing is sent."""

    #: what the test has enqueued
    tasks: Captured

    def setUp(self) -> None:
        """Begin to capture."""
        super().setUp()
        self.tasks = self.enterContext(captured())


class InlineTasks(_Base):
    """A mixin for a TestCase: what its tests enqueue runs at once, see `inline`."""

    def setUp(self) -> None:
        """Begin to run tasks at once."""
        super().setUp()
        self.enterContext(inline())
