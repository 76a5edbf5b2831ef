"""Decides which arguments a function takes, before they are sent to it."""

from __future__ import annotations

import inspect
import weakref
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from collections.abc import Set as AbstractSet

_POSITIONAL: Final = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_NAMED: Final = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class Check(Protocol):
    """Checks the arguments of one function."""

    def __call__(self, args: Sequence[Any], kwargs: Mapping[str, Any], passed: int = 0) -> None:
        """Raise TypeError if the function does not take them, after `passed` further ones in front."""


#: checks of functions that are enqueued without being declared
_CHECKS: Final[weakref.WeakKeyDictionary[Callable[..., Any], Check | None]] = weakref.WeakKeyDictionary()


def check_of(function: Callable[..., Any], name: str) -> Check | None:
    """Return what checks arguments of a function, None if nothing is known of it or it takes all.

    A wrapper is looked at, not what it wraps: a decorator may pass arguments of its own.

    Args:
        function: what they are for.
        name: of the task, for messages.

    """
    try:
        signature = inspect.signature(function, follow_wrapped=False)
    except (TypeError, ValueError):
        return None
    parameters = list(signature.parameters.values())
    kinds = [one.kind for one in parameters]
    if kinds == [inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD]:
        return None
    # Nearly every call is found right by these; `bind` is correct for all, and takes ten times as long.
    by_count = [] if inspect.Parameter.VAR_KEYWORD in kinds else _needed_and_allowed(parameters)

    def check(args: Sequence[Any], kwargs: Mapping[str, Any], passed: int = 0) -> None:
        count = len(args) + passed
        if count < len(by_count):
            needed, allowed = by_count[count]
            if (not needed) if not kwargs else (needed <= kwargs.keys() <= allowed):
                return
        try:
            signature.bind(*(None,) * passed, *args, **kwargs)
        except TypeError as exc:
            msg = f"{name} cannot be called like this: {exc}; it takes {_shown(signature)}"
            raise TypeError(msg) from None

    return check


def known_check(function: Callable[..., Any] | None, name: str) -> Check | None:
    """Return what checks the arguments of a function that is not declared; it is made once."""
    if function is None:
        return None
    try:
        return _CHECKS[function]
    except KeyError:
        check = _CHECKS[function] = check_of(function, name)
        return check
    except TypeError:
        # It can be neither hashed nor referenced weakly.
        return check_of(function, name)


def _needed_and_allowed(
    parameters: Sequence[inspect.Parameter],
) -> Sequence[tuple[AbstractSet[str], AbstractSet[str]]]:
    """Return, by the number of arguments without a name, which names are needed and which are allowed."""
    order = [one for one in parameters if one.kind in _POSITIONAL]
    found = []
    for count in range(len(order) + 1):
        left = [one for one in parameters if one not in order[:count] and one.kind in (*_POSITIONAL, *_NAMED)]
        needed = frozenset(one.name for one in left if one.default is one.empty)
        found.append((needed, frozenset(one.name for one in left if one.kind in _NAMED)))
    return found


def _shown(signature: inspect.Signature) -> str:
    """Return the parameters of a function without annotations and defaults, which may be long."""
    plain = [
        one.replace(annotation=one.empty, default=one.default if one.default is one.empty else ...)
        for one in signature.parameters.values()
    ]
    return str(inspect.Signature(plain)).replace("Ellipsis", "...")
