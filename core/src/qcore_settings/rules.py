"""Decides which values each kind of setting may have."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePath
from typing import Any, Final

import attrs

from qcore_text import wording


class _Unset:
    """The type of UNSET, the value that means: keep the value of the layer below."""

    def __repr__(self) -> str:
        return "UNSET"


#: an override with this value has no effect; None, False, 0 and "" do have one
UNSET: Final = _Unset()


class EnvText(str):
    """Text of an environment variable, which may mean a number, a list or None."""

    __slots__ = ()


class InvalidValue(ValueError):
    """A value breaks a rule; the message says how, and what to do."""


class NotATable(InvalidValue):
    """A value is not a table although one is needed; it is not shown, because it may be a password."""


@attrs.frozen
class Rule:
    """Which values one setting may have."""

    #: the type as the documents name it
    kind: str
    #: returns the parsed value, or raises InvalidValue
    read: Callable[[object], Any]
    #: the unit of the value, "" if it has none
    unit: str = ""


#: above this a float cannot represent every whole number, and no setting is that large
_MAX_NUMBER = 2**53
_YES = frozenset({"true", "yes", "on", "1"})
_NO = frozenset({"false", "no", "off", "0"})
_NONE = frozenset({"none", "null"})


def is_none(value: object) -> bool:
    """Return whether a value means None."""
    return value is None or (isinstance(value, EnvText) and value.strip().lower() in _NONE)


def problem_with(path: str, value: object, error: InvalidValue, origin: str = "") -> str:
    """Return the sentence that reports a value that breaks a rule."""
    seen = wording.described(value) if isinstance(error, NotATable) else wording.shown(value, path)
    return wording.fault(path, seen, str(error), origin)


def boolean(value: object) -> bool | None:
    """Return the value as True or False, None if it is neither."""
    if isinstance(value, bool):
        return value
    if isinstance(value, EnvText):
        word = value.strip().lower()
        return True if word in _YES else False if word in _NO else None
    return None


def numeric(value: object) -> int | float | None:
    """Return the value as a number, None if it is not one; text of the environment may be one."""
    if isinstance(value, EnvText):
        try:
            value = float(value) if not value.strip().lstrip("+-").isdigit() else int(value)
        except ValueError:
            return None
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not -_MAX_NUMBER <= value <= _MAX_NUMBER
    ):
        return None
    return value


def unquoted(value: object) -> str:
    """Return the hint for a number in quotes, "" for other values."""
    return ", without quotes" if isinstance(value, str) and numeric(EnvText(value)) is not None else ""


def parsed(value: object) -> object:
    """Return the value, decoded if it is text of the environment with a JSON list or table."""
    if isinstance(value, EnvText) and value.lstrip()[:1] in {"[", "{"}:
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            raise InvalidValue("it begins like JSON but is not valid JSON; check quotes and commas") from None
    return value


def flag() -> Rule:
    """Return the rule of a setting that is true or false."""

    def read(value: object) -> bool:
        found = boolean(value)
        if found is None:
            raise InvalidValue("must be true or false, without quotes")
        return found

    return Rule("true or false", read)


def integer(
    least: int,
    advice: str,
    *,
    unit: str = "",
    most: int | None = None,
    none: object = InvalidValue,
    zero: object = 0,
) -> Rule:
    """Return the rule of a whole number; `none` and `zero` are the values of None and 0."""

    def read(value: object) -> object:
        if is_none(value) and none is not InvalidValue:
            return none
        found = numeric(value)
        if found is None or found != int(found) or (found < least and (found or zero == 0)):
            raise InvalidValue(f"must be a whole number of {least} or more{unquoted(value)}; {advice}")
        if most is not None and found > most:
            raise InvalidValue(f"must be at most {most}; {advice}")
        return int(found) or zero

    return Rule("whole number", read, unit)


def seconds(
    advice: str,
    *,
    above: float | None = None,
    least: float = 0,
    below: float | None = None,
    none: object = InvalidValue,
) -> Rule:
    """Return the rule of a number of seconds; `none` is the value of None."""
    low = f"{least:g} or more" if above is None else f"more than {above:g}"
    high = "" if below is None else f" and less than {below:g}"

    def read(value: object) -> object:
        if is_none(value) and none is not InvalidValue:
            return none
        found = numeric(value)
        fits = found is not None and (found >= least if above is None else found > above)
        if found is None or not fits or (below is not None and found >= below):
            raise InvalidValue(f"must be a number of seconds{unquoted(value)}, {low}{high}; {advice}")
        return float(found)

    return Rule("number", read, "seconds")


def text(wrong: str, pattern: str = r"[^\x00-\x1f]*", *, none: object = InvalidValue) -> Rule:
    """Return the rule of a text that matches `pattern` completely."""
    shape = re.compile(pattern)

    def read(value: object) -> object:
        if is_none(value) and none is not InvalidValue:
            return none
        if not isinstance(value, str) or not shape.fullmatch(value) or not _encodable(value):
            raise InvalidValue(wrong)
        return str(value)

    return Rule("text", read)


def texts(wrong: str, pattern: str, *, none: object, empty: object = InvalidValue) -> Rule:
    """Return the rule of a list of texts that match `pattern`; its value is a tuple."""
    shape = re.compile(pattern)

    def read(value: object) -> object:
        if is_none(value):
            return none
        if isinstance(value, EnvText) and not value.lstrip().startswith("["):
            value = [part.strip() for part in value.split(",")]
        value = parsed(value)
        if isinstance(value, str):
            raise InvalidValue(f"must be a list; write [{wording.shown(value)}]")
        if isinstance(value, list | tuple) and not value and empty is not InvalidValue:
            return empty
        if not isinstance(value, list | tuple) or not value:
            raise InvalidValue(wrong)
        for item in value:
            if not isinstance(item, str) or not shape.fullmatch(item) or not _encodable(item):
                raise InvalidValue(f"{wrong}; {wording.shown(item)} is not one")
        return tuple(str(item) for item in value)

    return Rule("list of texts", read)


def _encodable(value: str) -> bool:
    # JSON may contain lone surrogates, which cannot be encoded
    return not any("\ud800" <= char <= "\udfff" for char in value)


def level() -> Rule:
    """Return the rule of a logging level."""
    names = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")

    def read(value: object) -> str:
        if isinstance(value, str) and value.upper() in names:
            return value.upper()
        hint = wording.did_you_mean(value.upper(), names) if isinstance(value, str) else ""
        raise InvalidValue(f"must be one of {', '.join(names)}{hint}")

    return Rule("text", read)


def choice(names: Sequence[str], advice: str, none: str | None = None) -> Rule:
    """Return the rule of a setting that is one of a few words, or `none`."""

    def read(value: object) -> str | None:
        if is_none(value):
            return none
        if isinstance(value, str) and value.lower() in names:
            return value.lower()
        hint = wording.did_you_mean(value, names) if isinstance(value, str) else ""
        raise InvalidValue(f"must be one of {', '.join(names)}{hint}; {advice}")

    return Rule("text", read)


def zone() -> Rule:
    """Return the rule of a time zone."""

    def read(value: object) -> str:
        from zoneinfo import ZoneInfo, available_timezones  # noqa: PLC0415 - a start waits for imports

        try:
            if isinstance(value, str) and value:
                ZoneInfo(value)
                return str(value)
        except (KeyError, ValueError, OSError):
            pass  # raised below, with the nearest name
        # hundreds of names, read only if a name is wrong
        hint = wording.did_you_mean(value, available_timezones()) if isinstance(value, str) else ""
        raise InvalidValue(f"must be a time zone of the IANA database such as 'Europe/Paris' or 'UTC'{hint}")

    return Rule("text", read)


def retention() -> Rule:
    """Return the rule of `cached`: true, false or the seconds for which results are stored."""
    period = seconds("or true or false, for as long as save_limit allows", above=0)

    def read(value: object) -> object:
        # in the environment 1 means one second, not true
        if isinstance(value, bool) or (isinstance(value, EnvText) and numeric(value) is None):
            found = boolean(value)
            if found is not None:
                return found
        return period.read(value)

    return Rule("true, false or number", read, "seconds")


def tables() -> Rule:
    """Return the rule of `error_reporter`: a table of settings for each name."""
    wrong = "must be a table with a table of settings for each reporter, such as {'log': {}}"

    def read(value: object) -> dict[str, dict[str, Any]]:
        if is_none(value):
            return {}
        value = parsed(value)
        if not isinstance(value, Mapping):
            raise NotATable(wrong)
        for name, inner in value.items():
            if not isinstance(name, str) or not isinstance(inner, Mapping):
                raise InvalidValue(f"{wrong}; {wording.shown(name)} is {wording.described(inner)}")
        return {str(name): plain(inner) for name, inner in value.items()}

    return Rule("table", read)


def plain(value: Any) -> Any:  # noqa: ANN401 - a table may contain any value
    """Return a copy of a value in which text of the environment is plain text."""
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return str(value) if isinstance(value, str | PurePath) else value
