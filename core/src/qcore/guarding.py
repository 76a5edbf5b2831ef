"""Decides what becomes of an error that a plugin must not raise."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any, Final, TypeVar

from qcore.coordination import CoordinationStore
from qcore.errors import INTERRUPTS, BackendRejected, BackendUnavailable, PluginFailed
from qcore.interfaces import Broker, ResultStore, ScheduleStore
from qcore.user_modules import source_line_of
from qcore_text.wording import reason

if TYPE_CHECKING:
    from collections.abc import Callable

_T = TypeVar("_T", Broker, ResultStore, ScheduleStore, CoordinationStore)

#: the interfaces whose methods may raise `BackendUnavailable` and `BackendRejected` and nothing else
_INTERFACES: Final = (Broker, ResultStore, ScheduleStore, CoordinationStore)


def guarded(made: _T, whose: str) -> _T:
    """Have the methods of an object's interface raise `PluginFailed` in place of errors they must not raise.

    Only the processes of a cluster use this. In a user's program an exception of a signal handler,
    which may be raised in a method that waits, has to get out unchanged.

    Args:
        made: a broker or a store.
        whose: what it is and who offers it, as messages call it.

    """
    try:
        made.__class__ = _guarded_class(type(made), whose)
    except TypeError:
        # A class that cannot be derived from, written in C for one, stays as it is.
        return made
    return made


def failed(whose: str, method: str, error: BaseException) -> PluginFailed:
    """Return the error for one that a plugin must not raise."""
    where = source_line_of(error)
    at = f", at {where}" if where else ""
    return PluginFailed(f"{whose} raised {reason(error)} in `{method}`{at}; report it to the author")


@functools.cache
def _guarded_class(kind: type, whose: str) -> type:
    """Return a class with the same methods, of which those of the interface are guarded."""
    body: dict[str, Any] = {"__slots__": (), "__module__": kind.__module__, "__qualname__": kind.__qualname__}
    for interface in _INTERFACES:
        if issubclass(kind, interface):
            for name in vars(interface):
                method = getattr(kind, name)
                if not name.startswith("_") and inspect.isfunction(method):
                    body[name] = _guarded_method(method, name, whose)
    return type(kind)(kind.__name__, (kind,), body)


def _guarded_method(method: Callable[..., Any], name: str, whose: str) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - whatever the method takes and returns
        try:
            return method(*args, **kwargs)
        except (BackendUnavailable, BackendRejected, SystemExit, *INTERRUPTS):
            raise
        except BaseException as exc:
            raise failed(whose, name, exc) from exc

    return call
