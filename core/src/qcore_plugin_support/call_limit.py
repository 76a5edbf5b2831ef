"""Decides that all requests of a call have one time limit."""

from __future__ import annotations

import functools
import inspect
import math
import time
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, TypeVar

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_T = TypeVar("_T", bound=type)

#: Seconds of each request that do not count, so that a large call to a server in good order, as of
#: thousands of requests, is not cut off, and one to a server that drips is.
_QUICK: Final = 0.5


@attrs.define
class _Call:
    limit: float
    #: seconds that its requests may still take, beyond what does not count
    left: float


_CALL: Final = ContextVar[_Call | None]("qcore_call", default=None)
#: monotonic seconds at which the request of this thread ends
_END: Final = ContextVar("qcore_request_end", default=math.inf)


def each_call(limit: Callable[[Any], float]) -> Callable[[_T], _T]:
    """Decorate a class: the requests of one call of a public method have one limit, in seconds.

    `limit` returns it, of an instance. A method that is called by another is a part of its call.
    """

    def decorate(cls: _T) -> _T:
        for name, method in list(vars(cls).items()):
            if inspect.isfunction(method) and not name.startswith("_") and name != "close":
                setattr(cls, name, _limited(method, limit))
        return cls

    return decorate


def _limited(method: Callable[..., Any], limit: Callable[[Any], float]) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(self: Any, /, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - any method
        if _CALL.get() is not None:
            return method(self, *args, **kwargs)
        seconds = limit(self)
        token = _CALL.set(_Call(seconds, seconds))
        try:
            return method(self, *args, **kwargs)
        finally:
            _CALL.reset(token)

    return call


@contextmanager
def within(seconds: float, *, wait: float = 0.0) -> Iterator[None]:
    """Let the request of a block take so many seconds, or what its call has left, and `wait` beyond.

    Args:
        seconds: the most for this request.
        wait: seconds that the server is asked to wait.

    """
    call, began = _CALL.get(), time.monotonic()
    if call is not None:
        seconds = min(seconds, call.left)
    token = _END.set(min(_END.get(), began + seconds + wait))
    try:
        yield
    finally:
        _END.reset(token)
        if call is not None:
            call.left -= max(0.0, time.monotonic() - began - wait - _QUICK)


def again() -> None:
    """Give the call its limit anew: it has waited for what it was to wait for, and looks once more."""
    if (call := _CALL.get()) is not None:
        call.left = call.limit


def left() -> float:
    """Return the seconds that are left, infinity outside of `within`.

    Raises:
        TimeoutError: none are left.

    """
    seconds = _END.get() - time.monotonic()
    if seconds <= 0:
        raise TimeoutError("the answer was not complete in time")
    return seconds


def lasts(seconds: float) -> bool:
    """Return whether more than these seconds are left."""
    return _END.get() - time.monotonic() > seconds
