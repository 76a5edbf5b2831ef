"""Fixtures: the queue of an integration test, and nobody left behind."""

from __future__ import annotations

from tests.integration.conftest import land, nobody_left

__all__ = ["land", "nobody_left"]
