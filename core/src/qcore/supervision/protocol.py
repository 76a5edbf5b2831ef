"""What a supervisor and its zygote send each other."""

from __future__ import annotations

import ctypes
import functools
import os
import signal
import sys
from typing import TYPE_CHECKING, Any, Final

import msgspec

from qcore_process.forked import EX_SOFTWARE

if TYPE_CHECKING:
    from collections.abc import Callable

#: prctl(2): the signal this process gets when the thread that forked it ends
_PR_SET_PDEATHSIG: Final = 1
#: Largest message of the channel; boot carries the configuration and sys.path.
MESSAGE: Final = 1 << 20


class Boot(msgspec.Struct):
    """Everything a new process needs to become part of a cluster."""

    config: dict[str, Any]
    #: sys.path of the program that starts the cluster
    path: list[str]
    slots: int
    #: pid of the process that must be its parent
    parent: int
    #: modules imported before the first worker is forked
    preload: list[str] = []
    #: the user's script: its module name and file
    script: tuple[str, str] | None = None
    #: plugins not to be used
    blocked: list[str] = []


class Order(msgspec.Struct):
    """Supervisor to zygote: fork a worker (signal 0) or send one a signal."""

    slot: int
    signal: int = 0
    #: names the leases of the new worker
    owner: bytes = b""
    #: processors it may use; empty = all
    cpus: list[int] = []


class Notice(msgspec.Struct):
    """Zygote to supervisor: `configured`, `importing`, `declared`, `ready`, `failed`, `up` or `down`.

    With `up` comes a pidfd of the worker, where the kernel has them.
    """

    what: str
    slot: int = -1
    pid: int = 0
    #: as `os.waitstatus_to_exitcode` returns it: below 0 a signal
    status: int = 0
    text: str = ""
    #: for `configured`: the configuration of the App; for `declared`: a part of what
    #: `declared.gather` returned
    body: bytes = b""


encode = msgspec.msgpack.Encoder().encode
decode_boot = msgspec.msgpack.Decoder(Boot).decode
decode_order = msgspec.msgpack.Decoder(Order).decode
decode_notice = msgspec.msgpack.Decoder(Notice).decode


def die_with_parent(parent: int) -> None:
    """Have the kernel end this process when its parent ends; leave at once if it has."""
    _at_parents_end(signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(EX_SOFTWARE)


def wake_with_parent() -> None:
    """Have the kernel resume this process when its parent ends, instead of killing it.

    It then sees the end of the channel, even if somebody had stopped it.
    """
    _at_parents_end(signal.SIGCONT)


def _at_parents_end(number: signal.Signals) -> None:
    if sys.platform == "linux":
        _prctl()(_PR_SET_PDEATHSIG, number)


@functools.cache
def _prctl() -> Callable[[int, int], int]:
    # Found once, before workers are forked.
    return ctypes.CDLL(None, use_errno=True).prctl
