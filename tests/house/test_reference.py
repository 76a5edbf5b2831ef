"""The reference says what the code says."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.house.reference import MARK, PAGES, REFERENCE, functions, signature, unlisted

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize(("name", "tell"), PAGES)
def test_the_page_is_what_the_code_tells(name: str, tell: Callable[[], str]) -> None:
    """Below its mark a page is as `python -m tests.house.reference` writes it."""
    _, mark, below = (REFERENCE / name).read_text(encoding="utf-8").partition(MARK)

    assert mark
    assert below.strip() == tell().strip()


def test_the_page_lists_what_the_face_returns() -> None:
    """A class that a method takes or returns is on the page, or has its reason why not."""
    assert unlisted() == set()


def test_what_an_app_inherits_is_listed() -> None:
    """Coroutines, properties and methods of its base classes are on the page as its own are."""
    text = (REFERENCE / "api.md").read_text(encoding="utf-8")

    for heading in ("async aenqueue(", "async aresult(", "waiting(", "schedules`", "on_worker_start("):
        assert f"\n### `{heading}" in text


def test_every_hook_has_a_heading_with_its_exact_signature() -> None:
    """The page lists each hook of `hookspecs`, and none that is not there."""
    text = (REFERENCE / "hooks.md").read_text(encoding="utf-8")
    expected = [signature(hook) for hook in functions("hookspecs.py") if hook.name.startswith("qcore_")]

    assert re.findall(r"^### `(qcore_.+)`$", text, re.MULTILINE) == expected
