"""Decides which values an option may have."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING, Final, NoReturn, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable

_T = TypeVar("_T")

#: The seconds of a hundred years: a clock that counts nanoseconds in eight bytes can still add them.
MAX_SECONDS: Final = 3_155_760_000
#: a constant, because evaluating `int | float` takes longer than the check
NUMBER: Final = int | float
#: most characters of a value that a message shows
_MAX_SHOWN: Final = 80


def text(name: str, value: object) -> None:
    """Check that a value is a text.

    Raises:
        TypeError: it is not; the message names the option and what to do.

    """
    if not isinstance(value, str):
        refuse(name, "a text", value, "pass str() of it")


def text_or_int(name: str, value: object) -> object:
    """Return a text, or a whole number as a text: Django-Q did so, and `group=order.pk` is common."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    text(name, value)
    return value


def boolean(name: str, value: object) -> None:
    """Check that a value is True or False; see `text`."""
    if value is not True and value is not False:
        refuse(name, "True or False", value, "pass bool() of it")


def seconds(name: str, value: object) -> None:
    """Check that a value is a number of seconds from 0 to a hundred years.

    Raises:
        TypeError: it is not a number; the message names the option and what to do.
        ValueError: it is below 0, above a hundred years, or nan.

    """
    if not isinstance(value, NUMBER) or isinstance(value, bool):
        fix = "pass its total_seconds()" if isinstance(value, timedelta) else "pass an int or a float"
        refuse(name, "a number of seconds", value, fix)
    if not 0 <= value <= MAX_SECONDS:
        got = f"{value!r:.{_MAX_SHOWN}}"
        msg = f"{name} must be 0 or more seconds and at most {MAX_SECONDS}, a hundred years, got {got}"
        raise ValueError(msg)


def end_of(wait: float) -> float:
    """Return the monotonic seconds at which a wait ends; it may be endless, or over."""
    try:
        return time.monotonic() + wait
    except TypeError:
        seconds("wait", wait)
        raise


def integer(name: str, value: object, *, least: int = 1) -> None:
    """Check that a value is a whole number of at least `least`; see `seconds`."""
    if not isinstance(value, int) or isinstance(value, bool):
        refuse(name, "a whole number", value, "pass an int")
    if not least <= value < 2**63:
        msg = f"{name} must be {least} or more, got {value!r:.{_MAX_SHOWN}}"
        raise ValueError(msg)


def config(value: _T | None, kind: type) -> _T | None:
    """Return a value that is None or a Config, which is the class `kind`.

    Raises:
        TypeError: it is not; the message does not show it, because there may be a secret in it.

    """
    if value is not None and not isinstance(value, kind):
        msg = f"config must be a Config, got a {type(value).__name__}; pass Config.from_dict({{...}})"
        raise TypeError(msg)
    return value


def calls(values: Iterable[_T], kind: type[_T]) -> list[_T]:
    """Return bound calls, which are of the class `kind`, as a list.

    Raises:
        TypeError: one of them is something else.

    """
    found = list(values)
    for one in found:
        if not isinstance(one, kind):
            got = f"{one!r:.{_MAX_SHOWN}} of type {type(one).__name__}"
            msg = f"enqueue_many takes calls such as task.bind(1), got {got}"
            raise TypeError(msg)
    return found


def refuse(name: str, kind: str, value: object, fix: str) -> NoReturn:
    """Raise the error for an option whose value has a wrong type.

    Raises:
        TypeError: always.

    """
    msg = f"{name} must be {kind}, got {value!r:.{_MAX_SHOWN}} of type {type(value).__name__}; {fix}"
    raise TypeError(msg)
