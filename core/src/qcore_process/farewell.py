"""What runs before a worker process ends, and for how long."""

from __future__ import annotations

import atexit
import logging
import os
import threading
from typing import TYPE_CHECKING, Any, Final

from qcore_process.exit_handlers import program_has_some
from qcore_process.worker_hooks import HOOKS

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger("qcore.worker")

#: whose handlers of streams and files are those of the standard library
_KNOWN: Final = frozenset({"logging", "qcore_logs"})
#: Seconds for the functions of `on_worker_stop`, and again for those of `atexit`.
_EACH: Final = 2.0


def say_farewell(slot: int) -> None:
    """Call what the program and its libraries want called before this process ends.

    All tasks are settled by now, so a function that does not return is cut off with the process.
    """
    if not HOOKS.on_stop and not program_has_some() and _log_waits_for_nobody():
        try:
            logging.shutdown()
        except Exception:  # noqa: BLE001 - as below
            _log.exception("worker %d: the log could not be closed", slot)
        return
    if HOOKS.on_stop:
        _within(slot, HOOKS.stop, lambda: f"on_worker_stop: {HOOKS.running}")
    _within(slot, atexit._run_exitfuncs, lambda: "a function registered with atexit")  # noqa: SLF001 - there is no public way


def _log_waits_for_nobody() -> bool:
    """Whether the log is closed at once: a program's own handler may wait for anything."""
    handlers: list[Any] = vars(logging)["_handlerList"]  # what `logging.shutdown` closes, weak references
    return all(_closes_at_once(type(one)) for one in (ref() for ref in handlers) if one is not None)


def _closes_at_once(kind: type[logging.Handler]) -> bool:
    if kind.flush is logging.Handler.flush and kind.close is logging.Handler.close:
        # It has nothing to send or to close.
        return True
    return issubclass(kind, logging.StreamHandler) and kind.__module__.partition(".")[0] in _KNOWN


def _within(slot: int, call: Callable[[], None], what: Callable[[], str]) -> None:
    # The functions expect the main thread, so it is another one that ends the process.
    over = threading.Event()

    def watch() -> None:
        if not over.wait(_EACH):
            _log.error("worker %d: %s did not return within %g s; it is cut off", slot, what(), _EACH)
            os._exit(0)

    threading.Thread(target=watch, name="qcore-farewell", daemon=True).start()
    try:
        call()
    except BaseException:  # noqa: BLE001 - the functions are the program's; the process ends anyway
        _log.exception("worker %d: %s failed", slot, what())
    finally:
        over.set()
