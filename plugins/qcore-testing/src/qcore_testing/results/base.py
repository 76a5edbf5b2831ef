"""What the tests of a result store do over and over."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Protocol

import msgspec

from qcore.model import State, StoredResult

if TYPE_CHECKING:
    from collections.abc import Iterable

    from qcore.interfaces import ResultStore


class MakeStore(Protocol):
    """The fixture `make` of `ResultStoreContract`."""

    def __call__(self, *, name: str = ..., poll: float = ...) -> ResultStore:
        """Return a new store of the same results."""


def result(state: State = State.SUCCESS, *, body: bytes = b"sealed", **fields: object) -> StoredResult:
    """Return a result of its own id that ended now."""
    made = StoredResult(os.urandom(16), state, body, "a.task", finished=time.time())
    return msgspec.structs.replace(made, **fields)


def bodies(results: Iterable[StoredResult | None]) -> list[bytes]:
    """Return the bodies of what was found."""
    return [found.body for found in results if found is not None]
