"""Signatures and behavior of `qcore_django.tasks` are those of django-q2, function by function."""

from __future__ import annotations

from typing import Any

import beside
import pytest

#: what each of the two is asked, see there
SCENES = (
    "alone", "options", "failed", "hooks", "groups", "waits", "chains", "links", "iters", "classes", "cached",
    "unknown", "schedules",
)  # fmt: skip


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Return what Django-Q said, and what this package said."""
    return beside.both("beside_django_q.py", ("django_q.tasks", "qcore_django.tasks"), tmp_path_factory)


def test_each_function_takes_what_the_original_takes(both: list[dict[str, Any]]) -> None:
    """By the same names, in the same places; some take further keywords."""
    theirs, ours = (one["signatures"] for one in both)
    wrong = {}
    for name, parameters in theirs.items():
        here = ours.get(name)
        by_keyword = [one for one in here or () if one[1] == "KEYWORD_ONLY"]
        kept = [one for one in here or () if one not in by_keyword]
        if kept[: len(parameters)] != parameters:
            wrong[name] = (parameters, here)

    assert len(theirs) > 40
    assert not wrong


@pytest.mark.parametrize("scene", SCENES)
def test_each_function_does_what_the_original_does(both: list[dict[str, Any]], scene: str) -> None:
    """The same calls, in this process, have the same results."""
    theirs, ours = (one["behavior"] for one in both)

    assert theirs[scene] == ours[scene]
    assert set(theirs) == set(SCENES)
