"""What the three serializers write, read and refuse."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import datetime as dt
import decimal
import enum
import threading
import uuid
import zoneinfo
from typing import TYPE_CHECKING, Any, Final

import attrs
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qcore.errors import DecodeError, EncodeError
from qcore_json import JsonSerializer
from qcore_pickle import PickleSerializer
from qcore_values.msgpack_serializer import MsgpackSerializer
from qcore_values.tags import TAGS

if TYPE_CHECKING:
    from qcore.interfaces import Serializer

ALL: Final = [MsgpackSerializer(), JsonSerializer(), PickleSerializer()]
OURS: Final = ALL[:2]
each_of_all: Final = pytest.mark.parametrize("serializer", ALL, ids=lambda one: type(one).__name__)
each_of_ours: Final = pytest.mark.parametrize("serializer", OURS, ids=lambda one: type(one).__name__)
EVERYWHERE: Final = settings(
    deadline=None, database=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow]
)

ZONES: Final = st.sampled_from(
    [
        None,
        dt.UTC,
        dt.timezone(dt.timedelta(hours=-3, minutes=-30)),
        dt.timezone(dt.timedelta(microseconds=1)),
        zoneinfo.ZoneInfo("Europe/Paris"),
        zoneinfo.ZoneInfo("UTC"),
    ]
)
HASHABLE: Final = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters())
    | st.binary()
    | st.uuids()
    | st.decimals(allow_nan=False)
    | st.complex_numbers(allow_nan=False)
    | st.dates()
    | st.timedeltas()
    | st.builds(
        lambda moment, zone, fold: moment.replace(tzinfo=zone, fold=fold),
        st.datetimes(),
        ZONES,
        st.sampled_from([0, 1]),
    )
    | st.builds(
        lambda time, zone, fold: time.replace(tzinfo=zone, fold=fold),
        st.times(),
        ZONES,
        st.sampled_from([0, 1]),
    ),
    lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3),
    max_leaves=6,
)
VALUES: Final = st.recursive(
    HASHABLE,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(HASHABLE, inner, max_size=4)
        | st.dictionaries(st.sampled_from(["$tuple", "$", "$dict", "a"]), inner, max_size=2)
        | st.sets(HASHABLE, max_size=3)
        | st.tuples(inner)
    ),
    max_leaves=15,
)


class Colour(enum.Enum):
    """A plain enumeration."""

    RED = "red"


class Level(enum.IntEnum):
    """Numbers with names."""

    HIGH = 3


@dataclasses.dataclass
class Data:
    """A dataclass."""

    user: object


@attrs.define
class Attrs:
    """An attrs class."""

    user: object


class Struct(msgspec.Struct, rename="camel", tag=True):
    """A msgspec struct that would name its fields otherwise."""

    user_name: object


class Text(str):
    """A kind of text."""

    __slots__ = ()

    def __str__(self) -> str:
        return "something else"


class Flag(enum.IntFlag):
    """Bits with names."""

    A = 1


class Moment(dt.datetime):
    """A kind of datetime, as that of pandas is."""


class Rows(list[int]):
    """A kind of list."""


OR: Final = "or annotate the parameter or the return value with its type"
Pair = collections.namedtuple("Pair", "left right")  # noqa: PYI024 - the untyped kind is what is tried


def exact(value: Any) -> Any:
    """Return something that is equal only for values of the same types, folds and zones."""
    if isinstance(value, dict):
        return dict, [(exact(key), exact(item)) for key, item in value.items()]
    if isinstance(value, (list, tuple)):
        return type(value), [exact(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return type(value), sorted(repr(exact(item)) for item in value)
    return type(value), repr(value)


@each_of_all
@EVERYWHERE
@given(value=VALUES)
def test_rich_values_come_back_exactly(serializer: Serializer, value: object) -> None:
    """Types, time zones, folds, signs and orders survive, at any depth and as keys."""
    assert exact(serializer.loads(serializer.dumps(value))) == exact(value)


@each_of_all
def test_what_is_no_number_comes_back(serializer: Serializer) -> None:
    """NaN and the infinities survive."""
    value = [float("nan"), float("inf"), -float("inf"), -0.0, decimal.Decimal("sNaN")]

    assert repr(serializer.loads(serializer.dumps(value))) == repr(value)


@each_of_ours
@pytest.mark.parametrize(
    "value",
    [
        collections.OrderedDict(b=1, a=(2,)),
        collections.OrderedDict({1: {2}}),
        collections.Counter("abca"),
        collections.defaultdict(list, {1: [2]}),
        collections.defaultdict(None, {"a": collections.deque([1], 3)}),
        collections.deque([(1,), 2]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_collections_keep_their_type(serializer: Serializer, value: Any) -> None:
    """A collection of the standard library comes back as itself, wherever it stands."""
    found = serializer.loads(serializer.dumps([value, {"a": value}]))

    assert exact([value, {"a": value}]) == exact(found)
    assert getattr(value, "default_factory", 0) == getattr(found[0], "default_factory", 0)
    assert getattr(value, "maxlen", 0) == getattr(found[0], "maxlen", 0)


@each_of_ours
@pytest.mark.parametrize(
    ("value", "expected"), [(bytearray(b"x"), b"x"), (memoryview(b"x"), b"x")], ids=["array", "view"]
)
def test_buffers_become_bytes(serializer: Serializer, value: object, expected: object) -> None:
    """What is as good as bytes comes back as bytes."""
    assert exact(serializer.loads(serializer.dumps([value]))) == exact([expected])


@each_of_ours
@pytest.mark.parametrize(
    ("value", "message"),
    [
        (threading.Lock(), "cannot write an object of type lock"),
        (
            [0, {"user": {"a b": [print]}}],
            "[1].user['a b'][0]: cannot write an object of type builtin_function_or_method",
        ),
        ([Colour.RED], f"[0]: Colour, an enumeration, would arrive as its value; pass its .value, {OR}"),
        (Level.HIGH, f"Level, an enumeration, would arrive as its value; pass its .value, {OR}"),
        (
            {Level.HIGH: 1},
            f"{{key}}: Level, an enumeration, would arrive as its value; pass its .value, {OR}",
        ),
        ({"a": Data(1)}, f".a: Data, a class with fields, would arrive as a dict; pass a dict, {OR}"),
        (Attrs(1), f"Attrs, a class with fields, would arrive as a dict; pass a dict, {OR}"),
        (Struct(1), f"Struct, a class with fields, would arrive as a dict; pass a dict, {OR}"),
        (Pair(1, 2), f"Pair, a named tuple, would arrive as a tuple; pass tuple() of it, {OR}"),
        (Text("x"), f"Text, a subclass of str, would arrive as a str; pass str() of it, {OR}"),
        (Flag.A, f"Flag, an enumeration, would arrive as its value; pass its .value, {OR}"),
        (
            Moment(2026, 1, 1),
            "Moment, a subclass of datetime, would arrive as a datetime; convert it to a datetime before",
        ),
        (Rows([1]), "Rows, a subclass of list, would arrive as a list; convert it to a list before"),
        (
            collections.defaultdict(lambda: 1),
            "the factory of a defaultdict would not arrive; pass dict() of it",
        ),
        ({2: {3: object()}}, "[2][3]: cannot write an object of type object"),
        ({object(): 1}, "{key}: cannot write an object of type object"),
        ((1, (2, object())), "[1][1]: cannot write an object of type object"),
        ({"x\ny": object()}, r"['x\ny']: cannot write an object of type object"),
        (range(3), "cannot write an object of type range"),
        (int, "cannot write an object of type type"),
    ],
)
def test_the_culprit_is_named(serializer: Serializer, value: object, message: str) -> None:
    """The message begins with the way to what cannot be written, and never shows the value."""
    with pytest.raises(EncodeError) as caught:
        serializer.dumps(value)

    assert str(caught.value) == message


@each_of_ours
def test_a_method_that_raises_is_an_encode_error(serializer: Serializer) -> None:
    """Reading a user's object may raise anything; what it says is not repeated."""

    class Zone(dt.tzinfo):
        def utcoffset(self, when: dt.datetime | None) -> dt.timedelta:
            raise OSError("password in the text")

        def dst(self, when: dt.datetime | None) -> None:
            del when

        def tzname(self, when: dt.datetime | None) -> None:
            del when

    with pytest.raises(EncodeError, match=r"^\[0\]: .* type datetime: reading it raised OSError$"):
        serializer.dumps([dt.datetime(2026, 1, 1, tzinfo=Zone())])


