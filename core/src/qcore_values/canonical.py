"""Decides which calls of a function are the same call."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Final

from qcore.errors import EncodeError
from qcore_values.annotations import declared_data

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from qcore.interfaces import Serializer

#: types whose repr says all of their value
_PLAIN: Final = frozenset({int, float, str, bytes, bool, type(None)})


def canonical_call(
    function: Callable[..., Any] | None,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    serializer: Serializer,
) -> bytes:
    """Return the same bytes for every way to write a call, other bytes for another call.

    Arguments are bound to the signature, with defaults, if the function is given; otherwise only
    the order of named arguments and of mappings makes no difference.

    Raises:
        EncodeError: an argument cannot be serialised.

    """
    given: dict[str, Any] = {"*": list(args), **kwargs}
    defaults: dict[str, Any] = {}
    if function is not None:
        args, kwargs = _writable(function, args, kwargs, serializer)
        given = {"*": list(args), **kwargs}
        try:
            signature = inspect.signature(function)
            bound = signature.bind(*args, **kwargs)
        except (TypeError, ValueError):
            # A builtin has no signature, and wrong arguments are for the worker to refuse.
            return _text(_arrived(given, serializer), serializer).encode()
        given = dict(bound.arguments)
        bound.apply_defaults()
        defaults = {key: value for key, value in bound.arguments.items() if key not in given}
    whole = _arrived(given, serializer)
    for key, value in defaults.items():
        try:
            named = {key: value} if function is None else _writable(function, (), {key: value}, serializer)[1]
            whole[key] = _arrived(dict(named), serializer)[key]
        except EncodeError:
            # A marker such as object(), which no call can pass.
            continue
    return _text(whole, serializer).encode()


def _writable(
    function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], serializer: Serializer
) -> tuple[Sequence[Any], Mapping[str, Any]]:
    """Return arguments as they are sent: of those that only their annotations let pass, the data."""
    try:
        serializer.dumps([list(args), dict(kwargs)])
    except EncodeError:
        return declared_data(function, args, kwargs)
    return args, kwargs


def _arrived(arguments: dict[str, Any], serializer: Serializer) -> dict[str, Any]:
    """Return arguments as a worker gets them."""
    found = serializer.loads(serializer.dumps(list(arguments.values())))
    return dict(zip(arguments, found, strict=True))


def _text(value: Any, serializer: Serializer) -> str:  # noqa: ANN401 - whatever a user passes
    kind = type(value)
    if kind in _PLAIN:
        return f"{kind.__name__}:{value!r}"
    if kind is dict:
        pairs = sorted(f"{_text(key, serializer)}={_text(item, serializer)}" for key, item in value.items())
        return f"dict{{{','.join(pairs)}}}"
    if kind in (list, tuple):
        return f"{kind.__name__}[{','.join(_text(item, serializer) for item in value)}]"
    if kind in (set, frozenset):
        return f"{kind.__name__}[{','.join(sorted(_text(item, serializer) for item in value))}]"
    return f"{kind.__qualname__}:{serializer.dumps(value).hex()}"
