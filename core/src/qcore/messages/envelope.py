"""Decides how a task becomes signed bytes and back."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, Final

import msgspec

from qcore.errors import BadSignature, MalformedMessage, PayloadTooLarge, UnknownKey
from qcore.messages.head import MAX_HEAD, route_of
from qcore.messages.signing import MAC_SIZE, KeyRing, same, unknown_key
from qcore.model import KEY_ID_AT
from qcore_queues.names import DEFAULT_QUEUE, check_priority, check_queue

if TYPE_CHECKING:
    from collections.abc import Sequence

#: magic, version, algorithm, flags, serializer, key id, created ms, expires ms, task id,
#: length of the arguments before compression, length of the head
_HEADER: Final = struct.Struct(">2sBBBB4sQQ16sIH")
#: The first bytes of each message.
MAGIC: Final = b"Qc"
_VERSION: Final = 1
_HMAC_SHA256: Final = 1
#: the arguments are compressed by zlib
COMPRESSED: Final = 1
#: the arguments are a list of positional and a map of keyword arguments, not only a list
NAMED: Final = 2
#: the id is derived from the cause of the message, so that enqueuing it again gives the same id
DERIVED: Final = 4
#: before the arguments are the length of a workflow header, four bytes, and the header itself
TAIL: Final = 8
_UNKNOWN_FLAGS: Final = ~(COMPRESSED | NAMED | DERIVED | TAIL)
#: flags that a message outside of a flow does not have
_TIED: Final = DERIVED | TAIL
_HEADER_SIZE: Final = _HEADER.size
_TAIL_SIZE: Final = struct.Struct(">I")
_SMALLEST: Final = _HEADER.size + MAC_SIZE
#: Bytes; of a larger message no copy is made to verify it.
_LARGE: Final = 4096
#: Bytes to which arguments may be inflated, where `max_message` is not larger still.
MAX_RAW: Final = 32 << 20
#: Bytes; smaller arguments are not compressed, because zlib saves less than it costs.
COMPRESS_FROM: Final = 2048


class Opened(msgspec.Struct, frozen=True, gc=False):
    """A message whose signature was verified."""

    id: bytes
    #: encoded `Head`
    head: bytes
    #: the serialised arguments, decompressed
    arguments: bytes
    #: code of the serializer
    serializer: int
    named: bool
    #: epoch milliseconds
    created: int
    #: epoch milliseconds after which the task must not start, 0 = never
    expires: int = 0
    #: see `DERIVED`
    derived: bool = False
    #: encoded `WorkflowHeader`; empty = none
    tail: bytes = b""


class Envelope:
    """Seals and opens the messages of one queue."""

    __slots__ = ("_compress", "_keys", "_kid", "_mac", "_max_message", "_max_raw", "_whence")

    def __init__(
        self,
        secrets: Sequence[str],
        name: str,
        *,
        compress: bool = False,
        max_message: int = 8 << 20,
        max_raw: int = MAX_RAW,
        whence: str = "",
    ) -> None:
        #: where the keys come from, as messages name it
        self._whence = whence
        ring = KeyRing.derive(secrets, "task", name)
        self._keys = {key.id: key.mac for key in ring.by_id.values()}
        self._kid = ring.first.id
        self._mac = ring.first.mac
        self._compress = compress
        self._max_message = max_message
        self._max_raw = max_raw

    @property
    def key_ids(self) -> Sequence[bytes]:
        """The ids of the keys that it opens messages of; the first signs."""
        return tuple(reversed(self._keys))

    def seal(
        self,
        id: bytes,
        head: bytes,
        arguments: bytes,
        serializer: int,
        created: int,
        *,
        named: bool = False,
        expires: int = 0,
        derived: bool = False,
        tail: bytes = b"",
    ) -> bytes:
        """Return the signed message.

        Args:
            id: 16 bytes.
            head: encoded `Head`.
            arguments: serialised; empty for a call without any.
            serializer: its code.
            created: epoch milliseconds.
            named: see `NAMED`.
            expires: epoch milliseconds, 0 = never.
            derived: see `DERIVED`.
            tail: encoded `WorkflowHeader`; empty = none.

        Raises:
            PayloadTooLarge: it is larger than `max_message`, or its head larger than 8 KiB.

        """
        flags = NAMED if named else 0
        if derived:
            flags |= DERIVED
        if tail:
            flags |= TAIL
            arguments = _TAIL_SIZE.pack(len(tail)) + tail + arguments
        raw = len(arguments)
        if self._compress and raw >= COMPRESS_FROM:
            packed = zlib.compress(arguments)
            if len(packed) < raw:
                arguments = packed
                flags |= COMPRESSED
        if len(head) > MAX_HEAD or (raw > self._max_raw and flags & COMPRESSED):
            _refuse_size(len(head), raw, self._max_raw)
        size = _HEADER_SIZE + len(head) + len(arguments) + MAC_SIZE
        if size > self._max_message:
            msg = (
                f"the message has {size} bytes, max_message allows {self._max_message}; "
                "pass a reference to the data instead, or raise max_message everywhere"
            )
            raise PayloadTooLarge(msg)
        # fmt: off
        header = _HEADER.pack(
            MAGIC, _VERSION, _HMAC_SHA256, flags, serializer, self._kid, created, expires, id, raw, len(head)
        )
        # fmt: on
        data = header + head
        # Arguments may be large: each copy of 100 kB costs a fifth of its MAC.
        return b"".join((data, arguments, self._mac(data, arguments)))

    def reseal(self, body: bytes) -> bytes:
        """Return a message signed with the first key, whichever key signed it.

        Raises:
            EnvelopeError: its signature is not valid; see `open`.

        """
        self.open(body)
        data = body[: KEY_ID_AT.start] + self._kid + body[KEY_ID_AT.stop : -MAC_SIZE]
        return data + self._mac(data)

    def open(self, body: bytes) -> Opened:
        """Verify a message, then split it; nothing is decoded before the MAC is verified.

        Raises:
            MalformedMessage: it is not an envelope of this version.
            UnknownKey: it was signed with a key that is not configured.
            BadSignature: it was altered, or signed for another queue.

        """
        size = len(body)
        if not _SMALLEST <= size <= self._max_message:
            msg = f"a message of {size} bytes, an envelope has {_SMALLEST} to {self._max_message}"
            raise MalformedMessage(msg)
        magic, version, algorithm, flags, serializer, kid, created, expires, id_, raw, head_size = (
            _HEADER.unpack_from(body)
        )
        if magic != MAGIC or version != _VERSION or algorithm != _HMAC_SHA256:
            msg = f"not an envelope of version {_VERSION}: it begins with {body[:4].hex()}"
            raise MalformedMessage(msg)
        mac = self._keys.get(kid)
        if mac is None:
            raise UnknownKey(unknown_key(kid, self._keys, self._whence))
        end = size - MAC_SIZE
        if not same(mac(body[:end] if size < _LARGE else memoryview(body)[:end]), body[end:]):
            raise BadSignature
        start = _HEADER_SIZE + head_size
        if flags & _UNKNOWN_FLAGS or start > end or head_size > MAX_HEAD or raw > self._max_raw:
            msg = f"an envelope with flags {flags:#x}, head {head_size} and arguments {raw} bytes"
            raise MalformedMessage(msg)
        arguments = body[start:end]
        if flags & COMPRESSED:
            arguments = _inflate(arguments, raw)
        elif len(arguments) != raw:
            msg = f"{len(arguments)} bytes of arguments where the header says {raw}"
            raise MalformedMessage(msg)
        head, named = body[_HEADER_SIZE:start], bool(flags & NAMED)
        if not flags & _TIED:
            return Opened(id_, head, arguments, serializer, named, created, expires)
        tail = b""
        if flags & TAIL:
            tail, arguments = _split_workflow(arguments)
        return Opened(id_, head, arguments, serializer, named, created, expires, bool(flags & DERIVED), tail)


def is_other_version(body: bytes) -> bool:
    """Return whether bytes may be the envelope of another version of qcore."""
    return len(body) >= _SMALLEST and body[:2] == MAGIC and body[2] != _VERSION


def task_id(body: bytes) -> str:
    """Return the unverified task id of a message, for logs and lists; "" if it has none."""
    if len(body) < _SMALLEST or body[:2] != MAGIC:
        return ""
    return bytes(_HEADER.unpack_from(body)[8]).hex()


def route_of_body(body: bytes) -> tuple[str, int]:
    """Return the unverified queue and priority of a message; those of the default if it has none."""
    if len(body) < _SMALLEST or body[:2] != MAGIC:
        return "", 0
    size = _HEADER.unpack_from(body)[10]
    try:
        queue, priority = route_of(body[_HEADER_SIZE : _HEADER_SIZE + size])
        check_queue("queue", queue or DEFAULT_QUEUE)
        check_priority("priority", priority)
    except (MalformedMessage, TypeError, ValueError):
        return "", 0
    return queue, priority


def _refuse_size(head: int, raw: int, max_raw: int) -> None:
    if head > MAX_HEAD:
        msg = (
            f"the task's head has {head} bytes, at most {MAX_HEAD}; shorten its name, group, label or headers"
        )
        raise PayloadTooLarge(msg)
    msg = (
        f"the arguments have {raw} bytes before they are compressed, at most {max_raw} (32 MiB, or "
        "max_message if that is more); pass a reference to the data instead"
    )
    raise PayloadTooLarge(msg)


def _split_workflow(data: bytes) -> tuple[bytes, bytes]:
    """Return the workflow header and the arguments after it."""
    at = _TAIL_SIZE.size
    size = _TAIL_SIZE.unpack_from(data)[0] if len(data) >= at else -1
    if not 0 < size <= len(data) - at:
        msg = f"a tail of {size} bytes in a section of {len(data)}"
        raise MalformedMessage(msg)
    return data[at : at + size], data[at + size :]


def _inflate(data: bytes, size: int) -> bytes:
    """Decompress to exactly `size` bytes; a bomb is cut off one byte after that."""
    inflater = zlib.decompressobj()
    try:
        raw = inflater.decompress(data, size + 1)
    except zlib.error as exc:
        msg = f"the arguments do not inflate: {exc}"
        raise MalformedMessage(msg) from exc
    if len(raw) != size or inflater.unconsumed_tail or inflater.unused_data or not inflater.eof:
        msg = f"the arguments do not inflate to the {size} bytes the header says"
        raise MalformedMessage(msg)
    return raw
