"""Fixtures of pytest for a site: pytest_plugins = ["qcore_django.fixtures"]."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qcore.testing import Captured


@pytest.fixture
def captured_tasks() -> Iterator[Captured]:
    """Capture what the test enqueues and send nothing; see `qcore.testing.Captured`."""
    from qcore_django.testing import captured  # noqa: PLC0415 - the settings are there when a test begins

    with captured() as tasks:
        yield tasks


@pytest.fixture
def inline_tasks() -> Iterator[None]:
    """Run what the test enqueues at once; see `qcore_django.testing.inline`."""
    from qcore_django.testing import inline  # noqa: PLC0415 - as above

    with inline():
        yield
