"""What is sealed is opened as it was, and nothing else is opened."""

from __future__ import annotations

import contextlib
import json
import struct
import zlib
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qcore import App, Config
from qcore.errors import BadSignature, EnvelopeError, MalformedMessage, PayloadTooLarge, UnknownKey
from qcore.messages.envelope import COMPRESS_FROM, COMPRESSED, NAMED, TAIL, Envelope, Opened, task_id
from qcore.messages.head import MAX_HEAD, Head, decode_head, encode_head, read_head
from qcore.messages.signing import MAC_SIZE, KeyRing

pytestmark = pytest.mark.portable

SECRET: Final = "a secret of more than thirty-two characters"
GOLDEN: Final = Path(__file__).parent / "golden" / "envelopes-v1.json"
#: offsets of the fields of the header
MAGIC, VERSION, ALGORITHM, FLAGS, SERIALIZER, KEY_ID, CREATED, EXPIRES, ID, RAW, HEAD, END = (
    0, 2, 3, 4, 5, 6, 10, 18, 26, 42, 46, 48,
)  # fmt: skip

ID_ = bytes(range(16))
heads = st.binary(max_size=300)
times = st.integers(0, 2**63)
messages = st.fixed_dictionaries(
    {
        "id": st.binary(min_size=16, max_size=16),
        "head": heads,
        "arguments": st.binary(max_size=300) | st.just(b"compressible " * 400),
        "serializer": st.integers(0, 255),
        "created": times,
    },
    optional={
        "named": st.booleans(),
        "expires": times,
        "derived": st.booleans(),
        "tail": st.binary(max_size=300) | st.just(b"compressible " * 400),
    },
)


def envelope(*secrets: str, name: str = "queue", **options: Any) -> Envelope:
    """Return an envelope of one queue."""
    return Envelope(secrets or (SECRET,), name, **options)


def resign(data: bytes, *, secret: str = SECRET, purpose: str = "task", name: str = "queue") -> bytes:
    """Return a message with these bytes and a good MAC: what only a key holder can make."""
    return data + KeyRing.derive([secret], purpose, name).first.mac(data)


def forged(flags: int, head: bytes, arguments: bytes, raw: int, *, head_size: int | None = None) -> bytes:
    """Return a well signed message with any header."""
    plain = envelope().seal(ID_, b"", b"", 1, 0)[:-MAC_SIZE]
    size = len(head) if head_size is None else head_size
    header = plain[:FLAGS] + bytes([flags]) + plain[FLAGS + 1 : RAW] + struct.pack(">IH", raw, size)
    return resign(header + head + arguments)


# -- there and back ---------------------------------------------------------------------------


@given(message=messages, compress=st.booleans())
def test_what_is_sealed_is_opened_as_it_was(message: dict[str, Any], compress: bool) -> None:
    """Every field comes back, compressed or not."""
    box = envelope(compress=compress)

    opened = box.open(box.seal(**message))

    assert Opened(**{"named": False, **message}) == opened


@given(message=messages)
def test_a_message_is_opened_wherever_the_key_and_the_queue_are_known(message: dict[str, Any]) -> None:
    """Any key of the list verifies, in another process as well as in this."""
    body = envelope("old" * 12).seal(**message)

    assert message["id"] == envelope("new" * 12, "old" * 12).open(body).id


@given(message=messages)
def test_the_task_id_can_be_read_without_a_key(message: dict[str, Any]) -> None:
    """Logs and listings name the task a message claims to be."""
    assert message["id"].hex() == task_id(envelope().seal(**message))


@given(st.binary(max_size=120))
def test_what_is_no_message_claims_no_task_id(data: bytes) -> None:
    """Bytes of any kind give an empty text, never an error."""
    if not data.startswith(b"Qc"):
        assert task_id(data) == ""


# -- nothing else is opened -------------------------------------------------------------------


