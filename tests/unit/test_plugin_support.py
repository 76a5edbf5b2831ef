"""What plugins share: counters before a body, and the settings a user gave."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from hypothesis import given as hypothesis_given
from hypothesis import strategies as st

from qcore_plugin_support import COUNTERS_SIZE, CountedMessage, given

COUNT = st.integers(0, 2**31 - 1)


@hypothesis_given(st.binary(), COUNT, COUNT, COUNT, st.floats(0, 1e10), st.text(max_size=200))
def test_what_is_written_is_read(  # noqa: PLR0917 - the fields of a message
    body: bytes, failures: int, crashes: int, deliveries: int, written_at: float, reason: str
) -> None:
    """Every field comes back."""
    message = CountedMessage(body, failures, crashes, deliveries, written_at, reason)

    assert CountedMessage.read(message.write()) == message


@hypothesis_given(st.binary())
def test_any_bytes_can_be_read(data: bytes) -> None:
    """Others may write to the queue too; what they wrote is never an error."""
    found = CountedMessage.read(data)

    assert data.endswith(found.body)
    assert 0 <= found.written_at < 1e12


def test_an_envelope_is_a_body_without_counters() -> None:
    """It was enqueued as it is."""
    assert CountedMessage.read(b"Q" + bytes(100)) == CountedMessage(b"Q" + bytes(100))


def test_counters_and_reason_are_cut_to_what_has_room() -> None:
    """A message never grows by more than `COUNTERS_SIZE`, and a reason may be cut within a character."""
    message = CountedMessage(b"body", failures=1 << 31, crashes=1 << 40, reason="é" * 5000)

    data = message.write()

    found = CountedMessage.read(data)
    assert len(data) == COUNTERS_SIZE + 4
    assert (found.failures, found.crashes, found.reason) == (2**31 - 1, 2**31 - 1, "é" * 500)


def test_counters_of_others_have_31_bits_as_well() -> None:
    """What others write to a backend has room for 32, and the counters of qcore do not."""
    data = bytearray(CountedMessage(b"body").write())
    data[1:13] = b"\xff" * 12

    found = CountedMessage.read(bytes(data))

    assert (found.failures, found.crashes, found.deliveries) == (2**31 - 1,) * 3
    assert found.body == b"body"


def test_a_reason_that_is_not_unicode_text_is_written() -> None:
    """The text of an exception may hold half a surrogate pair."""
    assert CountedMessage.read(CountedMessage(b"body", reason="\ud800!").write()).reason == "?!"


@attrs.frozen
class Section:
    """The section of a plugin."""

    host: str | None = None
    port: int | None = None
    tls: bool | None = None
    driver: Any = None


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        (Section(), {}),
        (Section("", 0, tls=False), {"port": 0, "tls": False}),
        (Section("here", driver="other"), {"host": "here"}),
    ],
)
def test_only_settings_that_were_given_are_passed_on(section: Section, expected: dict[str, Any]) -> None:
    """Zero and False are values, None and an empty text are not."""
    assert given(section, {"driver"}) == expected
