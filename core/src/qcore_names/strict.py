"""Decides whether arguments are of the annotated types."""

from __future__ import annotations

import functools
import importlib.util
import inspect
import typing
from typing import TYPE_CHECKING, Any, Final

from qcore.errors import NotSupported, TaskNameError, TaskNotFound
from qcore_names.resolve import resolve
from qcore_names.signatures import known_check

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

#: stands for an argument that is not known yet
_PASSED: Final = object()


def check_strictly(name: str, args: Sequence[Any], kwargs: Mapping[str, Any], passed: int = 0) -> None:
    """Check that a task is here, and that its arguments are of the annotated types.

    Args:
        name: of the task.
        args: what it is given by position.
        kwargs: what it is given by name.
        passed: how many arguments it is given before its own, by what ends before it.

    Raises:
        NotSupported: typeguard is not installed.
        TaskNameError: its name leads to no function here.
        TypeError: its function does not take such arguments, or one is of another type.

    """
    if not _typeguard_there():
        msg = (
            "strict needs typeguard, which is not installed; in a clone of qcore, pip install ./core[strict]"
        )
        raise NotSupported(msg)
    from typeguard import CollectionCheckStrategy, TypeCheckError, check_type  # noqa: PLC0415 - of the extra

    try:
        function = resolve(name, None)
    except TaskNotFound as exc:
        raise TaskNameError(str(exc)) from exc
    if hasattr(function, "__qcore_retry__"):
        # A declared task; what it declares is behind it.
        function = function.__wrapped__  # type: ignore[attr-defined]  # see `qcore.tasks.task.Task`
    # Nothing was known of its parameters if only now its module is imported.
    if (check := known_check(function, name)) is not None:
        check(args, kwargs, passed)
    for parameter, value, hint in _hinted(function, args, kwargs, passed):
        try:
            check_type(value, hint, collection_check_strategy=CollectionCheckStrategy.ALL_ITEMS)
        except TypeCheckError as exc:
            msg = f"argument {parameter!r} of {name} is not of its type: {exc}"
            raise TypeError(msg) from None


@functools.cache
def _typeguard_there() -> bool:
    return importlib.util.find_spec("typeguard") is not None


def _hinted(
    function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], passed: int
) -> Iterator[tuple[str, Any, Any]]:
    """Yield name, value and annotation of each argument that has one."""
    read = _read(function)
    if read is None:
        return
    signature, hints = read
    bound = signature.bind_partial(*(_PASSED,) * passed, *args, **kwargs)
    for name, value in bound.arguments.items():
        if name not in hints or value is _PASSED:
            continue
        kind = signature.parameters[name].kind
        if kind is inspect.Parameter.VAR_POSITIONAL:
            yield from ((name, item, hints[name]) for item in value if item is not _PASSED)
        elif kind is inspect.Parameter.VAR_KEYWORD:
            yield from ((key, item, hints[name]) for key, item in value.items())
        else:
            yield name, value, hints[name]


@functools.lru_cache(maxsize=1024)
def _read(function: Callable[..., Any]) -> tuple[inspect.Signature, dict[str, Any]] | None:
    """Return parameters and annotations of a function, or None if they cannot be read."""
    try:
        # A wrapper is looked at, not what it wraps.
        return inspect.signature(function, follow_wrapped=False), typing.get_type_hints(function)
    except Exception:  # noqa: BLE001 - builtins have no signature, and annotations may not resolve
        return None
