"""What a supervisor and its zygote send each other."""

from __future__ import annotations

from typing import Any, Final

import msgspec

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
    #: modules of the backends, which the supervisor and the zygote need
    imports: list[str] = []
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
