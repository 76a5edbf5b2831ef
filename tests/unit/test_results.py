"""Results are kept as they were, or the record says why they could not be."""

from __future__ import annotations

import os
from typing import Any, Final

import attrs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcore.errors import BadSignature, DecodeError, MalformedMessage, QcoreError, UnknownKey
from qcore.messages.envelope import Opened
from qcore.messages.head import Head
from qcore.messages.results import Results, decode_result
from qcore.messages.sealer import Sealer
from qcore.model import Kind, Outcome, State
from qcore_cells.suspects import join, split
from qcore_json.serializer import JsonSerializer
from qcore_values.msgpack_serializer import MsgpackSerializer

SECRET: Final = "a secret of more than thirty-two characters"
ID: Final = bytes(range(16))
HEAD: Final = Head("tasks.add", "a label", "a group")
DONE: Final = Outcome(Kind.SUCCESS, 5, started=10.0, finished=12.0)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


def results(
    *secrets: str, name: str = "queue", max_result: int = 1 << 20, ttl: float = 0.0, accept: Any = None
) -> Results:
    """Return the results of one queue."""
    serializer = MsgpackSerializer()
    accepted = {serializer.code: serializer} if accept is None else accept
    return Results(secrets or (SECRET,), name, serializer, accepted, max_result=max_result, ttl=ttl)


def sealed(
    made: Results, outcome: Outcome = DONE, state: State = State.SUCCESS, head: Head = HEAD, id: bytes = ID
) -> Any:
    """Return a stored record of an outcome."""
    outcome, value = made.dump(outcome)
    return made.seal(id, head, state, outcome, value, created=5_000, attempts=2, crashes=1)


def test_a_record_is_read_as_it_was_written() -> None:
    """Everything a user may ask of a task comes back."""
    result = results().read(sealed(results()))

    assert (ID.hex(), "tasks.add", State.SUCCESS, 5, "", "") == (
        result.id, result.name, result.state, result.value, result.error, result.traceback,
    )  # fmt: skip
    assert (
        result.group, result.label, result.attempts, result.crashes,
        result.enqueued, result.started, result.finished, result.run_time,
    ) == ("a group", "a label", 2, 1, 5.0, 10.0, 12.0, 2.0)  # fmt: skip
    assert str(os.getpid()) == result.worker.rpartition(":")[2]


@given(values)
def test_any_plain_value_comes_back(value: Any) -> None:
    """What the serializer can write is what the caller gets."""
    assert value == results().read(sealed(results(), msgspec.structs.replace(DONE, value=value))).value


@pytest.mark.parametrize("value", [lambda: 1, object(), {1, (2, object())}, iter(())], ids=type)
def test_a_result_that_cannot_be_written_is_told_as_such(value: object) -> None:
    """The task did run: its record says what was wrong with what it returned, and when it ran."""
    outcome, data = results().dump(msgspec.structs.replace(DONE, value=value))

    assert (
        outcome.kind, data, outcome.retryable, outcome.started, outcome.finished,
    ) == (Kind.RESULT_NOT_STORABLE, b"", False, 10.0, 12.0)  # fmt: skip
    assert outcome.error.startswith("the task returned, but its result cannot be stored: ")


def test_a_result_of_the_largest_size_is_kept_and_a_larger_one_is_told() -> None:
    """`max_result` is a limit in bytes, and the error says what to do."""
    value = bytes(1000)
    size = len(MsgpackSerializer().dumps(value))

    assert Kind.SUCCESS is results(max_result=size).dump(Outcome(Kind.SUCCESS, value))[0].kind
    outcome, data = results(max_result=size - 1).dump(Outcome(Kind.SUCCESS, value))
    assert (outcome.kind, data) == (Kind.RESULT_NOT_STORABLE, b"")
    assert f"the result has {size} bytes, max_result allows {size - 1}" in outcome.error


@pytest.mark.parametrize(("keep", "most", "kept"), [(True, 10, True), (True, 1, False), (False, 10, False)])
def test_arguments_are_kept_where_the_configuration_says_so(keep: bool, most: int, kept: bool) -> None:
    """As they were serialised, unless they are larger than a result may be."""
    serializer = MsgpackSerializer()
    made = Results(
        (SECRET,), "queue", serializer, {serializer.code: serializer},
        max_result=most, ttl=0.0, keep_arguments=keep,
    )  # fmt: skip
    message = Opened(ID, b"", b"\x92\x01\x02", serializer.code, named=False, created=0)

    stored = made.seal(ID, HEAD, State.SUCCESS, DONE, b"", created=0, attempts=1, crashes=0, message=message)

    expected = (b"\x92\x01\x02", serializer.code, False)
    assert made.read(stored).arguments == (expected if kept else None)
    assert results().read(stored).arguments == (expected if kept else None)


def test_a_failure_has_no_value_to_write() -> None:
    """Whatever else an outcome carries, only a success has a value."""
    failed = Outcome(Kind.FAILURE, error="ValueError: no", traceback="lines")

    assert (failed, b"") == results().dump(failed)
    result = results().read(sealed(results(), failed, State.FAILED))
    assert (
        result.value, result.error, result.traceback, result.success,
    ) == (None, "ValueError: no", "lines", False)  # fmt: skip


