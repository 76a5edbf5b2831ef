"""Fixtures: one queue a test, and nobody left behind."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest

from tests.integration.land import Land, Marked, kill, until
from tests.integration.service import Service

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def nobody_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[Marked]:
    """Fail a test that leaves a process behind, an orphan too."""
    mark = uuid.uuid4().hex
    monkeypatch.setenv("MARK_OF_QCORE_TESTS", mark)
    marked = Marked(mark)
    yield marked
    try:
        until(lambda: not marked.left(), "processes of the test to end", within=10)
    finally:
        for pid in marked.left():
            kill(pid)


@pytest.fixture
def land(tmp_path: Path, nobody_left: Marked) -> Iterator[Land]:
    """Return one queue and its makers of apps and clusters."""
    made = Land(tmp_path)
    yield made
    made.leave()


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """Return a folder with a program, and what runs it."""
    made = Service(tmp_path)
    yield made
    made.leave()
