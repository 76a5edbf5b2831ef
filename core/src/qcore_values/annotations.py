"""Decides what annotations make of arguments and results, on both sides."""

from __future__ import annotations

import dataclasses
import enum
import functools
import inspect
import typing
from typing import TYPE_CHECKING, Any, Final

import attrs
import msgspec

from qcore.model import Result
from qcore_values.data import SCALARS, as_data, fields_of, is_model, is_named_tuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

#: Types that serializers restore by themselves.
_PLAIN: Final = frozenset(
    {int, float, str, bytes, bool, type(None), object, list, dict, tuple, set, frozenset}
)
_BY_POSITION: Final = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
#: the name of the return value among annotations
_RETURN: Final = "return"


def convert_arguments(
    function: Callable[..., Any],
) -> Callable[[Sequence[Any], Mapping[str, Any]], tuple[Sequence[Any], Mapping[str, Any]]] | None:
    """Return a function that converts decoded arguments to the annotated types, None if none need it.

    Classes with fields, enumerations, and containers of them are sent as plain data; the annotations
    of the function say what they were.
    """
    found = _signature(function)
    if found is None:
        return None
    hints, parameters = found
    wanted = {name: hints[name] for name in parameters if name in hints and _needs_conversion(hints[name])}
    if not wanted:
        return None
    structure = _structure()
    # A TypedDict cannot be asked whether a value is one.
    classes = {
        name for name, hint in wanted.items() if isinstance(hint, type) and not typing.is_typeddict(hint)
    }

    def convert_one(value: object, name: str) -> object:
        hint = wanted.get(name)
        if hint is None or (name in classes and isinstance(value, hint)):
            return value
        return structure(value, hint)

    return _each(parameters, convert_one)


def declared_data(
    function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[Sequence[Any], Mapping[str, Any]]:
    """Return arguments with their data in place of those that their annotations rebuild on a worker."""
    found = _signature(function)
    if found is None:
        return args, kwargs
    hints, parameters = found
    return _each(parameters, lambda value, name: _declared(value, hints.get(name)))(args, kwargs)


def declared_result(function: Callable[..., Any], value: object) -> object:
    """Return a result with its data in place of a type that the annotation of the function names."""
    found = _signature(function)
    return value if found is None else _declared(value, found[0].get(_RETURN))


def restored(function: Callable[..., Any], value: object) -> object:
    """Return a decoded result as the type that the function's annotation names, as it is if it cannot be."""
    hint = _returned(function)
    if hint is None:
        return value
    try:
        return _structure()(value, hint)
    except Exception:  # noqa: BLE001 - the function was changed since, and a user's class may raise anything
        return value


@functools.lru_cache(maxsize=256)
def _returned(function: Callable[..., Any]) -> object:
    """Return the annotation of what a function returns; None if it says nothing that data lack."""
    found = _signature(function)
    hint = None if found is None else found[0].get(_RETURN)
    return hint if _needs_conversion(hint) else None


def _signature(
    function: Callable[..., Any],
) -> tuple[Mapping[str, Any], Mapping[str, inspect.Parameter]] | None:
    try:
        return typing.get_type_hints(function), inspect.signature(function).parameters
    except Exception:  # noqa: BLE001 - builtins have no signature, and annotations may not resolve
        return None


def _each(
    parameters: Mapping[str, inspect.Parameter], change: Callable[[object, str], object]
) -> Callable[[Sequence[Any], Mapping[str, Any]], tuple[Sequence[Any], Mapping[str, Any]]]:
    """Return a function that changes each argument by the name of its parameter."""
    order = [name for name, one in parameters.items() if one.kind in _BY_POSITION]
    rest = next((name for name, one in parameters.items() if one.kind is one.VAR_POSITIONAL), "")
    others = next((name for name, one in parameters.items() if one.kind is one.VAR_KEYWORD), "")

    def apply(args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Sequence[Any], Mapping[str, Any]]:
        changed = [change(value, name) for name, value in zip(order, args, strict=False)]
        changed += [change(value, rest) for value in args[len(order) :]]
        return changed, {
            name: change(value, name if name in parameters else others) for name, value in kwargs.items()
        }

    return apply


def _declared(value: object, hint: object) -> object:
    """Return the data of a value if its annotation makes the same value of them, else the value."""
    if isinstance(hint, type) and hint in SCALARS and isinstance(value, hint):
        # Declared as the plain type, which is what arrives.
        data = as_data(value)
        return data if type(data) is hint else value
    if hint is None or not _needs_conversion(hint):
        return value
    try:
        data = as_data(value)
        return data if _same(_structure()(data, hint), value) else value
    except Exception:  # noqa: BLE001 - a user's class may raise anything; the serializer tells what it refuses
        return value


def _same(one: Any, other: Any) -> bool:  # noqa: ANN401 - whatever a user passes
    """Return whether two values are of the same types and equal, at any depth."""
    kind = type(one)
    if kind is not type(other):
        return False
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict):
        return len(one) == len(other) and all(
            _same(key, key_) and _same(item, item_)
            for (key, item), (key_, item_) in zip(one.items(), other.items(), strict=True)
        )
    names = fields_of(kind)
    if names is not None:
        if is_model(kind) and one != other:
            # It has private attributes.
            return False
        return all(_same(getattr(one, name), getattr(other, name)) for name in names)
    # Not a number is not equal to itself.
    return bool(one == other or (one != one and other != other))  # noqa: PLR0124 - see above


