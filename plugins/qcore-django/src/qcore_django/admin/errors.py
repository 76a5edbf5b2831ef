"""Decides what a page says of a store that fails."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from django.db import connections
from django.db.transaction import atomic

from qcore.errors import QcoreError
from qcore_django.shared import app

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def savepoint() -> Iterator[None]:
    """Keep an error of a database from breaking the transactions of the request."""
    with contextlib.ExitStack() as stack:
        for one in connections.all(initialized_only=True):
            if one.in_atomic_block:
                stack.enter_context(atomic(using=one.alias))
        yield


def explained(error: Exception) -> str:
    """Return what is wrong with a store; qcore's own look at it says more than the database did."""
    if not isinstance(error, QcoreError):
        try:
            with app.runtime.brokers.connection() as broker:
                broker.ping()
                broker.size()
        except QcoreError as exc:
            return str(exc)
    return str(error)
