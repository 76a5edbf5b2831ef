"""Keys are derived apart and MACs are those of the standard library."""

from __future__ import annotations

import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcore.messages.signing import KEY_ID_SIZE, MAC_SIZE, Key, KeyRing, derive

SECRET = "a secret of more than thirty-two characters"
NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=80)


def framed(text: str) -> bytes:
    """Return a text with its length in front, as it enters keys and MACs."""
    return len(text.encode()).to_bytes(2, "big") + text.encode()


def by_the_book(secret: str, purpose: str, name: str, data: bytes) -> bytes:
    """Return the MAC as the standard library computes it."""
    extracted = hmac.digest(b"qcore-extract-v1", secret.encode(), "sha256")
    key = hmac.digest(extracted, b"mac" + framed(purpose) + framed(name) + b"\x01", "sha256")
    return hmac.digest(key, framed(name) + data, "sha256")


@given(secret=st.text(st.characters(codec="utf-8"), min_size=16), purpose=NAMES, name=NAMES, data=st.binary())
def test_a_mac_is_the_one_hmac_computes(secret: str, purpose: str, name: str, data: bytes) -> None:
    """The pre-keyed state gives the very bytes of HMAC-SHA256."""
    key = Key(secret.encode(), purpose, name)

    assert by_the_book(secret, purpose, name, data) == key.mac(data)


@pytest.mark.parametrize("size", [0, 1, 55, 56, 63, 64, 65, 4096, 1 << 20])
def test_a_mac_is_right_at_every_edge_of_a_block(size: int) -> None:
    """Lengths around SHA-256's block and padding are not a special case."""
    data = bytes(range(256)) * (size // 256 + 1)

    assert by_the_book(SECRET, "task", "queue", data[:size]) == Key(SECRET.encode(), "task", "queue").mac(
        data[:size]
    )


@pytest.mark.parametrize("at", [0, 1, 63, 64, 200])
def test_a_mac_is_the_same_in_two_pieces(at: int) -> None:
    """What is signed need not be joined before."""
    key, data = Key(SECRET.encode(), "task", "queue"), bytes(range(200))

    assert key.mac(data) == key.mac(data[:at], data[at:]) == key.mac(memoryview(data))


def test_computing_a_mac_leaves_the_key_as_it_was() -> None:
    """One key signs any number of messages in any order."""
    key = Key(SECRET.encode(), "task", "queue")

    first = key.mac(b"one")
    key.mac(b"two")

    assert (first, MAC_SIZE) == (key.mac(b"one"), len(first))


def test_hkdf_gives_what_rfc_5869_says() -> None:
    """A one-block HKDF-SHA256 with our salt; computed by hand with the standard library."""
    extracted = hmac.digest(b"qcore-extract-v1", b"secret", "sha256")

    assert hmac.digest(extracted, b"info\x01", "sha256") == derive(b"secret", b"info")


def test_derived_bytes_never_change() -> None:
    """Every stored message depends on these; a change of them is a new version of the envelope."""
    key = Key(SECRET.encode(), "task", "golden")

    assert key.id.hex() == "51913739"
    assert key.mac(b"data").hex() == "8fd8033b612106fac4989fbc176bd33dd2dc20aaa74af8c04faeefcb218eeb65"


@given(first=st.tuples(NAMES, NAMES), second=st.tuples(NAMES, NAMES))
def test_a_key_fits_one_purpose_and_one_queue(first: tuple[str, str], second: tuple[str, str]) -> None:
    """Two keys sign alike only if purpose and queue are both the same, however the names run together."""
    macs = [Key(SECRET.encode(), purpose, name).mac(b"data") for purpose, name in (first, second)]

    assert (first == second) == (macs[0] == macs[1])


def test_names_that_run_together_are_told_apart() -> None:
    """The boundary between purpose, queue and data is part of what is signed."""
    assert Key(SECRET.encode(), "ab", "c").mac(b"x") != Key(SECRET.encode(), "a", "bc").mac(b"x")
    assert Key(SECRET.encode(), "a", "b").mac(b"cx") != Key(SECRET.encode(), "a", "bc").mac(b"x")


def test_the_key_id_tells_the_secret_and_nothing_else() -> None:
    """An unknown key and a message for another queue can be distinguished."""
    ids = {Key(SECRET.encode(), purpose, name).id for purpose in ("task", "result") for name in ("a", "b")}

    assert {derive(SECRET.encode(), b"key id")[:KEY_ID_SIZE]} == ids
    assert Key(b"another", "task", "a").id not in ids


def test_the_first_key_of_a_ring_signs_and_all_verify() -> None:
    """A rotation keeps the old key to read with."""
    ring = KeyRing.derive(["new" * 10, "old" * 10], "task", "queue")

    assert Key(b"new" * 10, "task", "queue").mac(b"x") == ring.first.mac(b"x")
    assert {Key(b"new" * 10, "task", "queue").id, Key(b"old" * 10, "task", "queue").id} == set(ring.by_id)


def test_a_key_written_twice_is_one_key() -> None:
    """A repeated secret does no harm."""
    ring = KeyRing.derive([SECRET, SECRET], "task", "queue")

    assert (1, ring.first) == (len(ring.by_id), ring.by_id[ring.first.id])


def test_no_repr_shows_a_key() -> None:
    """A log line or a debugger shows the id only."""
    ring = KeyRing.derive([SECRET], "task", "queue")
    key = derive(SECRET.encode(), b"mac" + framed("task") + framed("queue"))

    for shown in (repr(ring), str(ring), repr(ring.first), f"{ring.first}"):
        assert SECRET not in shown
        assert key.hex() not in shown
        assert repr(key) not in shown
    assert f"<Key {ring.first.id.hex()}>" == repr(ring.first)
