"""Decides which types change on their way, and their plain data."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import sys
from typing import TYPE_CHECKING, Any, Final

import attrs
import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

#: types whose subclasses an annotation may name
SCALARS: Final = (str, int, float, bytes)
#: types of which a subclass would arrive as the type itself; a subclass comes before its base
_BASES: Final = (*SCALARS, tuple, list, dict, set, frozenset, dt.datetime, dt.date, dt.time, dt.timedelta)
_OR_ANNOTATE: Final = "or annotate the parameter or the return value with its type"


def fields_of(kind: type) -> Sequence[str] | None:
    """Return the names of the fields of a class of dataclasses, attrs, msgspec or pydantic, else None."""
    if issubclass(kind, msgspec.Struct):
        return kind.__struct_fields__
    if attrs.has(kind):
        return [field.name for field in attrs.fields(kind)]
    if dataclasses.is_dataclass(kind):
        return [field.name for field in dataclasses.fields(kind)]
    if is_model(kind):
        return list(kind.model_fields)  # type: ignore[attr-defined]  # of pydantic's, see `is_model`
    return None


def is_model(kind: object) -> bool:
    """Return whether a type is a model of pydantic, which is not imported for it."""
    pydantic = sys.modules.get("pydantic")
    return pydantic is not None and isinstance(kind, type) and issubclass(kind, pydantic.BaseModel)


def is_named_tuple(kind: type) -> bool:
    """Return whether a type is a named tuple."""
    return issubclass(kind, tuple) and isinstance(getattr(kind, "_fields", None), tuple)


def as_data(value: Any) -> Any:  # noqa: ANN401 - whatever a user passes
    """Return a value with the data of records, enumerations and subclasses in their place."""
    kind = type(value)
    if isinstance(value, enum.Enum):
        return as_data(value.value)
    if kind in (list, tuple, set, frozenset):
        return kind(map(as_data, value))
    if kind is dict:
        return {as_data(key): as_data(item) for key, item in value.items()}
    if is_named_tuple(kind):
        return tuple(map(as_data, value))
    if is_model(kind):
        return _model_data(value)
    names = fields_of(kind)
    if names is not None:
        return {name: as_data(getattr(value, name)) for name in names}
    return _exact(value, _base(kind, SCALARS))


def _model_data(model: Any) -> Any:  # noqa: ANN401 - of pydantic's
    """Return what makes an equal model, as a rule of the fields alone that it was given."""
    if hasattr(model, "root") and getattr(type(model), "__pydantic_root_model__", False):
        return as_data(model.root)
    data = {}
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        # A default that is made anew each time, such as an id, or of other fields, is sent.
        if (
            name in model.model_fields_set
            or field.default_factory_takes_validated_data
            or value != field.get_default(call_default_factory=True)
        ):
            data[name] = as_data(value)
    return data | {name: as_data(value) for name, value in (model.model_extra or {}).items()}


def why_not(value: object) -> str:
    """Return why a value is not written, and what to do."""
    kind = type(value)
    name = kind.__name__
    if isinstance(value, enum.Enum):
        return f"{name}, an enumeration, would arrive as its value; pass its .value, {_OR_ANNOTATE}"
    if is_named_tuple(kind):
        return f"{name}, a named tuple, would arrive as a tuple; pass tuple() of it, {_OR_ANNOTATE}"
    if fields_of(kind) is not None:
        return f"{name}, a class with fields, would arrive as a dict; pass a dict, {_OR_ANNOTATE}"
    base = _base(kind, _BASES)
    if base is None:
        return f"cannot write an object of type {name}"
    told = f"{name}, a subclass of {base.__name__}, would arrive as a {base.__name__}"
    if base in SCALARS:
        return f"{told}; pass {base.__name__}() of it, {_OR_ANNOTATE}"
    return f"{told}; convert it to a {base.__name__} before"


def _base(kind: type, among: Sequence[type]) -> type | None:
    return next((one for one in among if issubclass(kind, one)), None)


def _exact(value: Any, base: type | None) -> Any:  # noqa: ANN401 - as above
    """Return the plain value of a str, int, float or bytes subclass, without calling its methods."""
    if base is None or type(value) in (base, bool):
        return value
    if base is str:
        return str.__str__(value)
    if base is bytes:
        return bytes(memoryview(value))
    return int.__pos__(value) if base is int else float.__pos__(value)
