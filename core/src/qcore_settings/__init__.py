"""Reads layered settings into typed values, and knows no setting."""

import qcore  # noqa: F401 - first, because it imports this package, whose wording is qcore's
