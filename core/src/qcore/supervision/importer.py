"""The process that imports the user's module for `qcore run`."""

from __future__ import annotations

import os
import select
import signal
import socket
import time
from typing import TYPE_CHECKING, Any, Final, NoReturn

import msgspec

from qcore.config import Config
from qcore.errors import StartFailed
from qcore.journal.memory import Journal
from qcore.supervision import zygote
from qcore.supervision.protocol import MESSAGE, Notice, decode_boot, encode
from qcore.supervision.zygote_link import ZygoteLink
from qcore_logs import setup
from qcore_process.birth import flush_streams
from qcore_process.stop_signals import ignore_signals

if TYPE_CHECKING:
    from collections.abc import Callable

    from qcore.plugins import Plugins

#: Seconds after which an import is said to take long, and seconds until that is said again.
_LONG: Final = 10.0
_AGAIN: Final = 60.0


class ImportFailed(Exception):
    """The module could not be imported, and its process has said why."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def import_apart(
    module: str,
    find: Callable[[], Config],
    plugins: Plugins,
    *,
    explain: Callable[[BaseException], int],
    show: Callable[[str], None],
) -> tuple[dict[str, Any], ZygoteLink]:
    """Import the user's module in a process that then can become the zygote of a supervisor.

    Args:
        module: its name, for messages.
        find: imports it and returns the configuration of its App.
        plugins: those installed.
        explain: prints an error of `find` and returns the exit code for it.
        show: prints a line to whoever waits.

    Raises:
        ImportFailed: `find` has raised, and `explain` has said so.
        StartFailed: the process was killed.

    """
    flush_streams()  # else both processes write what is buffered
    parent = os.getpid()
    link = ZygoteLink.fork(parent, lambda channel: _import(channel, find, plugins, explain))
    try:
        notice = _wait(link, module, show)
    except BaseException:
        link.close()
        raise
    if notice is not None:
        config: dict[str, Any] = msgspec.msgpack.decode(notice.body)
        return config, link
    link.channel.close()
    status = link.wait()
    if status is None or status < 0:
        by = f"was killed by {signal.Signals(-status).name}" if status else "does not end"
        msg = f"the process that imports your module {module!r} {by}"
        raise StartFailed(msg)
    raise ImportFailed(status)


def _wait(link: ZygoteLink, module: str, show: Callable[[str], None]) -> Notice | None:
    """Wait for the configuration, however long that takes; None if the process has ended."""
    began = time.monotonic()
    seconds = _LONG
    while not select.select([link.channel], [], [], seconds)[0]:
        took = time.monotonic() - began
        show(f"qcore still imports your module {module!r} after {took:.0f} s; no task runs until it ends")
        seconds = _AGAIN
    return link.receive()[0]


def _import(
    channel: socket.socket,
    find: Callable[[], Config],
    plugins: Plugins,
    explain: Callable[[BaseException], int],
) -> None:
    """Run as the forked process."""
    ignore_signals()
    try:
        config = find()
    except BaseException as exc:  # noqa: BLE001 - whatever an import raises is shown to the user
        _leave(explain(exc))
    channel.send(encode(Notice("configured", body=msgspec.msgpack.encode(config.packed()))))
    data, fds, _, _ = socket.recv_fds(channel, MESSAGE, 1)
    if not data:
        # The supervisor was not started: its options were wrong, or its broker.
        _leave(0)
    boot = decode_boot(data)
    config = Config.unpacked(boot.config, plugins)
    setup.configure(config)
    zygote.serve(channel, Journal(fds[0], boot.slots), boot, config, plugins)


def _leave(code: int) -> NoReturn:
    """End at once: a thread that the module has started would hold up the end."""
    flush_streams()
    os._exit(code)
