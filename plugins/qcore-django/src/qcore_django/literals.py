"""Reads arguments that are written as Python literals, and writes them."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

#: what Python raises for a text that is not a literal
_REFUSALS: Final = (SyntaxError, ValueError, TypeError, MemoryError, RecursionError)


def literal(text: str) -> Any:  # noqa: ANN401 - of any type
    """Return the value of a literal.

    Raises:
        ValueError: it is not a literal; the text says why.

    """
    try:
        return ast.literal_eval(text.strip())
    except _REFUSALS as exc:
        raise ValueError(_why(exc)) from exc


def args_of(text: str) -> tuple[Any, ...]:
    """Return positional arguments: `1, 2, 'John'`, a tuple of them, or one value.

    Raises:
        ValueError: they are not literals; the text says why.

    """
    found = literal(text) if text.strip() else ()
    return found if isinstance(found, tuple) else (found,)


def kwargs_of(text: str) -> dict[str, Any]:
    """Return keyword arguments: `x=1, name='John'`, or a dict of them.

    Raises:
        ValueError: they are not literals; the text says why.

    """
    if not text.strip():
        return {}
    found = literal(text) if text.strip().startswith("{") else _of_call(text.strip())
    wrong = "it is not a dict"
    if isinstance(found, dict):
        if all(isinstance(key, str) for key in found):
            return found
        wrong = "it has a key that is not a text"
    raise ValueError(wrong)


def _of_call(text: str) -> dict[str, Any]:
    try:
        call = ast.parse(f"f({text})", mode="eval").body
        if isinstance(call, ast.Call) and not call.args and all(one.arg for one in call.keywords):
            return {str(one.arg): ast.literal_eval(one.value) for one in call.keywords}
    except _REFUSALS as exc:
        raise ValueError(_why(exc)) from exc
    msg = "a value has no keyword"
    raise ValueError(msg)


def _why(error: BaseException) -> str:
    return str(error).partition(" on line")[0].partition(":")[0] or type(error).__name__


def write_args(args: tuple[Any, ...]) -> str | None:
    """Return positional arguments as Django-Q's admin shows them."""
    return repr(tuple(args)) if args else None


def write_kwargs(kwargs: Mapping[str, Any]) -> str | None:
    """Return keyword arguments as Django-Q's admin shows them."""
    return repr(dict(kwargs)) if kwargs else None
