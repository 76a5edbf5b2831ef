"""Defines the properties of a task that are read before its arguments."""

from __future__ import annotations

from typing import Final

import msgspec

from qcore.errors import MalformedMessage

#: Most bytes of a head, so that many heads fit into the journal.
MAX_HEAD: Final = 8192
#: The beginning of a head without `queue` and `priority`: an array of the fields before them.
_UNROUTED: Final = b"\xdc\x00\x15"


class Head(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The properties of a task that processes read without decoding its arguments.

    New fields are added at the end with a default, so that older readers ignore them.
    """

    name: str
    #: free text of the producer
    label: str | None = None
    group: str | None = None
    #: seconds
    timeout: float | None = None
    max_attempts: int | None = None
    backoff: float | None = None
    max_delay: float | None = None
    jitter: bool | None = None
    ack_failure: bool | None = None
    #: whether a success is stored; None = see the configuration
    save: bool | None = None
    #: seconds for which a result is stored; 0 = for ever; None = see the configuration
    result_ttl: float | None = None
    headers: dict[str, str] | None = None
    #: names of exceptions after which the task is retried; None = every exception
    on: list[str] | None = None
    #: dotted name of the function that is called with the final result
    hook: str | None = None
    #: name of the schedule that enqueued it
    schedule: str | None = None
    #: most tasks of the same `limit_key` that run at once
    concurrency: int | None = None
    #: most starts of tasks of the same `limit_key` in a time: count, seconds
    rate: tuple[int, float] | None = None
    #: what `concurrency` and `rate` count by; None = the task's name
    limit_key: str | None = None
    #: it was enqueued with a delay, so its age is not its waiting time
    delayed: bool | None = None
    #: runs that may kill their worker; 0 = no limit; None = see the configuration
    max_crashes: int | None = None
    #: it is acknowledged before it begins; None = see the configuration
    at_most_once: bool | None = None
    # `encode_head` leaves out these two, so they stay the last ones.
    #: queue it was put on; None = `default`
    queue: str | None = None
    #: None = 0
    priority: int | None = None


def _plain(value: object) -> object:
    """Return an object of a subclass of str, float or int, such as numpy's, as the plain type."""
    for kind in (str, float, int):
        if isinstance(value, kind):
            return kind(value)
    msg = f"a head cannot hold a {type(value).__name__}"
    raise TypeError(msg)


_encode = msgspec.msgpack.Encoder(enc_hook=_plain).encode
decode_head = msgspec.msgpack.Decoder(Head).decode


def encode_head(head: Head) -> bytes:
    """Encode a head; one of the default queue and priority has no room for them, see `route_of`."""
    data = _encode(head)
    return data if head.queue or head.priority else _UNROUTED + data[len(_UNROUTED) : -2]


def route_of(head: bytes) -> tuple[str, int]:
    """Return queue and priority of an encoded head."""
    if head.startswith(_UNROUTED):
        return "", 0
    read = read_head(head)
    return read.queue or "", read.priority or 0


def read_head(data: bytes) -> Head:
    """Read a head whose signature was verified.

    Raises:
        MalformedMessage: it is not a head of a known version.

    """
    try:
        return decode_head(data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as exc:
        msg = f"not a head of a known version: {exc}"
        raise MalformedMessage(msg) from exc
