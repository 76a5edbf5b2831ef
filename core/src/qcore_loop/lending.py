"""How a thread that works for a coroutine asks its loop."""

from __future__ import annotations

import asyncio
import inspect
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

_P = ParamSpec("_P")
_T = TypeVar("_T")

#: the loop of the coroutine that this thread works for; None = it works for none
_LOOP: Final[ContextVar[asyncio.AbstractEventLoop | None]] = ContextVar("qcore_loop.lending", default=None)


def is_asynchronous(thing: object) -> bool:
    """Return whether this is of a class for coroutines, such as an asynchronous connection."""
    kind = type(thing)
    return inspect.iscoroutinefunction(getattr(kind, "execute", None)) or (
        hasattr(kind, "__aenter__") and not hasattr(kind, "__enter__")
    )


async def in_thread(function: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Call a function in a thread, which may `ask` this loop meanwhile.

    A coroutine that is cancelled goes on when the function has ended, so that nothing of the caller's
    is in use any more.
    """
    token = _LOOP.set(asyncio.get_running_loop())
    try:
        work = asyncio.ensure_future(asyncio.to_thread(function, *args, **kwargs))
    finally:
        _LOOP.reset(token)
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait([work])
        if not work.cancelled():
            # nobody else takes what it has raised
            work.exception()
        raise


def can_ask() -> bool:
    """Return whether this thread works for a coroutine, and is not its loop's own."""
    # the public function raises if none runs
    return _LOOP.get() not in {None, asyncio._get_running_loop()}  # noqa: SLF001 - see above


def ask(function: Callable[_P, Coroutine[Any, Any, _T]], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Await a coroutine function in the loop that this thread works for; return what it returns.

    Raises:
        RuntimeError: this code works for no coroutine.

    """
    loop = _LOOP.get()
    if loop is None or not can_ask():
        msg = "this code works for no coroutine, so there is no loop to ask; see `in_thread`"
        raise RuntimeError(msg)
    return asyncio.run_coroutine_threadsafe(function(*args, **kwargs), loop).result()
