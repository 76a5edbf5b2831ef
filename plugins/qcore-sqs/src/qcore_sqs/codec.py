"""What a message looks like at SQS, and what a receipt holds."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any, Final

import msgspec

from qcore.errors import PayloadTooLarge

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: bytes of a message with its attributes, and of a batch, as SQS has it
LIMIT: Final = 1_048_576
#: bytes kept free for the note
_ROOM: Final = 8192
#: bytes of a body that still fits once it is text
MAX_BYTES: Final = (LIMIT - _ROOM) // 4 * 3
#: entries of a batch, as SQS has it
BATCH: Final = 10
#: what stands for an empty body, for SQS takes none
_EMPTY: Final = "="
#: name of the attribute that bears the note
ATTRIBUTE: Final = "qcore"
#: bytes of the reason of a dead letter that are kept
_REASON: Final = 3000
#: bodies up to this size lie in the receipt, so that whoever settles can send them anew; ten
#: of them must fit into what a worker notes down
IN_RECEIPT: Final = 24_576
_MARK: Final = b"sqs1"


class Note(msgspec.Struct, frozen=True, omit_defaults=True):
    """What travels beside the body, where it is not all defaults."""

    #: leases of the copies before this one
    deliveries: int = 0
    failures: int = 0
    crashes: int = 0
    #: epoch seconds before which it is not to be handed out; 0.0 = SQS keeps the time
    due: float = 0.0
    #: SQS delayed it, so a purge could not reach it
    delayed: bool = False
    #: receipt handle of the copy this one takes the place of
    instead: str = ""
    #: of a dead letter: its id, the same in every copy
    letter: str = ""
    reason: str = ""
    #: epoch seconds
    dead_letters: float = 0.0


class Lease(msgspec.Struct, frozen=True, array_like=True):
    """What a receipt tells, so that any process can settle with it."""

    handle: str
    #: SQS's name for the message
    id: str
    deliveries: int
    failures: int
    crashes: int
    #: epoch seconds when it was handed out
    since: float
    #: None = too large to be carried along
    body: bytes | None


class Arrival(msgspec.Struct, frozen=True):
    """A message as it was received."""

    handle: str
    id: str
    body: bytes
    note: Note
    #: receives so far, by SQS's count
    receives: int
    #: epoch seconds, by SQS's clock
    sent: float
    first: float


_NOTE: Final = msgspec.json.Decoder(Note)
_LEASE: Final = msgspec.msgpack.Decoder(Lease)
_encode_note: Final = msgspec.json.Encoder().encode
_encode_lease: Final = msgspec.msgpack.Encoder().encode
PLAIN: Final = Note()


def text_of(body: bytes) -> str:
    """Return the text that stands for a body.

    Raises:
        PayloadTooLarge: SQS would not take it.

    """
    if len(body) > MAX_BYTES:
        raise PayloadTooLarge(
            f"the message has {len(body)} bytes; SQS takes {LIMIT} with all that belongs to it, "
            f"which leaves {MAX_BYTES} for the body: pass a reference instead of the data"
        )
    return base64.b64encode(body).decode() or _EMPTY


def body_of(text: str) -> bytes:
    """Return the body; what somebody else put there comes as it is, and is refused for it."""
    try:
        return b"" if text == _EMPTY else base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return text.encode()


def entry(text: str, note: Note = PLAIN, delay: int = 0) -> dict[str, Any]:
    """Return what is told of a message to be sent."""
    told: dict[str, Any] = {"MessageBody": text}
    if delay:
        told["DelaySeconds"] = delay
    if note != PLAIN:
        value = _encode_note(note).decode()
        told["MessageAttributes"] = {ATTRIBUTE: {"DataType": "String", "StringValue": value}}
    return told


def size(told: dict[str, Any]) -> int:
    """Return the bytes SQS counts."""
    count = len(told["MessageBody"])
    for name, value in told.get("MessageAttributes", {}).items():
        count += len(name) + len(value["DataType"]) + len(value["StringValue"].encode())
    return count


def batches(entries: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Cut what is to be sent into batches that SQS takes."""
    batch: list[dict[str, Any]] = []
    weight = 0
    for one in entries:
        heavy = size(one)
        if batch and (len(batch) == BATCH or weight + heavy > LIMIT):
            yield batch
            batch, weight = [], 0
        batch.append(one)
        weight += heavy
    if batch:
        yield batch


def arrival(message: dict[str, Any]) -> Arrival:
    """Read a message that was received."""
    told = message.get("Attributes", {})
    return Arrival(
        message["ReceiptHandle"],
        message["MessageId"],
        body_of(message.get("Body", "")),
        _note(message),
        int(told.get("ApproximateReceiveCount", 1)),
        float(told.get("SentTimestamp", 0)) / 1000,
        float(told.get("ApproximateFirstReceiveTimestamp", 0)) / 1000,
    )


def _note(message: dict[str, Any]) -> Note:
    value = message.get("MessageAttributes", {}).get(ATTRIBUTE, {}).get("StringValue")
    try:
        return _NOTE.decode(value) if value else PLAIN
    except (msgspec.MsgspecError, UnicodeError):
        # somebody else's; its message is none of ours either
        return PLAIN


def receipt(came: Arrival, deliveries: int, since: float) -> bytes:
    """Return the receipt of a lease."""
    body = came.body if len(came.body) <= IN_RECEIPT else None
    note = came.note
    return _MARK + _encode_lease(
        Lease(came.handle, came.id, deliveries, note.failures, note.crashes, since, body)
    )


def lease_of(given: bytes) -> Lease | None:
    """Return what a receipt tells, None if it never was one."""
    if not given.startswith(_MARK):
        return None
    try:
        return _LEASE.decode(given[len(_MARK) :])
    except (msgspec.MsgspecError, UnicodeError):
        return None


def shortened(reason: str) -> str:
    """Return a reason that finds room in the note, of characters that SQS takes."""
    clean = reason.encode(errors="backslashreplace")[:_REASON].decode(errors="ignore")
    return clean.replace("\ufffe", "?").replace("\uffff", "?")
