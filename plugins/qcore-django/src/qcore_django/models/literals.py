"""Decides how arguments of schedules are written as text, and read."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError

if TYPE_CHECKING:
    from collections.abc import Mapping


def read_args(text: object) -> tuple[Any, ...]:
    """Return positional arguments: `1, 2, 'John'`, a tuple of them, or one value.

    Raises:
        ValidationError: they are not literals.

    """
    if not isinstance(text, str):
        return () if text is None else tuple(text) if isinstance(text, tuple | list) else (text,)
    if not text.strip():
        return ()
    try:
        found = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as exc:
        raise ValidationError(
            f"{text[:80]!r} is not a list of literals such as 1, 2, 'John': {_why(exc)}"
        ) from exc
    return found if isinstance(found, tuple) else (found,)


def read_kwargs(text: object) -> dict[str, Any]:
    """Return keyword arguments: `x=1, name='John'`, or a dict of them.

    Raises:
        ValidationError: they are not literals.

    """
    if not isinstance(text, str):
        return dict(text or {})  # type: ignore[call-overload]  # a mapping, or nothing
    if not text.strip():
        return {}
    try:
        found = _dict_of(text.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as exc:
        raise ValidationError(
            f"{text[:80]!r} is not a list of keywords such as x=1, name='John': {_why(exc)}"
        ) from exc
    if not all(isinstance(key, str) for key in found):
        raise ValidationError(f"{text[:80]!r} has a key that is not a text")
    return found


def _dict_of(text: str) -> dict[str, Any]:
    if text.startswith("{"):
        found = ast.literal_eval(text)
        if not isinstance(found, dict):
            msg = "it is not a dict"
            raise ValueError(msg)
        return found
    call = ast.parse(f"f({text})", mode="eval").body
    if not isinstance(call, ast.Call) or call.args or any(one.arg is None for one in call.keywords):
        msg = "a value has no keyword"
        raise ValueError(msg)
    return {str(one.arg): ast.literal_eval(one.value) for one in call.keywords}


def _why(error: BaseException) -> str:
    return str(error).partition(" on line")[0].partition(":")[0] or type(error).__name__


def write_args(args: tuple[Any, ...]) -> str | None:
    """Return positional arguments as Django-Q's admin shows them."""
    return repr(tuple(args)) if args else None


def write_kwargs(kwargs: Mapping[str, Any]) -> str | None:
    """Return keyword arguments as Django-Q's admin shows them."""
    return repr(dict(kwargs)) if kwargs else None