@given(message=messages, compress=st.booleans(), data=st.data())
def test_a_flipped_bit_is_refused_wherever_it_is(
    message: dict[str, Any], compress: bool, data: st.DataObject
) -> None:
    """The MAC covers every byte but those that say what is not ours at all."""
    body = bytearray(envelope(compress=compress).seal(**message))
    bit = data.draw(st.integers(0, len(body) * 8 - 1))

    body[bit // 8] ^= 1 << bit % 8

    error = (
        MalformedMessage if bit // 8 < FLAGS else UnknownKey if KEY_ID <= bit // 8 < CREATED else BadSignature
    )
    with pytest.raises(error) as raised:
        envelope().open(bytes(body))
    assert type(raised.value) is error


def test_every_single_bit_of_a_message_is_covered() -> None:
    """The same for each bit of one message, none left out."""
    box = envelope()
    body = box.seal(ID_, encode_head(Head("tasks.add")), b"\x92\x01\x02", 1, 1_700_000_000_000)

    for bit in range(len(body) * 8):
        flipped = bytearray(body)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(EnvelopeError):
            box.open(bytes(flipped))


@given(message=messages, data=st.data())
def test_a_shortened_message_is_refused(message: dict[str, Any], data: st.DataObject) -> None:
    """Too short to be one, or signed for another length."""
    body = envelope().seal(**message)
    size = data.draw(st.integers(0, len(body) - 1))

    with pytest.raises(BadSignature if size >= END + MAC_SIZE else MalformedMessage):
        envelope().open(body[:size])


@given(message=messages, more=st.binary(min_size=1, max_size=50))
def test_a_lengthened_message_is_refused(message: dict[str, Any], more: bytes) -> None:
    """Nothing can be hung on behind."""
    with pytest.raises(BadSignature):
        envelope().open(envelope().seal(**message) + more)


@given(st.binary(max_size=400))
def test_noise_is_refused_with_an_envelope_error(data: bytes) -> None:
    """Bytes of any kind give one of three errors and no other."""
    with pytest.raises((MalformedMessage, UnknownKey, BadSignature)):
        envelope().open(data)


@given(st.binary(min_size=END - KEY_ID, max_size=400))
def test_noise_behind_a_good_beginning_is_refused(data: bytes) -> None:
    """Bytes that begin as a message and name our key are not a message yet."""
    beginning = envelope().seal(ID_, b"", b"", 1, 0)[:CREATED]

    with pytest.raises((MalformedMessage, BadSignature)):
        envelope().open(beginning + data)


@given(message=messages, name=st.text(st.characters(codec="utf-8"), min_size=1, max_size=80))
def test_a_message_for_another_queue_is_refused(message: dict[str, Any], name: str) -> None:
    """The queue's name is signed although it does not travel."""
    body = envelope(name="queue!").seal(**message)

    with pytest.raises(BadSignature):
        envelope(name=name if name != "queue!" else "queue").open(body)


@given(message=messages)
def test_a_message_under_a_strange_key_is_told_apart(message: dict[str, Any]) -> None:
    """A key that is not in the list yet is not proof of tampering, and the error names its id."""
    body = envelope("another secret of some length").seal(**message)

    with pytest.raises(UnknownKey, match=body[KEY_ID:CREATED].hex()):
        envelope().open(body)


@pytest.mark.parametrize("purpose", ["result", "status", "schedule", "control", "", "task "])
def test_what_was_signed_for_another_purpose_is_no_task(purpose: str) -> None:
    """A record of a result or a status with a good MAC cannot be put on the queue."""
    data = envelope().seal(ID_, b"head", b"arguments", 1, 0)[:-MAC_SIZE]

    with pytest.raises(BadSignature):
        envelope().open(resign(data, purpose=purpose))


def test_no_error_carries_a_byte_of_what_was_refused() -> None:
    """A refused message's contents reach no log: only its first bytes, its size, its key id."""
    body = envelope().seal(ID_, b"canary", b"canary", 1, 0)

    for bad in (body[:-1], body[:60], b"canary" * 30, body[:FLAGS] + b"\xff" + body[FLAGS + 1 :]):
        with pytest.raises(EnvelopeError) as raised:
            envelope().open(bad)
        assert "canary" not in str(raised.value)


# -- what a key holder might send by mistake --------------------------------------------------


@pytest.mark.parametrize("version", [0, 2, 255])
def test_another_version_is_not_guessed_at(version: int) -> None:
    """A message of a later qcore is refused as such, however well signed."""
    data = bytearray(envelope().seal(ID_, b"", b"", 1, 0)[:-MAC_SIZE])
    data[VERSION] = version

    with pytest.raises(MalformedMessage, match="not an envelope of version 1"):
        envelope().open(resign(bytes(data)))


@pytest.mark.parametrize(
    "section", [b"", b"\0\0\0", b"\0\0\0\0", b"\0\0\0\2x", b"\xff\xff\xff\xffx"], ids=bytes.hex
)
def test_a_tail_that_is_not_there_is_refused(section: bytes) -> None:
    """A message that says it has one has one, whole."""
    with pytest.raises(MalformedMessage, match="a tail of"):
        envelope().open(forged(TAIL, b"", section, len(section)))


def test_messages_without_a_tail_cost_nothing_more() -> None:
    """Neither do they look any different."""
    plain = envelope().seal(ID_, b"head", b"arguments", 1, 0)

    assert plain == envelope().seal(ID_, b"head", b"arguments", 1, 0, derived=False, tail=b"")
    assert len(plain) + 4 + 3 == len(envelope().seal(ID_, b"head", b"arguments", 1, 0, tail=b"abc"))


@pytest.mark.parametrize("flag", [16, 32, 64, 128])
def test_an_unknown_flag_is_not_passed_over(flag: int) -> None:
    """What a flag means must be known before anything is read."""
    with pytest.raises(MalformedMessage, match="flags"):
        envelope().open(forged(flag, b"", b"", 0))


def test_lengths_that_contradict_each_other_are_refused() -> None:
    """The header's lengths are checked against what is there."""
    for bad in (
        forged(0, b"head", b"arguments", 8),
        forged(0, b"head", b"arguments", 10),
        forged(NAMED, b"head", b"", 0, head_size=5),
        forged(0, b"head", b"", 0, head_size=65535),
    ):
        with pytest.raises(MalformedMessage):
            envelope().open(bad)


def test_a_bomb_is_cut_off_at_the_length_it_claims() -> None:
    """A gigabyte of zeros in a megabyte costs no more memory than its header admits."""
    packer = zlib.compressobj(9)
    bomb = b"".join(packer.compress(bytes(1 << 20)) for _ in range(64)) + packer.flush()

    with pytest.raises(MalformedMessage, match="do not inflate to the 100 bytes"):
        envelope().open(forged(COMPRESSED, b"", bomb, 100))


def test_a_bomb_that_admits_its_size_is_refused_unopened() -> None:
    """More than `max_raw` is not inflated at all."""
    bomb = zlib.compress(bytes(1 << 20), 9)

    with pytest.raises(MalformedMessage, match="1048576 bytes"):
        envelope(max_raw=1 << 19).open(forged(COMPRESSED, b"", bomb, 1 << 20))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda packed: packed[:-1],
        lambda packed: packed + b"x",
        lambda packed: packed + packed,
        lambda _: b"no zlib at all",
        lambda _: b"",
    ],
)
def test_what_does_not_inflate_exactly_is_refused(spoil: Any) -> None:
    """Cut short, with something behind it, twice, or not compressed: each is refused."""
    raw = b"arguments" * 300

    with pytest.raises(MalformedMessage, match="inflate"):
        envelope().open(forged(COMPRESSED, b"", spoil(zlib.compress(raw)), len(raw)))


