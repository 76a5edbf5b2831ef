"""Calls factories of plugins and says whose fault an error is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from qcore.errors import PluginBroken, PluginError, QcoreError
from qcore.interfaces import Broker
from qcore.user_modules import import_user_module, source_line_of
from qcore_text.wording import reason

if TYPE_CHECKING:
    from collections.abc import Callable

_T = TypeVar("_T")


def make(whose: str, factory: Callable[..., _T], *args: Any, **kwargs: Any) -> _T:
    """Return what a factory makes.

    Args:
        whose: what the factory makes and who offers it, as messages call it.
        factory: a plugin's, or the user's class.
        args: passed to it.
        kwargs: passed to it.

    Raises:
        PluginBroken: it raised an error that is not a `QcoreError`; the message names file and line.

    """
    try:
        return factory(*args, **kwargs)
    except QcoreError:
        raise
    except Exception as exc:
        where = source_line_of(exc)
        msg = f"{whose} cannot be made: {reason(exc)}" + (f"\n  at {where}" if where else "")
        raise PluginBroken(msg) from exc


def load_broker_class(dotted: str) -> type[Broker]:
    """Return the class that `broker_class` names.

    Raises:
        ModuleFailed: its module raised an error while it was imported.
        PluginError: there is no such class, or it is not a broker.

    """
    module, _, name = dotted.rpartition(".")
    try:
        found: Any = getattr(import_user_module(module), name)
    except (ImportError, AttributeError, ValueError) as exc:
        msg = f"broker_class: {dotted!r} cannot be imported ({exc}); give the dotted path of a class"
        raise PluginError(msg) from exc
    if not (isinstance(found, type) and issubclass(found, Broker)):
        msg = f"broker_class: {dotted!r} is not a subclass of qcore.interfaces.Broker"
        raise PluginError(msg)
    return found