@functools.cache
def _structure() -> Callable[[Any, Any], Any]:
    """Return what makes a value of an annotated type of its data."""
    import cattrs  # noqa: PLC0415 - heavy, and most processes never need it

    converter = cattrs.Converter(structure_fallback_factory=lambda _: _as_it_is)
    # Callbacks get results, which need no conversion.
    converter.register_structure_hook(Result, _as_it_is)
    structure = converter.structure

    def named_tuple(value: Any, kind: Any) -> Any:  # noqa: ANN401 - whatever a user passes
        hints = typing.get_type_hints(kind)
        fields = zip(kind._fields, value, strict=True)
        return kind(*(structure(item, hints[name]) if name in hints else item for name, item in fields))

    def struct(value: Any, kind: Any) -> Any:  # noqa: ANN401 - as above
        if isinstance(value, kind):
            return value
        hints = typing.get_type_hints(kind)
        return kind(**{name: structure(item, hints[name]) for name, item in value.items()})

    converter.register_structure_hook_func(_is_struct, struct)
    converter.register_structure_hook_func(is_model, _model)
    converter.register_structure_hook_func(
        lambda kind: isinstance(kind, type) and is_named_tuple(kind), named_tuple
    )
    converter.register_structure_hook_func(_is_scalar_subclass, lambda value, kind: kind(value))
    return structure


def _model(value: Any, kind: Any) -> Any:  # noqa: ANN401 - of pydantic's
    """Return a model by its own rules; its fields are named as in Python, whatever aliases they have."""
    if isinstance(value, kind):
        return value
    return kind.model_validate(value, by_name=True, strict=False)


def _as_it_is(value: object, kind: type) -> object:
    """Return a value that the serializer restored by itself, such as a date."""
    if isinstance(value, kind):
        return value
    msg = f"a {kind.__qualname__} is needed, got {type(value).__qualname__}"
    raise TypeError(msg)


def _is_struct(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _is_scalar_subclass(kind: object) -> bool:
    if not isinstance(kind, type) or kind in _PLAIN or issubclass(kind, enum.Enum):
        return False
    return issubclass(kind, SCALARS)


def _needs_conversion(hint: object, within: frozenset[object] = frozenset()) -> bool:
    """Return whether something is made of the data of a value; `within` are TypedDicts that it is part of."""
    if isinstance(hint, type) and hint not in _PLAIN:
        if issubclass(hint, enum.Enum) or is_named_tuple(hint) or _is_scalar_subclass(hint):
            return True
        if typing.is_typeddict(hint):
            return hint not in within and _any_needs(_hints_of(hint), within | {hint})
        return (
            attrs.has(hint)
            or dataclasses.is_dataclass(hint)
            or issubclass(hint, msgspec.Struct)
            or is_model(hint)
        )
    return _any_needs(typing.get_args(hint), within)


def _any_needs(hints: Iterable[object], within: frozenset[object]) -> bool:
    return any(_needs_conversion(inner, within) for inner in hints)


def _hints_of(typed_dict: type) -> Iterable[object]:
    """Return the annotations of a TypedDict; none if they lead nowhere, and then it stays a dict."""
    try:
        return typing.get_type_hints(typed_dict).values()
    except Exception:  # noqa: BLE001 - annotations may not resolve, as those of functions
        return ()
