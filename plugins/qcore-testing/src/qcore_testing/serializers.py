"""Whether a serializer keeps to its interface."""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import enum
import threading
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from qcore.errors import DecodeError, EncodeError
from qcore_testing.contract import Contract, skip_unless
from qcore_testing.foreign import foreign

if TYPE_CHECKING:
    from collections.abc import Callable

    from qcore.interfaces import Serializer


class MakeSerializer(Protocol):
    """The fixture `make` of `SerializerContract`."""

    def __call__(self) -> Serializer:
        """Return a new serializer."""


SCALARS = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text()
)
#: what every serializer must write
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=25
)
#: the fixture holds no state, and the tests are inherited by many classes
EVERYWHERE = settings(
    deadline=None,
    database=None,
    max_examples=100,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
)


class Level(enum.IntEnum):
    """An enumeration whose members are numbers."""

    HIGH = 3


class Colour(enum.Enum):
    """An enumeration whose members are not their values."""

    RED = "red"


class Text(str):
    """A subclass of text."""

    __slots__ = ()


class Number(int):
    """A subclass of a number."""


class Pair(NamedTuple):
    """A tuple with names."""

    left: int


@dataclasses.dataclass
class Fields:
    """A class with fields."""

    user: int


#: values that formats write as another type without a word
CHANGELINGS: tuple[object, ...] = (
    Level.HIGH, Colour.RED, Text("x"), Number(3), Pair(1), Fields(1), (1,), {1: 2}, {1}, dt.date(2026, 1, 2),
    collections.OrderedDict(a=1), collections.Counter("a"), collections.defaultdict(list, a=[]),
)  # fmt: skip


class SerializerContract(Contract):
    """What every serializer must keep to, one test a sentence of `qcore.interfaces.Serializer`.

    Override the fixture `make`: it returns a function that returns a new serializer.
    """

    # Each kind of value is tried in every run; chance adds to them.
    @EVERYWHERE
    @given(value=VALUES)
    @example(value=None)
    @example(value=0.5)
    @example(value=[True, -(2**63), 2**63 - 1, "\u00e9\n\x00"])
    @example(value={"": [], "nested": {"a": [{}, 1.5e300]}})
    def test_plain_values_come_back(self, new: MakeSerializer, value: object) -> None:
        """Every value comes back.

        `loads(dumps(x)) == x` for None, bool, int of 64 bits, float, str, and lists and
        string-keyed dicts of them.
        """
        data = new().dumps(value)

        assert type(data) is bytes
        assert same(value, new().loads(data))

    @EVERYWHERE
    @given(data=st.binary(max_size=200))
    def test_bad_bytes_raise_decode_error(self, new: MakeSerializer, data: bytes) -> None:
        """Bytes it cannot read raise `DecodeError` and nothing else."""
        serializer = new()
        skip_unless(not serializer.unsafe, "may run what it reads, so it is not fed with anything")

        self.read(serializer, data)

    @EVERYWHERE
    @given(value=VALUES, changes=st.lists(st.tuples(st.integers(0), st.integers(0, 255)), max_size=4))
    def test_damaged_bytes_raise_decode_error(
        self, new: MakeSerializer, value: object, changes: list[tuple[int, int]]
    ) -> None:
        """Bytes it cannot read raise `DecodeError` and nothing else."""
        serializer = new()
        skip_unless(not serializer.unsafe, "may run what it reads, so it is not fed with anything")
        data = bytearray(serializer.dumps(value))
        for index, byte in changes:
            data[index % len(data)] = byte

        self.read(serializer, bytes(data))
        self.read(serializer, bytes(data[: len(data) // 2]))

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"[" * 200_000,
            b"\x91" * 200_000,
            b'{"a":' * 100_000,
            b"\xdd\xff\xff\xff\xff",
            b"\xff" * 9,
            b"9" * 10_000 + b"x",
            b'"\\ud800',
            b"\xc1",
            b"cnowhere\nnothing\n.",
        ],
        ids=lambda data: repr(data[:12]),
    )
    def test_hostile_bytes_raise_decode_error(self, new: MakeSerializer, data: bytes) -> None:
        """Bytes it cannot read raise `DecodeError` and nothing else."""
        with pytest.raises(DecodeError):
            new().loads(data)

    @pytest.mark.parametrize(
        ("value", "path"),
        [
            (threading.Lock(), ""),
            ([1, threading.Lock()], "[1]"),
            ([[0, {"user": {"lock": threading.Lock()}}]], "[0][1].user.lock"),
            ({"a": [threading.Lock()]}, ".a[0]"),
        ],
        ids=["itself", "item", "deep", "member"],
    )
    def test_the_culprit_is_named(self, new: MakeSerializer, value: object, path: str) -> None:
        """Anything it cannot write raises `EncodeError` naming the path of the culprit."""
        with pytest.raises(EncodeError) as caught:
            new().dumps(value)

        assert str(caught.value).startswith(f"{path}: " if path else "cannot")
        assert "lock" in str(caught.value)

    @pytest.mark.parametrize("value", CHANGELINGS, ids=lambda value: type(value).__name__)
    def test_no_type_becomes_another(self, new: MakeSerializer, value: object) -> None:
        """A type is kept or refused.

        A value that would come back as another type, such as a member of an enumeration as its
        number, is one that it cannot write; a buffer may come back as bytes.
        """
        serializer = new()
        for placed in (value, [value], {"a": [{"b": value}]}):
            try:
                data = serializer.dumps(placed)
            except EncodeError:
                continue

            assert same(placed, serializer.loads(data))

    @pytest.mark.parametrize("value", foreign(), ids=lambda made: made.__name__)
    def test_anything_is_written_or_refused(self, new: MakeSerializer, value: Callable[[], object]) -> None:
        """A value that is nested too deeply, or has no form in its format, raises `EncodeError` too."""
        serializer, made = new(), value()

        try:
            data = serializer.dumps(made)
        except EncodeError:
            return
        assert type(data) is bytes
        found = serializer.loads(data)
        if value.__name__.endswith("surrogate"):
            assert same(made, found), f"{made!r} came back as {found!r}"

    def test_a_value_without_end_is_refused(self, new: MakeSerializer) -> None:
        """Anything it cannot write raises `EncodeError` naming the path of the culprit."""
        serializer = new()
        skip_unless(not serializer.unsafe, "writes values that contain themselves")
        endless: list[Any] = []
        endless.append(endless)

        with pytest.raises(EncodeError):
            serializer.dumps(endless)

    def test_the_code_is_one_byte(self, new: MakeSerializer) -> None:
        """`code`: one byte in the envelope; 1-31 are qcore's own, 128-255 are free for plugins."""
        serializer = new()
        own = type(serializer).__module__.partition(".")[0] in {"qcore_values", "qcore_json", "qcore_pickle"}

        assert serializer.code in (range(1, 32) if own else range(128, 256))

    def read(self, serializer: Serializer, data: bytes) -> None:
        """Read bytes; they give a value or `DecodeError`."""
        try:
            serializer.loads(data)
        except DecodeError:
            return


def same(one: object, other: object) -> bool:
    """Return whether two values are equal and of the same types, all the way down."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict) and isinstance(other, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other
