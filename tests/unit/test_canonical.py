"""One call has one key, however it is written."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from qcore import App, Config
from qcore.tasks.call import Call, Options
from qcore.tasks.unique import key_of

pytestmark = pytest.mark.portable

UNIQUE = Options(unique=True)
_MARK: Any = object()


def report(day: int, kind: str = "short", *rest: Any, mark: Any = _MARK, **named: Any) -> None:
    """Take arguments of each kind."""


@pytest.fixture
def app() -> App:
    """Return an App on a queue of this process."""
    return App(Config.from_dict({"memory": {}}))


def key(app: App, name: str, *args: Any, **kwargs: Any) -> str:
    """Return the key of a call."""
    return key_of(Call(name, args, kwargs, UNIQUE, b""), app.runtime.serializer)


REPORT = f"{__name__}.report"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (((1,), {}), ((), {"day": 1})),
        (((1,), {}), ((1, "short"), {})),
        (((1,), {"x": 1, "y": 2}), ((1,), {"y": 2, "x": 1})),
        ((({"a": 1, "b": {"c": 2, "d": 3}},), {}), (({"b": {"d": 3, "c": 2}, "a": 1},), {})),
        ((({1, 2, 30, 400},), {}), (({400, 30, 2, 1},), {})),
        (((1, "long", [dt.date(2026, 1, 2)]), {}), ((1, "long", [dt.date(2026, 1, 2)]), {})),
    ],
)
def test_one_call_has_one_key(app: App, one: Any, other: Any) -> None:
    """Position, order and defaults are matters of spelling."""
    assert key(app, REPORT, *one[0], **one[1]) == key(app, REPORT, *other[0], **other[1])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (((1,), {}), ((2,), {})),
        (((1,), {}), (("1",), {})),
        (((1,), {}), ((True,), {})),
        (((1,), {}), ((1, "long"), {})),
        ((([1, 2],), {}), (([2, 1],), {})),
        ((("a,b",), {}), ((["a", "b"],), {})),
        ((({"a": 1},), {}), (({"a": "1"},), {})),
        (((1,), {"x": 1}), ((1,), {"y": 1})),
        (((1, "a", 2), {}), ((1, "a"), {"rest": (2,)})),
        ((([], "x,str:'y'"), {}), (([], "x", "y"), {})),
    ],
)
def test_two_calls_have_two_keys(app: App, one: Any, other: Any) -> None:
    """What the function can tell apart is another call."""
    assert key(app, REPORT, *one[0], **one[1]) != key(app, REPORT, *other[0], **other[1])


def test_a_function_that_is_not_imported_has_a_key_too(app: App) -> None:
    """Named arguments have no order; which position has which name only the signature says."""
    name = "no_module_of_this_name.f"

    assert key(app, name, a=1, b=2) == key(app, name, b=2, a=1)
    assert key(app, name, 1) != key(app, name, a=1)


def test_wrong_arguments_have_a_key_too(app: App) -> None:
    """The worker refuses them; the producer does not bind what does not fit."""
    assert key(app, REPORT) == key(app, REPORT) != key(app, REPORT, 1)


def test_the_second_spelling_is_a_duplicate() -> None:
    """Through the front: the handle is that of the first."""
    app = App(Config.from_dict({"memory": {}}))
    task = app.task(unique=True)(report)

    first, second = task.enqueue(1, x=1, y=2), task.enqueue(day=1, kind="short", y=2, x=1)

    assert (second.id, second.duplicate) == (first.id, True)