# -- caps -------------------------------------------------------------------------------------


def test_a_message_of_the_largest_size_passes_and_one_more_byte_does_not() -> None:
    """`max_message` holds on both sides, to the byte, and the error says what to do."""
    box = envelope(max_message=1000)
    room = 1000 - END - MAC_SIZE

    body = box.seal(ID_, b"", bytes(room), 1, 0)

    assert len(body) == 1000
    assert bytes(room) == box.open(body).arguments
    with pytest.raises(PayloadTooLarge, match="1001 bytes, max_message allows 1000"):
        box.seal(ID_, b"", bytes(room + 1), 1, 0)
    with pytest.raises(MalformedMessage, match="1001 bytes"):
        box.open(body + b"x")


def test_a_head_of_the_largest_size_passes_and_one_more_byte_does_not() -> None:
    """The head has a cap of its own, since the journal holds many."""
    box = envelope()

    assert len(box.open(box.seal(ID_, bytes(MAX_HEAD), b"", 1, 0)).head) == MAX_HEAD
    with pytest.raises(PayloadTooLarge, match="shorten its name, group, label or headers"):
        box.seal(ID_, bytes(MAX_HEAD + 1), b"", 1, 0)
    with pytest.raises(MalformedMessage):
        box.open(forged(0, bytes(MAX_HEAD + 1), b"", 0))


def test_only_max_message_limits_what_is_not_compressed() -> None:
    """It has its effect above 32 MiB, and the refusal names no other bound."""
    large = bytes((32 << 20) + 1)

    with pytest.raises(PayloadTooLarge, match=r"^the message has \d+ bytes, max_message allows 8388608;"):
        envelope().seal(ID_, b"", large, 1, 0)
    box = App(Config.from_dict({"memory": {}, "max_message": 64 << 20})).runtime.envelope
    assert box.open(box.seal(ID_, b"", large, 1, 0)).arguments == large


def test_arguments_beyond_max_raw_are_refused_even_if_they_compress_well() -> None:
    """What no worker would inflate is not sent."""
    box = envelope(compress=True, max_raw=100_000)

    assert bytes(100_000) == box.open(box.seal(ID_, b"", bytes(100_000), 1, 0)).arguments
    with pytest.raises(
        PayloadTooLarge, match="arguments have 100001 bytes before they are compressed, at most 100000"
    ):
        box.seal(ID_, b"", bytes(100_001), 1, 0)


