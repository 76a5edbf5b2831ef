"""How long a worker lives before the number of its tasks counts."""

from __future__ import annotations

import pytest

from qcore.config import Config
from qcore.journal.records import ExitReason
from qcore.workers.replacement import replacement_due
from qcore_process import life

_LONG = 3600.0


@pytest.mark.parametrize(
    ("given", "after"),
    [
        ({}, 1.0),
        ({"recycle": 500}, 1.0),
        ({"recycle": 1}, 0.0),
        ({"recycle": 0}, 0.0),
        ({"recycle": 501}, 0.0),
        ({"recycle": 1, "recycle_after": 2}, 2.0),
        ({"recycle_after": 0}, 0.0),
    ],
)
def test_a_number_that_is_given_is_exact(given: dict[str, float], after: float) -> None:
    """To write the default down changes nothing, and neither does to hand a configuration on."""
    config = Config.from_dict(given)

    assert config.recycle_after == after
    assert Config.from_dict(config.as_dict()).recycle_after == after


def test_a_worker_is_due_once_it_has_run_enough_for_long_enough() -> None:
    """Both count."""
    config = Config.from_dict({"recycle": 5, "recycle_after": _LONG})
    at_once = Config.from_dict({"recycle": 5})
    born = life.Life()

    assert replacement_due(config, 5, born) is ExitReason.NOT
    assert replacement_due(at_once, 4, born) is ExitReason.NOT
    assert replacement_due(at_once, 5, born) is ExitReason.RECYCLED


def test_growth_ends_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that has taken memory is replaced without regard to its age."""
    had = 100 << 20
    monkeypatch.setattr(life, "_peak", lambda: had)
    born = life.Life()
    monkeypatch.setattr(life, "_peak", lambda: had + life.GROWTH - 1)
    before = born.has_lasted(_LONG)
    monkeypatch.setattr(life, "_peak", lambda: had + life.GROWTH)

    assert (before, born.has_lasted(_LONG)) == (False, True)


def test_the_memory_of_this_process_is_known_in_bytes() -> None:
    """The unit of the kernel differs between systems."""
    assert 8 << 20 < life._peak() < 64 << 30
