"""Reads the arguments of a schedule, which Django-Q keeps as a text."""

from __future__ import annotations

import ast
from typing import Any, Final

#: what Python raises for a text that is not a literal
_REFUSALS: Final = (SyntaxError, ValueError, TypeError, MemoryError, RecursionError)


def positional(text: str | None) -> tuple[Any, ...]:
    """Return positional arguments; a single value is one of them.

    Raises:
        ValueError: it is not a literal, so Django-Q could not fire the schedule.

    """
    if not text:
        return ()
    try:
        found = ast.literal_eval(text)
    except _REFUSALS as exc:
        raise ValueError(f"its arguments {text!r:.200} are not Python literals") from exc
    return found if isinstance(found, tuple) else (found,)


def named(text: str | None) -> dict[str, Any] | None:
    """Return keyword arguments, written as a dict or as `a=1, b="two"`; None if they cannot be read.

    Raises:
        ValueError: it is a literal, but no dict, so Django-Q could not fire the schedule.

    """
    if not text:
        return {}
    try:
        found = ast.literal_eval(text)
    except _REFUSALS:
        return _as_call(text)
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        raise ValueError(f"its keyword arguments {text!r:.200} are neither a dict nor like a=1, b=2")
    return found


def _as_call(text: str) -> dict[str, Any] | None:
    try:
        made = ast.parse(f"f({text})", mode="eval").body
        if not isinstance(made, ast.Call) or made.args:
            return None
        return {str(one.arg): ast.literal_eval(one.value) for one in made.keywords if one.arg is not None}
    except _REFUSALS:
        return None
