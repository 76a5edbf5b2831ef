"""What the first, second and third signal do to a cluster."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextlib.contextmanager
def handled(selector: selectors.BaseSelector, stop: Callable[[float | None], None]) -> Iterator[None]:
    """Have SIGTERM and SIGINT interrupt a wait for `selector`, and stop the cluster.

    The first lets running tasks end within `shutdown_timeout`, the second interrupts them, the third
    ends this process at once. They are counted apart from other requests to stop: an init system
    signals this process and the user's program, which then also asks it to stop, and neither is in a
    hurry.
    """
    received = 0

    def on_signal(*_: object) -> None:
        nonlocal received
        received += 1
        if received > 2:
            os._exit(130)
        stop(None if received == 1 else 0)

    wake, wake_writer = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(wake_writer, False)
    before = {number: signal.signal(number, on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
    before_fd = signal.set_wakeup_fd(wake_writer, warn_on_full_buffer=False)
    selector.register(wake, selectors.EVENT_READ, lambda: os.read(wake, 4096))
    try:
        yield
    finally:
        signal.set_wakeup_fd(before_fd)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(wake)
        os.close(wake_writer)


def ignore_signals() -> None:
    """Leave it to the supervisor to stop: a terminal or an init system signals the whole group."""
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
