"""Decides how the arguments of a call become bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qcore.errors import EncodeError
from qcore_names.resolve import imported
from qcore_values.annotations import declared_data

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from qcore.interfaces import Serializer
    from qcore.tasks.call import Call


def dump_arguments(call: Call, serializer: Serializer) -> bytes:
    """Return the arguments of a call as bytes.

    Raises:
        EncodeError: an argument cannot be serialised; the message names it.

    """
    try:
        return write_arguments(call.args, call.kwargs, serializer)
    except EncodeError as exc:
        return dump_declared(call, serializer, exc)


def write_arguments(args: Sequence[Any], kwargs: Mapping[str, Any], serializer: Serializer) -> bytes:
    """Return arguments as bytes, as they are; without any, no bytes."""
    if kwargs:
        return serializer.dumps([list(args), dict(kwargs)])
    return serializer.dumps(list(args)) if args else b""


def dump_declared(call: Call, serializer: Serializer, refusal: EncodeError) -> bytes:
    """Return refused arguments as bytes, after those whose type is annotated became their data.

    Raises:
        EncodeError: an argument cannot be serialised all the same; the message names it.

    """
    args: Sequence[Any] = call.args
    kwargs = call.kwargs
    function = imported(call.name)
    if function is not None:
        args, kwargs = declared_data(function, args, kwargs)
        try:
            return write_arguments(args, kwargs, serializer)
        except EncodeError as exc:
            refusal = exc
    each = [(f"argument {index}", value) for index, value in enumerate(args, 1)]
    each += [(f"argument {key!r}", value) for key, value in kwargs.items()]
    for name, value in each:
        try:
            serializer.dumps(value)
        except EncodeError as exc:
            msg = f"{name} of {call.name} cannot be enqueued: {exc}"
            if function is None:
                msg += "; that task is not imported here, so its annotations are not known"
            raise EncodeError(msg) from exc
    msg = f"the arguments of {call.name} cannot be enqueued: {refusal}"
    raise EncodeError(msg) from refusal
