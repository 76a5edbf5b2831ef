"""Lines of one kind are counted, not repeated."""

from __future__ import annotations

import logging

import pytest

from qcore_reports.log_limit import LogLimit


class Clock:
    """A clock that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """Return a clock."""
    return Clock()


@pytest.fixture
def limit(clock: Clock, caplog: pytest.LogCaptureFixture) -> LogLimit:
    """Return a limit of one line in ten seconds."""
    caplog.set_level(logging.INFO)
    return LogLimit(logging.getLogger("a.test"), 10.0, clock)


def test_first_line_is_written_at_once_and_the_next_with_a_count(
    limit: LogLimit, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is written in between."""
    for number in range(5):
        limit.write(logging.INFO, "kind", f"line {number}")
    clock.now = 10.0
    limit.write(logging.INFO, "kind", "line 5")

    assert caplog.messages == ["line 0", "line 5 (and 4 more like it since the last line)"]


def test_kinds_are_counted_apart(limit: LogLimit, caplog: pytest.LogCaptureFixture) -> None:
    """A line of another kind is not held back."""
    for kind in ("one", "two", "one"):
        limit.write(logging.ERROR, kind, kind)

    assert caplog.messages == ["one", "two"]


def test_what_was_left_out_is_told_at_the_end(
    limit: LogLimit, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """By the latest text; before that only when it is due."""
    for number in range(3):
        limit.write(logging.INFO, "kind", f"line {number}")

    limit.flush(due=True)
    assert caplog.messages == ["line 0"]
    clock.now = 10.0
    limit.flush(due=True)
    limit.flush()
    assert caplog.messages == ["line 0", "line 2 (and 1 more like it since the last line)"]


def test_memory_is_bounded(limit: LogLimit, caplog: pytest.LogCaptureFixture) -> None:
    """However many kinds there are, all lines are written or counted."""
    for number in range(1000):
        limit.write(logging.INFO, number % 500, "a line")

    limit.flush()
    assert len(limit._kinds) <= 100
    assert len(caplog.messages) == 1000
