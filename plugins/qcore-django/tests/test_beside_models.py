"""The models do what those of django-q2 do."""

from __future__ import annotations

from typing import Any

import beside
import pytest

#: what each of the two is asked, see there
SCENES = ("constants", "creating", "changing", "next_runs", "filtering", "results", "queued")
#: Django-Q moves a yearly slot by an hour if the clocks are changed meanwhile.
MOVED = "Y 2027-03-27 07:30:00+00:00"


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Return what Django-Q said, and what this package said."""
    return beside.both("beside_models.py", ("django_q", "qcore_django"), tmp_path_factory)


@pytest.mark.parametrize("scene", SCENES)
def test_each_model_does_what_the_model_of_django_q_does(both: list[dict[str, Any]], scene: str) -> None:
    """The same calls, in this process, have the same results."""
    theirs, ours = both
    hours = [one["next_runs"].pop(MOVED, "")[11:13] for one in both]

    assert theirs[scene] == ours[scene]
    assert set(theirs) == set(SCENES)
    assert hours in (["07", "06"], ["", ""])
