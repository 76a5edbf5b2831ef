"""Fixtures: the queue of an integration test; and what is too long to run unasked."""

from __future__ import annotations

import pytest

from tests.integration.conftest import land, nobody_left

__all__ = ["land", "nobody_left"]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the long variants to those who ask for them."""
    asked = "long" in config.getoption("markexpr")
    for item in items:
        if item.get_closest_marker("long"):
            skip = pytest.mark.skip(reason="takes minutes; ask for it with -m long")
            item.add_marker(pytest.mark.timeout(1800) if asked else skip)