def test_what_a_store_indexes_is_cut_and_what_is_sealed_is_whole() -> None:
    """A name too long for a column does not cost the record."""
    head = Head("n" * 5000, group="g" * 5000)

    stored = sealed(results(), head=head)

    assert (stored.name, stored.group) == ("n" * 256, "g" * 256)
    assert attrs.astuple(results().read(stored), filter=lambda field, _: field.name in {"name", "group"}) == (
        "n" * 5000,
        "g" * 5000,
    )


@pytest.mark.parametrize(
    ("ttl", "own", "expires"),
    [(0.0, None, 0.0), (60.0, None, 72.0), (60.0, 5.0, 17.0), (60.0, 0.0, 0.0), (0.0, 5.0, 17.0)],
)
def test_a_result_expires_by_the_task_or_else_by_the_configuration(
    ttl: float, own: float | None, expires: float
) -> None:
    """0 keeps it for ever, of the two the task's own word counts."""
    assert expires == sealed(results(ttl=ttl), head=Head("a.b", result_ttl=own)).expires


# -- what was not written by us ---------------------------------------------------------------


@given(st.data())
def test_a_flipped_bit_in_a_record_is_refused(data: st.DataObject) -> None:
    """Nobody without the key makes a failure of a success."""
    stored = sealed(results())
    bit = data.draw(st.integers(0, len(stored.body) * 8 - 1))
    body = bytearray(stored.body)
    body[bit // 8] ^= 1 << bit % 8

    with pytest.raises(UnknownKey if bit < 32 else BadSignature):
        results().read(msgspec.structs.replace(stored, body=bytes(body)))


@given(st.binary(max_size=200))
def test_noise_is_no_record(body: bytes) -> None:
    """Bytes of any kind are refused with an error of ours."""
    with pytest.raises((UnknownKey, BadSignature)):
        results().read(msgspec.structs.replace(sealed(results()), body=body))


def test_a_record_of_another_task_is_refused() -> None:
    """The seal is bound to the id: a success cannot be shown for another task."""
    stored = msgspec.structs.replace(sealed(results()), id=bytes(16))

    with pytest.raises(BadSignature):
        results().read(stored)


def test_a_record_of_another_queue_is_refused() -> None:
    """The seal is bound to the queue."""
    with pytest.raises(BadSignature):
        results(name="other").read(sealed(results()))


def test_a_record_for_another_purpose_is_refused() -> None:
    """A status with a good seal is not a result."""
    body = Sealer([SECRET], "status", "queue").seal(ID, b"data")

    with pytest.raises(BadSignature):
        results().read(msgspec.structs.replace(sealed(results()), body=body))


def test_a_record_under_a_strange_key_names_the_task_and_the_setting() -> None:
    """The error says which setting lacks a key."""
    with pytest.raises(UnknownKey, match=rf"result {ID.hex()} .* not in secret_key"):
        results("another secret of some length").read(sealed(results()))


def test_an_older_key_still_reads() -> None:
    """Results survive the rotation of a key."""
    assert results("another secret of some length", SECRET).read(sealed(results())).value == 5


def test_a_value_of_a_serializer_that_is_not_accepted_is_not_read() -> None:
    """A reader that does not accept pickle never unpickles."""
    with pytest.raises(DecodeError, match="serializer 1, which `accept_serializers` does not list"):
        results(accept={JsonSerializer().code: JsonSerializer()}).read(sealed(results()))


def test_a_sealed_record_of_no_known_shape_is_refused() -> None:
    """Well sealed, but no result: said so."""
    body = Sealer([SECRET], "result", "queue").seal(ID, b"\xc1 no msgpack")

    with pytest.raises(MalformedMessage, match="not a result of a known version"):
        results().read(msgspec.structs.replace(sealed(results()), body=body))


def test_a_record_of_a_later_qcore_is_read_as_far_as_it_is_known() -> None:
    """New fields go to the end."""
    later = msgspec.msgpack.encode([3, "a.b", b"", 0, "", "", None, None, 1, 0, 1.0, 2.0, 3.0, "w", "new"])

    assert (decode_result(later).name, decode_result(later).finished) == ("a.b", 3.0)


def test_a_record_of_an_unknown_state_is_refused() -> None:
    """A state of a later qcore is an error of ours, not a ValueError."""
    body = Sealer([SECRET], "result", "queue").seal(ID, msgspec.msgpack.encode([9, "a.b"]))

    with pytest.raises(QcoreError):
        results().read(msgspec.structs.replace(sealed(results()), body=body))


def test_a_suspicion_is_shown_as_no_crash() -> None:
    """Where a broker keeps no counters, the result of a suspect keeps both in one number."""
    made = results()
    outcome, value = made.dump(Outcome(Kind.INTERRUPTED))
    record = made.seal(
        ID, HEAD, State.RETRYING, outcome, value, created=5_000, attempts=0, crashes=join(2, 1)
    )

    assert made.read(record).crashes == 2
    assert split(made.open(ID, record.body).crashes) == (2, 1)
