"""Decides how a value is converted for a format."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from qcore.errors import EncodeError
from qcore_values.data import why_not
from qcore_values.foreign import Written, foreign_of
from qcore_values.tags import BY_TYPE, Tag

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


@attrs.frozen(kw_only=True)
class Form:
    """Which values one format can write."""

    #: returns whether the format can write a value without conversion
    fits: Callable[[Any], bool]
    #: returns whether the format can write a key of a mapping without conversion
    fits_key: Callable[[Any], bool]
    #: adds a tag to a converted value
    mark: Callable[[Tag, Any], Any]


class _Culprit(Exception):
    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text
        self.path: list[str] = []


def plain(value: object, form: Form) -> Any:  # noqa: ANN401 - depends on the format
    """Return `value` converted to what the format can write.

    A value whose type the reader would not get back is refused, see `docs/reference/types.md`.

    Raises:
        EncodeError: something in it cannot be written; the message begins with its path.
    """
    try:
        return _plain(value, form)
    except _Culprit as culprit:
        path = "".join(reversed(culprit.path))
        raise EncodeError(f"{path}: {culprit.text}" if path else culprit.text) from culprit.__cause__
    except RecursionError as exc:
        raise EncodeError("cannot write a value that contains itself or is nested too deeply") from exc


def fits_plainly(value: object) -> bool:
    """Return whether every format can write the value: None, bool, 64-bit int, text without surrogates."""
    if type(value) is str:
        return value.isascii() or _is_encodable(value)
    if type(value) is int:
        return -(2**63) <= value < 2**64
    return value is None or type(value) is bool


def _is_encodable(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        # a lone surrogate, for example from a file name that is not UTF-8
        return False
    return True


def _plain(value: Any, form: Form) -> Any:  # noqa: ANN401 - as above
    if form.fits(value):
        return value
    kind = type(value)
    if kind is list:
        return _items(value, form)
    if kind is dict:
        return _mapping(value, form)
    if kind in (bytearray, memoryview):
        return _plain(bytes(value), form)
    found = BY_TYPE.get(kind) or foreign_of(kind)
    if found is None:
        raise _Culprit(why_not(value))
    try:
        plainer = found.write(value)
    except EncodeError as exc:
        raise _Culprit(str(exc)) from exc
    except Exception as exc:
        # the text of an unknown exception may contain anything, so only its type is shown
        text = f"cannot write an object of type {kind.__name__}: reading it raised {type(exc).__name__}"
        raise _Culprit(text) from exc
    if isinstance(found, Tag):
        return form.mark(found, _plain(plainer, form))
    if found.read is None:
        return _plain(plainer, form)
    return form.mark(BY_TYPE[Written], _plain([found.name, plainer], form))


def _items(items: Iterable[Any], form: Form) -> list[Any]:
    written = []
    for number, item in enumerate(items):
        try:
            written.append(_plain(item, form))
        except _Culprit as culprit:
            culprit.path.append(f"[{number}]")
            raise
    return written


def _mapping(mapping: dict[Any, Any], form: Form) -> Any:  # noqa: ANN401 - as above
    pairs = []
    plain_keys = True
    for key, item in mapping.items():
        plain_keys = plain_keys and form.fits_key(key)
        try:
            written = _plain(item, form)
        except _Culprit as culprit:
            culprit.path.append(_step(key))
            raise
        pairs.append([key, written])
    if plain_keys:
        return dict(pairs)
    try:
        for pair in pairs:
            pair[0] = _plain(pair[0], form)
    except _Culprit as culprit:
        culprit.path.append("{key}")
        raise
    return form.mark(BY_TYPE[dict], pairs)


def _step(key: object) -> str:
    if isinstance(key, str):
        return f".{key}" if key.isidentifier() else f"[{key[:40]!a}]"
    return f"[{key!r}]" if type(key) in (int, bool, type(None)) else f"[{type(key).__name__}]"
