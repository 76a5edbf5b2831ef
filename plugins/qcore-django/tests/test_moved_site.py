"""A site on django-q2 with data is moved as the guide says, and its own tests pass before and after."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from .conftest import Site

pytestmark = [pytest.mark.slow, pytest.mark.further, pytest.mark.timeout(1200)]

HERE = Path(__file__).parent
GUIDE = HERE.parents[2] / "docs" / "how-to" / "come-from-django-q.md"
#: tests that the site has
TESTS = 10


@pytest.fixture
def example(tmp_path: Path) -> Site:
    """Return a copy of the site, with its migrations."""
    if importlib.util.find_spec("django_q") is None:
        if os.environ.get("CI"):
            pytest.fail("django-q2 is not installed, and CI moves a site of it")
        pytest.skip("django-q2 is not installed; the extra `test` of this package has it")
    folder = tmp_path / "example"
    shutil.copytree(HERE / "example_site", folder, ignore=shutil.ignore_patterns("__pycache__"))
    site = Site(folder)
    site.manage("makemigrations", "shop", "-v", "0")
    return site


def changed_as_the_guide_says(site: Site) -> None:
    """Type its commands that change names."""
    commands = re.findall(r"^\$ (sed .*)$", GUIDE.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(commands) == 2
    for command in commands:
        subprocess.run(["bash", "-c", command], cwd=site.folder, check=True, timeout=60)


def its_tests_pass(site: Site) -> None:
    """Run the site's own tests."""
    said = site.manage("test", "--noinput")
    assert f"Ran {TESTS} tests" in said, said
    assert "\nOK\n" in said, said


def test_a_site_is_moved_with_its_data(example: Site) -> None:
    """Nothing but names changes; what waited runs, and what was stored is found by its id."""
    its_tests_pass(example)
    example.manage("migrate", "-v", "0")
    fill = (
        "from django_q.tasks import async_task, schedule; from shop.orders import place\n"
        "from datetime import datetime, UTC\n"
        "print('old:' + async_task('shop.tasks.add', 1, 2, sync=True))\n"
        "place('a book')\n"
        "schedule('shop.tasks.note', 'nightly', name='nightly', schedule_type='D',\n"
        "         intended_date_kwarg='day', next_run=datetime(2026, 1, 2, 3, tzinfo=UTC), repeats=1)\n"
    )
    old = example.manage("shell", "-v", "0", "-c", fill).rpartition("old:")[2].split()[0]

    changed_as_the_guide_says(example)
    its_tests_pass(example)
    example.manage("migrate", "-v", "0")
    moved = example.manage("qmigrate_from_django_q", "--results", "--queue")
    again = example.manage("qmigrate_from_django_q", "--results", "--queue", "--dry-run")

    assert moved.splitlines() == ["schedules: 1 moved", "results: 1 moved", "queue: 1 moved"]
    assert again.splitlines()[0] == "schedules: 0 to move, 1 there already"
    assert again.splitlines()[2] == "queue: 0 to move"
    look = (
        "from qcore_django.tasks import result, result_group\n"
        f"answer = [result({old!r}), result_group('orders', wait=60_000, count=1),"
        " result_group('nightly', wait=60_000, count=1)]"
    )
    with example.running():
        found = example.ask(look)
    assert found == [3, ["a book is paid"], ["nightly at 2026-01-02T04:00:00+01:00"]]
