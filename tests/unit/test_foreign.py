"""Types that other packages add."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from qcore import App, Config, State
from qcore.errors import DecodeError, EncodeError
from qcore_json import JsonSerializer
from qcore_schedules.messages import OpenedSchedule
from qcore_values import foreign
from qcore_values.foreign import Foreign, Unresolved, Written, as_written, register
from qcore_values.msgpack_serializer import MsgpackSerializer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qcore.interfaces import Serializer

pytestmark = pytest.mark.portable


class Row:
    """Is known by its number, where it is stored."""

    def __init__(self, number: int) -> None:
        self.number = number


class Line(Row):
    """A subclass is written as its base says."""


class Shout(str):
    """Arrives as its text."""

    __slots__ = ()


ROWS = {1: Row(1), 2: Line(2)}


def write(row: Row) -> int:
    """Return the number of a row that is stored."""
    if row.number not in ROWS:
        msg = f"row {row.number} is not stored"
        raise EncodeError(msg)
    return row.number


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Register both types for one test."""
    types, names = dict(foreign._BY_TYPE), dict(foreign._BY_NAME)
    register(Foreign("test.row", Row, write, ROWS.__getitem__))
    register(Foreign("test.shout", Shout, str.__str__))
    yield
    for table, before in ((foreign._BY_TYPE, types), (foreign._BY_NAME, names)):
        table.clear()
        table.update(before)  # type: ignore[arg-type]  # the two tables have different keys


@pytest.fixture(params=[MsgpackSerializer, JsonSerializer])
def serializer(request: pytest.FixtureRequest) -> Serializer:
    """Return each serializer that writes by tags."""
    made: Serializer = request.param()
    return made


def test_a_value_is_what_its_package_makes_of_it(serializer: Serializer) -> None:
    """Wherever it is, and of a subclass too."""
    data = serializer.dumps([ROWS[1], {"line": ROWS[2]}, Shout("a")])

    first, second, text = serializer.loads(data)

    assert first is ROWS[1]
    assert second["line"] is ROWS[2]
    assert (text, type(text)) == ("a", str)


def test_a_refusal_says_where_and_why(serializer: Serializer) -> None:
    """The package's own words come behind the path."""
    with pytest.raises(EncodeError, match=r"^\[0\]\.row: row 9 is not stored$"):
        serializer.dumps([{"row": Row(9)}])


def test_what_cannot_be_made_is_told_from_broken_bytes(serializer: Serializer) -> None:
    """The cause is there, as the package raised it."""
    data = serializer.dumps(ROWS[1])
    gone = ROWS.pop(1)
    try:
        with pytest.raises(Unresolved, match="KeyError: 1") as caught:
            serializer.loads(data)
    finally:
        ROWS[1] = gone

    assert isinstance(caught.value, DecodeError)
    assert isinstance(caught.value.__cause__, KeyError)


def test_it_is_passed_on_as_it_was_written(serializer: Serializer) -> None:
    """A process that has no use for the value neither makes it nor needs its package."""
    data = serializer.dumps([ROWS[1]])
    foreign._BY_NAME.clear()

    with as_written():
        found = serializer.loads(data)

    assert found == [Written("test.row", 1)]
    assert serializer.dumps(found) == data
    with pytest.raises(Unresolved, match=r"a value of the type 'test\.row', which no imported package has"):
        serializer.loads(data)


def title(row: Any) -> str:
    """Return the number of a row as a text."""
    return f"row {row.number}"


def give(number: int) -> Any:
    """Return a row."""
    return ROWS[number]


@pytest.fixture
def app(tmp_path: Any) -> Iterator[App]:
    """Return an App that runs tasks at once."""
    made = App(Config.from_dict({"sync": True, "sqlite": {"path": str(tmp_path / "queue.db")}}))
    yield made
    made.close()


def test_a_row_that_is_gone_is_a_failure_of_its_task(app: App) -> None:
    """It has the error that the package raised, and is not rejected as broken bytes are."""
    assert app.enqueue(title, ROWS[1]).result() == "row 1"

    foreign._BY_NAME["test.row"] = Foreign("test.row", Row, write, {}.__getitem__)
    failed = app.enqueue(title, ROWS[1]).fetch()

    assert failed is not None
    assert (failed.state, failed.kind, failed.error) == (State.FAILED, "failure", "KeyError: 1")


def test_a_schedule_is_opened_without_its_row(app: App) -> None:
    """Its slots are fired by a process that does not have the row."""
    schedule = app.schedules.create(title, ROWS[1], name="rows", type="daily")
    foreign._BY_NAME.clear()

    opened = OpenedSchedule(app.runtime, schedule)

    assert opened._args == (Written("test.row", 1),)


def test_a_result_whose_row_is_gone_is_there_as_it_was_written(app: App) -> None:
    """It hides no other result."""
    job = app.enqueue(give, 2)
    assert job.result() is ROWS[2]

    foreign._BY_NAME["test.row"] = Foreign("test.row", Row, write, {}.__getitem__)

    assert job.result() == Written("test.row", 2)
