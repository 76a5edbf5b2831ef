"""What an option may be, and how a wrong one is refused."""

from __future__ import annotations

from datetime import timedelta
from typing import Final, NoReturn

#: Seconds of a hundred years: whatever counts nanoseconds in eight bytes can still add that to
#: its clock, and nobody waits longer in earnest.
LONGEST: Final = 3_155_760_000
#: kept, for it takes longer to write `int | float` than to ask
NUMBER: Final = int | float
#: most characters of a value that a message repeats
_SHOWN: Final = 80


def text(name: str, value: object) -> None:
    """See that a value is a text.

    Raises:
        TypeError: it is not; the message names it and what to do.

    """
    if not isinstance(value, str):
        refuse(name, "a text", value, "give str() of it")


def word(name: str, value: object) -> object:
    """Return a text, or a whole number as one: the original kept it so, and `group=order.pk` is common."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    text(name, value)
    return value


def flag(name: str, value: object) -> None:
    """See that a value is True or False; see `text`."""
    if value is not True and value is not False:
        refuse(name, "True or False", value, "give bool() of it")


def seconds(name: str, value: object) -> None:
    """See that a value is a number of seconds that can be waited for.

    Raises:
        TypeError: it is no number; the message names it and what to do.
        ValueError: it is below 0, above a hundred years, or nan.

    """
    if not isinstance(value, NUMBER) or isinstance(value, bool):
        fix = "give its total_seconds()" if isinstance(value, timedelta) else "give an int or a float"
        refuse(name, "a number of seconds", value, fix)
    if not 0 <= value <= LONGEST:
        got = f"{value!r:.{_SHOWN}}"
        msg = f"{name} must be 0 or more seconds and at most {LONGEST}, a hundred years, got {got}"
        raise ValueError(msg)


def count(name: str, value: object, *, least: int = 1) -> None:
    """See that a value is a whole number, and not too small; see `seconds`."""
    if not isinstance(value, int) or isinstance(value, bool):
        refuse(name, "a whole number", value, "give an int")
    if not least <= value < 2**63:
        msg = f"{name} must be {least} or more, got {value!r:.{_SHOWN}}"
        raise ValueError(msg)


def refuse(name: str, kind: str, value: object, fix: str) -> NoReturn:
    """Say which option has a value of a wrong type, and what to give.

    Raises:
        TypeError: always.

    """
    msg = f"{name} must be {kind}, got {value!r:.{_SHOWN}} of type {type(value).__name__}; {fix}"
    raise TypeError(msg)
