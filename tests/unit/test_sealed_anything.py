"""Flags, statuses and results of any bytes: refused or ignored, and nothing else is raised."""

from __future__ import annotations

import contextlib
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcore import Config
from qcore.cli.overview import statuses
from qcore.errors import EnvelopeError
from qcore.messages.envelope import Envelope
from qcore.messages.sealer import STATUS, Sealer
from qcore.model import State, StoredResult
from qcore.runtime import Runtime
from qcore_queues.flags import PAUSED, ControlFlags

pytestmark = pytest.mark.portable

KEYS = ("the first key of these tests", "the second key of these tests")
CONTROL = Sealer(KEYS, "control", "q")
RUNTIME = Runtime(Config.from_dict({"name": "q", "secret_key": list(KEYS)}))
ID = bytes(range(16))

#: what was signed with a good key, and is not what it should be
SIGNED = st.one_of(
    st.binary(max_size=200),
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(),
        lambda some: st.lists(some, max_size=20) | st.dictionaries(st.text(), some, max_size=5),
    ).map(msgspec.msgpack.encode),
)


@given(noise=st.binary(max_size=120))
def test_no_bytes_are_a_flag(noise: bytes) -> None:
    """Whatever somebody puts under the key of a flag, it says no."""
    assert not ControlFlags(CONTROL).verify(PAUSED, noise)
    beginning = CONTROL.seal(PAUSED.encode(), b"")[:4]
    assert not ControlFlags(CONTROL).verify(PAUSED, beginning + noise)


@given(data=st.data(), key=st.text(st.characters(codec="utf-8"), min_size=1, max_size=40))
def test_a_changed_flag_says_no(data: st.DataObject, key: str) -> None:
    """Neither a flipped bit nor the flag of another key passes."""
    flags = ControlFlags(CONTROL)
    value = flags.sign(key)
    at, bit = data.draw(st.integers(0, len(value) - 1)), data.draw(st.integers(0, 7))
    changed = value[:at] + bytes([value[at] ^ 1 << bit]) + value[at + 1 :]

    assert flags.verify(key, value)
    assert not flags.verify(key, changed)
    assert not flags.verify(f"{key}x", value)


@given(bodies=st.lists(st.binary(max_size=150), max_size=5), signed=st.lists(SIGNED, max_size=3))
def test_statuses_of_any_bytes_are_counted(bodies: list[bytes], signed: list[bytes]) -> None:
    """Neither noise nor what is signed and no status raises; all of it is counted as not readable."""
    sealed = [RUNTIME.status_sealer.seal(STATUS, one) for one in signed]

    found, unreadable = statuses(RUNTIME, [*bodies, *sealed])

    assert found == []
    assert unreadable == len(bodies) + len(sealed)


@given(body=SIGNED)
def test_a_signed_record_of_any_shape_is_refused_or_read(body: bytes) -> None:
    """A result of another version gives an error of its own kind, and no other."""
    sealed = Sealer(KEYS, "result", "q").seal(ID, body)
    with contextlib.suppress(EnvelopeError):
        RUNTIME.results.open(ID, sealed)


@given(message=st.binary(max_size=300), created=st.integers(0, 2**63), data=st.data())
def test_a_resealed_message_says_the_same(message: bytes, created: int, data: st.DataObject) -> None:
    """Only its key changes, and what was altered is not signed anew."""
    old, both, new = Envelope(KEYS[1:], "q"), Envelope(KEYS, "q"), Envelope(KEYS[:1], "q")
    body = old.seal(ID, b"head", message, 1, created)

    assert new.open(both.reseal(body)) == old.open(body)
    at = data.draw(st.integers(0, len(body) - 1))
    with pytest.raises(EnvelopeError):
        both.reseal(body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :])


@given(noise=st.one_of(st.binary(max_size=200), SIGNED))
def test_noise_is_not_resealed(noise: bytes) -> None:
    """What no key has signed stays without a signature."""
    for reseal in (RUNTIME.envelope.reseal, _reseal_record):
        with pytest.raises(EnvelopeError):
            reseal(noise)


def _reseal_record(body: bytes) -> Any:
    return RUNTIME.results.reseal(StoredResult(ID, State.SUCCESS, body, "f", None, 0.0, 0.0, None))
