"""Decides the form of messages at SQS and of receipts."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any, Final

import msgspec

from qcore.errors import PayloadTooLarge
from qcore_plugin_support import count_of, epoch_seconds

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: most bytes of a message with its attributes, and of a batch, at SQS
LIMIT: Final = 1_048_576
#: bytes reserved for the metadata
_ROOM: Final = 8192
#: most bytes of a body, so that its text fits
MAX_BYTES: Final = (LIMIT - _ROOM) // 4 * 3
#: most entries of a batch at SQS
BATCH: Final = 10
#: text of an empty body, because SQS accepts no empty text
_EMPTY: Final = "="
#: name of the attribute that holds the metadata
ATTRIBUTE: Final = "qcore"
#: most bytes of the reason of a dead letter
_REASON: Final = 3000
#: most bytes of a body that is part of the receipt, so that another process can send it again; ten of
#: them must fit into a worker's journal
IN_RECEIPT: Final = 24_576
_MARK: Final = b"sqs1"


class Metadata(msgspec.Struct, frozen=True, omit_defaults=True):
    """Data that is sent with the body, if any field differs from its default."""

    #: number of leases of the messages that this copy replaces
    deliveries: int = 0
    failures: int = 0
    crashes: int = 0
    #: epoch seconds before which it must not be leased; 0.0 = SQS delays it
    due: float = 0.0
    #: SQS delays it, so that a purge cannot receive it
    delayed: bool = False
    #: receipt handle of the message that this copy replaces
    replaces: str = ""
    #: id of a dead letter, the same in every copy
    dead_letter_id: str = ""
    reason: str = ""
    #: epoch seconds
    dead_since: float = 0.0


class Lease(msgspec.Struct, frozen=True, array_like=True):
    """The content of a receipt, with which any process can settle."""

    handle: str
    #: SQS's id of the message
    id: str
    deliveries: int
    failures: int
    crashes: int
    #: epoch seconds at which it was leased
    since: float
    #: None = too large to be part of the receipt
    body: bytes | None


class Received(msgspec.Struct, frozen=True):
    """A received message."""

    handle: str
    id: str
    body: bytes
    metadata: Metadata
    #: number of receives so far, counted by SQS
    receives: int
    #: epoch seconds, by SQS's clock
    sent: float
    first: float


_METADATA: Final = msgspec.json.Decoder(Metadata)
_LEASE: Final = msgspec.msgpack.Decoder(Lease)
_encode_metadata: Final = msgspec.json.Encoder().encode
_encode_lease: Final = msgspec.msgpack.Encoder().encode
PLAIN: Final = Metadata()


def text_of(body: bytes) -> str:
    """Return a body as text.

    Raises:
        PayloadTooLarge: SQS would refuse it.

    """
    if len(body) > MAX_BYTES:
        raise PayloadTooLarge(
            f"the message has {len(body)} bytes; SQS accepts {LIMIT} including metadata, "
            f"which leaves {MAX_BYTES} for the body: pass a reference instead of the data"
        )
    return base64.b64encode(body).decode() or _EMPTY


def body_of(text: str) -> bytes:
    """Return the body of a text; the text of a foreign message is returned unchanged, to be rejected."""
    try:
        return b"" if text == _EMPTY else base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return text.encode(errors="backslashreplace")


def entry(text: str, metadata: Metadata = PLAIN, delay: int = 0) -> dict[str, Any]:
    """Return the request entry for a message."""
    request: dict[str, Any] = {"MessageBody": text}
    if delay:
        request["DelaySeconds"] = delay
    if metadata != PLAIN:
        value = _encode_metadata(metadata).decode()
        request["MessageAttributes"] = {ATTRIBUTE: {"DataType": "String", "StringValue": value}}
    return request


def size(request: dict[str, Any]) -> int:
    """Return the bytes that SQS counts for an entry."""
    count = len(request["MessageBody"])
    for name, value in request.get("MessageAttributes", {}).items():
        count += len(name) + len(value["DataType"]) + len(value["StringValue"].encode())
    return count


def batches(entries: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Split entries into batches that SQS accepts."""
    batch: list[dict[str, Any]] = []
    total = 0
    for one in entries:
        one_size = size(one)
        if batch and (len(batch) == BATCH or total + one_size > LIMIT):
            yield batch
            batch, total = [], 0
        batch.append(one)
        total += one_size
    if batch:
        yield batch


def read_message(message: dict[str, Any]) -> Received:
    """Return a message of SQS's answer."""
    attributes = message.get("Attributes", {})
    return Received(
        message["ReceiptHandle"],
        message["MessageId"],
        body_of(message.get("Body", "")),
        _metadata_of(message),
        int(attributes.get("ApproximateReceiveCount", 1)),
        float(attributes.get("SentTimestamp", 0)) / 1000,
        float(attributes.get("ApproximateFirstReceiveTimestamp", 0)) / 1000,
    )


def _metadata_of(message: dict[str, Any]) -> Metadata:
    value = message.get("MessageAttributes", {}).get(ATTRIBUTE, {}).get("StringValue")
    try:
        found = _METADATA.decode(value) if value else PLAIN
    except (msgspec.MsgspecError, ValueError, RecursionError):
        # the message of another program, which will be rejected
        return PLAIN
    if found is PLAIN:
        return found
    # whoever may send to the queue chooses these numbers
    return msgspec.structs.replace(
        found,
        deliveries=count_of(found.deliveries),
        failures=count_of(found.failures),
        crashes=count_of(found.crashes),
        due=epoch_seconds(found.due),
        dead_since=epoch_seconds(found.dead_since),
    )


def receipt(received: Received, deliveries: int, since: float) -> bytes:
    """Return the receipt of a lease."""
    body = received.body if len(received.body) <= IN_RECEIPT else None
    metadata = received.metadata
    return _MARK + _encode_lease(
        Lease(received.handle, received.id, deliveries, metadata.failures, metadata.crashes, since, body)
    )


def lease_of(given: bytes) -> Lease | None:
    """Return the lease of a receipt, None if the bytes are not a receipt."""
    if not given.startswith(_MARK):
        return None
    try:
        return _LEASE.decode(given[len(_MARK) :])
    except (msgspec.MsgspecError, UnicodeError):
        return None


def shortened(reason: str) -> str:
    """Return a reason that fits into the metadata, with characters that SQS accepts."""
    clean = reason.encode(errors="backslashreplace")[:_REASON].decode(errors="ignore")
    return clean.replace("\ufffe", "?").replace("\uffff", "?")
