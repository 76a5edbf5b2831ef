"""What a message carries beside its call is read as it was written, for ever."""

from __future__ import annotations

from typing import Any, Final

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcore.errors import MalformedMessage
from qcore.messages.workflow import (
    FinalResult,
    GroupMember,
    GroupResults,
    Link,
    PreviousResult,
    WorkflowHeader,
    barrier_key,
    derived_id,
    encode_tail,
    read_workflow,
)

ids = st.binary(min_size=16, max_size=16)
links = st.builds(Link, id=ids, head=st.binary(max_size=40), arguments=st.binary(max_size=40))
tails = st.builds(
    WorkflowHeader,
    links=st.lists(links, max_size=3),
    pipe_result=st.booleans(),
    position=st.integers(0, 9),
    total=st.integers(0, 9),
    continue_on_failure=st.booleans(),
    member=st.none()
    | st.builds(GroupMember, flow=ids, index=st.integers(0, 9999), count=st.just(9), callback=links),
    gathered=st.none() | st.builds(GroupResults, flow=ids, count=st.integers(0, 9), whole=st.booleans()),
    previous=st.none()
    | st.builds(PreviousResult, serializer=st.integers(0, 255), value=st.binary(max_size=9)),
    final_result=st.none() | st.builds(FinalResult, id=ids, body=st.binary(max_size=9)),
    unique=st.none() | st.text(max_size=9),
)

LINK: Final = Link(
    bytes(range(16)), b"head", b"arguments", 1, named=True, delay=1.5, expires=2.0, continue_on_failure=True
)
#: written once, read for ever: what, the bytes
GOLDEN: Final = {
    "nothing": (WorkflowHeader(), "9c90c20000c2c0c0c0c0c090a0"),
    "a chain": (
        WorkflowHeader(links=[LINK], pipe_result=True, position=1, total=2, previous=PreviousResult(1, b"v")),
        (
            "9c9198c410000102030405060708090a0b0c0d0e0fc40468656164c409617267756d656e747301c3"
            "cb3ff8000000000000cb4000000000000000c3c30102c2c0c09201c40176c0c090a0"
        ),
    ),
    "a member": (
        WorkflowHeader(member=GroupMember(bytes(16), 3, 9, Link(bytes(16), b"h"), whole=True)),
        (
            "9c90c20000c295c410000000000000000000000000000000000309"
            "98c41000000000000000000000000000000000c40168c40000c2cb0000000000000000cb0000000000000000c2c3c0c0c0c090a0"
        ),
    ),
    "a callback and a hook": (
        WorkflowHeader(
            gathered=GroupResults(bytes(16), 9, by=b"m"),
            final_result=FinalResult(bytes(16), b"sealed"),
            unique="key",
        ),
        (
            "9c90c20000c2c094c4100000000000000000000000000000000009c2c4016d"
            "c092c41000000000000000000000000000000000c4067365616c6564a36b657990a0"
        ),
    ),
}


@given(tails)
def test_what_is_written_is_read_as_it_was(tail: WorkflowHeader) -> None:
    """Every field comes back."""
    assert tail == read_workflow(encode_tail(tail))


@pytest.mark.parametrize("what", GOLDEN)
def test_the_tails_of_every_released_version_are_read_for_ever(what: str) -> None:
    """A chain that waited through an upgrade goes on."""
    tail, golden = GOLDEN[what]

    assert tail == read_workflow(bytes.fromhex(golden))
    assert golden == encode_tail(tail).hex()


def test_a_tail_of_a_later_qcore_is_read_as_far_as_it_is_known() -> None:
    """New fields go to the end, and older readers ignore them."""
    later = [*msgspec.msgpack.decode(encode_tail(WorkflowHeader(position=3))), "new", {"more": 1}]

    assert WorkflowHeader(position=3) == read_workflow(msgspec.msgpack.encode(later))


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x01", b"\x91\x01", b"\x91" * 8000])
def test_a_tail_that_is_none_is_refused_with_one_error(data: bytes) -> None:
    """Whatever the bytes are."""
    with pytest.raises(MalformedMessage, match="workflow header"):
        read_workflow(data)


@given(ids, st.text(max_size=9), st.integers(0, 2**32 - 1))
def test_who_ever_asks_is_told_the_same_id(id: bytes, what: str, number: int) -> None:
    """It is ordered by time, as all ids are, and nobody else's."""
    made = derived_id(id, what, number)

    assert (16, id[:6]) == (len(made), made[:6])
    assert made == derived_id(id, what, number)
    assert made != derived_id(id, what + "x", number)


def test_the_keys_of_barriers_differ() -> None:
    """By their flows."""
    seen: set[Any] = {barrier_key(bytes([n]) * 16) for n in range(9)}

    assert len(seen) == 9
