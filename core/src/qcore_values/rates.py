"""Decides how a rate is written."""

from __future__ import annotations

from typing import Final

from qcore_values.validators import integer, refuse, seconds

#: seconds of the units of a rate
_UNITS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def check_rate(name: str, value: object) -> None:
    """Refuse what is not a rate.

    Raises:
        TypeError: it is neither a text nor a pair, or a part of it is not a number.
        ValueError: the text has another form, or a number is out of range.

    """
    if isinstance(value, str):
        number, slash, unit = value.partition("/")
        whole = number.isascii() and number.isdigit() and 0 < int(number[:20]) < 2**63
        if not (slash and whole and unit in _UNITS):
            msg = f"not a rate: {value!r:.80}; write '10/s', '100/m', '5/h' or '1000/d', or (count, seconds)"
            raise ValueError(msg)
        return
    if not isinstance(value, tuple | list) or len(value) != 2:
        refuse(name, "(count, seconds) or a text such as '10/s'", value, "pass both numbers")
    integer(f"the count of {name}", value[0])
    seconds(f"the time of {name}", value[1])
    if not value[1]:
        msg = f"the time of {name} must be above 0 seconds, got {value[1]!r}"
        raise ValueError(msg)


def counted_rate(rate: tuple[int, float] | str | None) -> tuple[int, float] | None:
    """Return a rate as (count, seconds)."""
    if rate is None:
        return None
    if not isinstance(rate, str):
        return rate
    number, _, unit = rate.partition("/")
    return int(number), _UNITS[unit]