@each_of_all
def test_a_pickle_that_cannot_be_is_named(serializer: Serializer) -> None:
    """Every serializer names the path, pickle by trying the parts."""
    with pytest.raises(EncodeError, match=r"^\[1\]\.call\[0\]: cannot write an object of type function$"):
        serializer.dumps([1, {"call": [lambda: 1]}])


@each_of_ours
@pytest.mark.parametrize("depth", [50, 5000, 100_000])
def test_depth_is_survived_or_refused(serializer: Serializer, depth: int) -> None:
    """Deep values are written and read, or refused; nothing overflows."""
    value: Any = 0
    for _ in range(depth):
        value = [value]

    if depth == 50:
        assert serializer.loads(serializer.dumps(value)) == value
        return
    # How deep the interpreter lets C code go differs from version to version.
    try:
        data = serializer.dumps(value)
    except EncodeError:
        return
    with contextlib.suppress(DecodeError):
        serializer.loads(data)


@EVERYWHERE
@given(
    code=st.sampled_from([*(tag.code for tag in TAGS), -1, 0, 99]),
    inner=st.binary(max_size=12) | VALUES.map(MsgpackSerializer().dumps),
)
def test_hostile_extensions_raise_decode_error(code: int, inner: bytes) -> None:
    """Whatever stands behind an extension's code, it is a value or a DecodeError."""
    serializer = MsgpackSerializer()
    try:
        serializer.loads(msgspec.msgpack.encode(msgspec.msgpack.Ext(code, inner)))
    except DecodeError as error:
        told = str(error)
        assert told


