"""Values that a format may not know."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable


class Unspeakable:
    """Cannot be told, counted or listed."""

    def __repr__(self) -> str:
        raise RuntimeError("no text")

    __str__ = __repr__

    def __len__(self) -> int:
        raise RuntimeError("no length")

    def __iter__(self) -> NoReturn:
        raise RuntimeError("no items")


def foreign() -> list[Callable[[], object]]:
    """Return makers of values that a format may not know, each with a name."""

    def nested(kind: Callable[[object], object]) -> object:
        value: object = 1
        for _ in range(100_000):
            value = kind(value)
        return value

    makers: dict[str, Callable[[], object]] = {
        "a surrogate": lambda: "a\ud800b",
        "a key with a surrogate": lambda: {"\udfff": [1]},
        "deep lists": lambda: nested(lambda inner: [inner]),
        "deep dicts": lambda: nested(lambda inner: {"a": inner}),
        "an object": object,
        "an object without text": Unspeakable,
        "a list of objects without text": lambda: [Unspeakable()],
        "a large integer": lambda: -(2**70),
        "not a number": lambda: float("nan"),
        "infinity": lambda: float("inf"),
        "bytes": lambda: b"\xff\x00",
        "a set": lambda: {1, "one"},
        "a complex number": lambda: 1j,
        "keys of several types": lambda: {1: 2, None: 3, ("a", 1): 4, b"b": 5},
        "a class": lambda: Unspeakable,
        "a function": lambda: nested,
        "a generator": lambda: (number for number in range(3)),
        "a range": lambda: range(3),
        "a module": lambda: threading,
        "an error": lambda: ValueError("\ud800"),
    }
    return [_named(name, maker) for name, maker in makers.items()]


def _named(name: str, maker: Callable[[], object]) -> Callable[[], object]:
    def made() -> object:
        return maker()

    made.__name__ = name
    return made