@pytest.mark.parametrize(
    ("arguments", "compressed"),
    [
        (bytes(COMPRESS_FROM - 1), False),
        (bytes(COMPRESS_FROM), True),
        (bytes((i * 7919 >> 3) % 251 for i in range(10)) * 250, True),
    ],
)
def test_only_what_is_large_enough_is_compressed(arguments: bytes, compressed: bool) -> None:
    """Below 2 KiB compressing costs more than it saves."""
    body = envelope(compress=True).seal(ID_, b"", arguments, 1, 0)

    assert compressed == bool(body[FLAGS] & COMPRESSED)
    assert compressed == (len(body) < len(arguments))


def test_what_does_not_shrink_travels_as_it_is() -> None:
    """Random bytes are not inflated by compressing them."""
    noise = zlib.compress(bytes(range(256)) * 8) * 40

    body = envelope(compress=True).seal(ID_, b"", noise[:2100], 1, 0)

    assert noise[:2100] == envelope().open(body).arguments


# -- the head ---------------------------------------------------------------------------------

maybe_text = st.none() | st.text(st.characters(codec="utf-8"), max_size=20)
maybe_number = st.none() | st.floats(0, 1e9)


@given(
    st.builds(
        Head,
        name=st.text(st.characters(codec="utf-8")),
        label=maybe_text,
        group=maybe_text,
        timeout=maybe_number,
        max_attempts=st.none() | st.integers(0, 1000),
        backoff=maybe_number,
        max_delay=maybe_number,
        jitter=st.none() | st.booleans(),
        ack_failure=st.none() | st.booleans(),
        save=st.none() | st.booleans(),
        result_ttl=maybe_number,
        headers=st.none() | st.dictionaries(st.text(max_size=5), st.text(max_size=5)),
    )
)
def test_a_head_is_read_as_it_was_written(head: Head) -> None:
    """Every option of a task travels."""
    assert head == read_head(encode_head(head))


def test_a_head_of_a_later_qcore_is_read_as_far_as_it_is_known() -> None:
    """New fields go to the end, and older readers ignore them."""
    known = [None] * (len(msgspec.structs.fields(Head)) - 3)
    later = msgspec.msgpack.encode(["tasks.add", None, "group", *known, "new", {"more": 1}])

    assert Head("tasks.add", group="group") == read_head(later)


def test_a_head_of_an_earlier_qcore_is_read_with_defaults() -> None:
    """Fields that were not there yet have their defaults."""
    assert Head("tasks.add") == read_head(msgspec.msgpack.encode(["tasks.add"]))


@settings(max_examples=300)
@given(st.binary(max_size=60))
def test_a_head_that_is_none_is_refused_with_one_error(data: bytes) -> None:
    """Whatever the bytes are, the error is MalformedMessage or there is none."""
    with contextlib.suppress(MalformedMessage):
        assert isinstance(read_head(data), Head)


def test_a_head_nested_without_end_is_refused() -> None:
    """Depth is not a way to kill a worker."""
    with pytest.raises(MalformedMessage):
        read_head(b"\x91" * 8000)


# -- what was ever released -------------------------------------------------------------------


@pytest.mark.parametrize("record", json.loads(GOLDEN.read_text()), ids=lambda record: record["what"])
def test_messages_of_every_released_version_are_opened_for_ever(record: dict[str, Any]) -> None:
    """A queue that waited through an upgrade is worked off; this file is only ever added to."""
    body = bytes.fromhex(record["body"])
    opened = envelope(*record["secrets"], name=record["queue"]).open(body)

    expected = {"derived": False, "tail": "", **record["opened"]}
    head = msgspec.to_builtins(decode_head(opened.head))
    # Fields that were added since have their defaults.
    assert not any(head[len(expected["head"]) :])
    actual = {
        "id": opened.id.hex(),
        "head": head[: len(expected["head"])],
        "arguments": zlib.crc32(opened.arguments),
        "size": len(opened.arguments),
        "serializer": opened.serializer,
        "named": opened.named,
        "created": opened.created,
        "expires": opened.expires,
        "derived": opened.derived,
        "tail": opened.tail.hex(),
    }
    assert expected == actual


@pytest.mark.parametrize(
    "record",
    [record for record in json.loads(GOLDEN.read_text()) if not record["compressed"]],
    ids=lambda record: record["what"],
)
def test_messages_are_sealed_to_the_same_bytes_for_ever(record: dict[str, Any]) -> None:
    """A worker not yet upgraded opens what an upgraded producer sends."""
    body = bytes.fromhex(record["body"])
    opened = envelope(*record["secrets"], name=record["queue"]).open(body)

    assert body == envelope(record["secrets"][-1], name=record["queue"]).seal(
        **msgspec.structs.asdict(opened)
    )
