"""Whether `types.md` tells what becomes of each type."""

from __future__ import annotations

import re
import sys
import types
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import pytest

from qcore import App, Config
from qcore.errors import EncodeError
from qcore_json import JsonSerializer
from qcore_pickle import PickleSerializer
from qcore_testing.serializers import same
from qcore_values.msgpack_serializer import MsgpackSerializer
from tests.house.pages import blocks
from tests.house.tree import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable

    from qcore.interfaces import Serializer

PAGE: Final = ROOT / "docs" / "reference" / "types.md"
SERIALIZERS: Final[dict[str, Callable[[], Serializer]]] = {
    "msgpack": MsgpackSerializer,
    "json": JsonSerializer,
    "pickle": PickleSerializer,
}
BARS: Final = re.compile(r"(?<!\\)\|")


def rows(title: str) -> list[list[str]]:
    """Return the table of a section without its head."""
    section = PAGE.read_text(encoding="utf-8").partition(f"## {title}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    return [[cell.strip().replace("\\|", "|") for cell in BARS.split(line.strip("|"))] for line in lines]


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """Return a module with the names that the page defines, which pickle can import."""
    made = types.ModuleType("types_page")
    monkeypatch.setitem(sys.modules, made.__name__, made)
    block = next(block for block in blocks(PAGE) if block.tag == "python")
    exec(compile(block.text, str(PAGE), "exec", dont_inherit=True), vars(made))  # noqa: S102 - of our own page
    return made


def value_of(cell: str, page: types.ModuleType) -> Any:
    """Return the value that a row names; what stands behind it in brackets is for the reader."""
    return eval(cell.split("`")[1], vars(page))  # noqa: S307 - of our own page


def told(sent: Any, arrive: Callable[[Any], Any]) -> str:
    """Return what becomes of a value, in the words of the page."""
    try:
        found = arrive(sent)
    except EncodeError:
        return "refused"
    if type(found) is not type(sent):
        return type(found).__name__
    assert same(sent, found) or repr(sent) == repr(found)
    return "kept"


@pytest.mark.parametrize("name", SERIALIZERS)
def test_each_type_arrives_as_the_page_says(name: str, page: types.ModuleType) -> None:
    """A value is kept, refused, or becomes what its row says, alone and inside of others."""
    serializer = SERIALIZERS[name]()
    column = 1 + list(SERIALIZERS).index(name)
    said = {row[0]: row[column] for row in rows("What each serializer does")}

    found = {
        cell: told(value_of(cell, page), lambda sent: serializer.loads(serializer.dumps(sent)))
        for cell in said
    }
    inside = {
        cell: told(
            value_of(cell, page), lambda sent: serializer.loads(serializer.dumps([{"a": sent}]))[0]["a"]
        )
        for cell in said
    }

    assert len(said) > 40
    assert said == found == inside


@pytest.mark.parametrize("name", SERIALIZERS)
def test_results_arrive_as_the_page_says(name: str, page: types.ModuleType) -> None:
    """What a task returns is kept, changed or refused as an argument is."""
    app = App(
        Config.from_dict({"memory": {}, "sync": True, "serializer": name, "accept_serializers": [name]})
    )
    column = 1 + list(SERIALIZERS).index(name)
    said = {row[0]: row[column] for row in rows("What each serializer does")}
    returned: list[Any] = []

    def give() -> Any:
        return returned[-1]

    _put(page, give, {})

    def arrive(sent: Any) -> Any:
        returned.append(sent)
        return _returned(app)

    assert said == {cell: told(value_of(cell, page), arrive) for cell in said}


@pytest.mark.parametrize("name", ["msgpack", "json"])
def test_annotations_do_what_the_page_says(name: str, page: types.ModuleType) -> None:
    """An annotated parameter, and an annotated result, arrive as the type that is named."""
    app = App(Config.from_dict({"memory": {}, "sync": True, "serializer": name}))
    said = {(row[0], row[1].strip("`")): row[2] for row in rows("What an annotation adds")}
    found, results = {}, {}
    for cell, annotation in said:
        sent = value_of(cell, page)
        hint = eval(annotation, vars(page))  # noqa: S307 - of our own page
        found[cell, annotation] = told(sent, partial(_as_argument, app, page, hint))
        results[cell, annotation] = told(sent, partial(_as_result, app, page, hint))

    assert len(said) > 10
    assert said == found == results


def _as_argument(app: App, page: types.ModuleType, hint: object, sent: Any) -> Any:
    arrived: list[Any] = []

    def take(value: Any) -> None:
        arrived.append(value)

    _put(page, take, {"value": hint})
    app.enqueue(take, sent)
    return arrived[-1]


def _as_result(app: App, page: types.ModuleType, hint: object, sent: Any) -> Any:
    def give() -> Any:
        return sent

    _put(page, give, {"return": hint})
    return _returned(app)


def _returned(app: App) -> Any:
    """Return the result of the page's `give`."""
    result = app.enqueue("types_page.give").fetch()
    assert result is not None
    if result.success:
        return result.value
    if "its result cannot be stored" in result.error:
        raise EncodeError(result.error)
    raise AssertionError(result.error)


def _put(page: types.ModuleType, function: Callable[..., Any], annotations: dict[str, object]) -> None:
    """Make a function one of the page's module."""
    name = function.__qualname__.rpartition(".")[2]
    function.__module__, function.__qualname__ = page.__name__, name
    function.__annotations__ = annotations
    setattr(page, name, function)