@EVERYWHERE
@given(
    name=st.sampled_from(["nothing", *(tag.name for tag in TAGS)]),
    inner=st.recursive(
        st.none() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
        lambda x: (
            st.lists(x, max_size=4) | st.dictionaries(st.sampled_from(["$set", "$int", "a"]), x, max_size=1)
        ),
        max_leaves=6,
    ),
)
def test_hostile_marks_raise_decode_error(name: str, inner: object) -> None:
    """Whatever stands behind a mark, it is a value or a DecodeError."""
    serializer = JsonSerializer()
    try:
        serializer.loads(msgspec.json.encode({f"${name}": inner}))
    except DecodeError as error:
        told = str(error)
        assert told


@pytest.mark.parametrize(
    "data",
    [
        b'{"$int": "' + b"f" * 100 + b'g"}',
        b'{"$nothing": 1}',
        b'{"$set": [[1]]}',
        b'{"$timedelta": [1e300, 0, 0]}',
        b'{"$datetime": ["2024-01-01", 0, ["../../etc/passwd", null]]}',
        b'{"$datetime": ["2024-01-01", 0, [null, 86400000000000]]}',
        b'{"$tuple":' * 30_000,
        b"NaN",
        b"\xff\xfe",
    ],
    ids=lambda data: repr(data[:16]),
)
def test_bad_json_raises_decode_error(data: bytes) -> None:
    """Marks with the wrong thing behind them are refused."""
    with pytest.raises(DecodeError):
        JsonSerializer().loads(data)


def test_a_zone_that_is_not_known_here_becomes_its_offset() -> None:
    """A worker without that time zone reads the same moment."""
    data = b'{"$datetime": ["2024-07-01T12:00:00", 0, ["Mars/Olympus", 7200000000]]}'

    moment = JsonSerializer().loads(data)

    assert moment.utcoffset() == dt.timedelta(hours=2)


def test_json_is_readable() -> None:
    """What JSON has a form for is plain JSON, anything else says what it is."""
    dumps = JsonSerializer().dumps

    assert dumps([[1, "a", None], {"b": 1.5}]) == b'[[1,"a",null],{"b":1.5}]'
    assert dumps([(1,), uuid.UUID(int=1)]) == (
        b'[{"$tuple":[1]},{"$uuid":"00000000000000000000000000000001"}]'
    )
    assert dumps({"$price": 1}) == b'{"$dict":[["$price",1]]}'
    assert dumps("$5") == b'"$5"'


def test_plain_values_are_plain_messagepack() -> None:
    """Any reader of MessagePack understands messages without marks."""
    value = [[1, "a", None, b"b"], {"c": 1.5, 7: True}]

    assert MsgpackSerializer().dumps(value) == msgspec.msgpack.encode(value)


def test_codes_of_types_stay_as_they_are() -> None:
    """Messages of older versions must be read for ever."""
    assert {tag.name: tag.code for tag in TAGS} == {
        "tuple": 1,
        "set": 2,
        "frozenset": 3,
        "datetime": 4,
        "date": 5,
        "time": 6,
        "timedelta": 7,
        "uuid": 8,
        "decimal": 9,
        "complex": 10,
        "int": 11,
        "text": 12,
        "float": 13,
        "bytes": 14,
        "dict": 15,
        "ordereddict": 16,
        "counter": 17,
        "defaultdict": 18,
        "deque": 19,
        "foreign": 20,
        "path": 21,
        "posixpath": 22,
        "windowspath": 23,
    }


def test_only_pickle_is_unsafe() -> None:
    """Reading pickle can run code, and it says so."""
    assert [serializer.unsafe for serializer in ALL] == [False, False, True]
