"""Decides which form the type of a plugin's setting has."""

from __future__ import annotations

import dataclasses
import types
import typing
from typing import TYPE_CHECKING, Any, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping

#: fields of a table that the text form of a setting sets; the first one that exists
_ADDRESSES: Final = ("url", "host")


def text_fields(settings: Mapping[str, Any]) -> dict[str, str]:
    """Return the keys whose value may be a text or a table: key -> the field that the text sets."""
    found: dict[str, str] = {}
    for key, kind in settings.items():
        members = typing.get_args(kind) if is_union(kind) else ()
        fields = [name for member in members if is_class(member) for name in keys(member)]
        address = next((name for name in _ADDRESSES if name in fields), None)
        if address and str in members:
            found[key] = address
    return found


def is_group(kind: Any) -> bool:  # noqa: ANN401 - a plugin's type
    """Return whether a type is a set, or a tuple of any length."""
    origin = typing.get_origin(kind)
    return origin in {set, frozenset} or (origin is tuple and typing.get_args(kind)[1:] == (...,))


def is_class(kind: Any) -> bool:  # noqa: ANN401 - a plugin's type
    """Return whether a type is a class with settings as fields."""
    return attrs.has(kind) or dataclasses.is_dataclass(kind)


def is_choice(kind: Any) -> bool:  # noqa: ANN401 - a plugin's type
    """Return whether a type lists the values it takes."""
    return typing.get_origin(kind) is typing.Literal


def is_union(kind: Any) -> bool:  # noqa: ANN401 - a plugin's type
    """Return whether a type is a union."""
    return typing.get_origin(kind) in {typing.Union, types.UnionType}


def keys(kind: type) -> dict[str, str]:
    """Return the keys that a class of settings has: name in the configuration -> attribute."""
    if attrs.has(kind):
        return {field.alias: field.name for field in attrs.fields(kind) if field.init}
    fields = dataclasses.fields(kind) if dataclasses.is_dataclass(kind) else ()
    return {field.name: field.name for field in fields}
