"""A task's name leads a worker to the function that was meant, or it is refused."""

from __future__ import annotations

import functools
import importlib
import random
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import pytest

from qcore import App, Config
from qcore.errors import TaskNameError
from qcore.testing import captured
from qcore_names.resolve import name_of, resolve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import ModuleType

HEAD = "from qcore import App, Config\napp = App(Config.from_dict({'memory': {}}))\n"


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], ModuleType]]:
    """Return what writes and imports a module of the user's."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def make(text: str) -> ModuleType:
        (tmp_path / "shop_tasks.py").write_text(HEAD + textwrap.dedent(text))
        importlib.invalidate_caches()
        return importlib.import_module("shop_tasks")

    yield make
    sys.modules.pop("shop_tasks", None)


class Base:
    """A class with methods of each kind."""

    def method(self, number: int) -> int:
        """Need an object."""
        return number

    @classmethod
    def named(cls) -> str:
        """Return which class it is called on."""
        return cls.__name__

    @staticmethod
    def double(number: int) -> int:
        """Need nothing."""
        return 2 * number


class Derived(Base):
    """Inherits the class method."""


def plain(number: int) -> int:
    """Return the number."""
    return number


def partial() -> Any:
    """Return a partial that bears the name of its function."""
    return functools.update_wrapper(functools.partial(plain, 3), plain)


@pytest.fixture
def app() -> App:
    """Return an App on a queue of this process."""
    return App(Config.from_dict({"memory": {}}))


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (Base().method, "is bound to a Base object"),
        (Base.method, "is a method, and the object"),
        (random.randint, "is bound to a Random object"),
        (partial(), "leads to another object"),
        (functools.partial(plain, 3), "is not a function that a worker can import"),
        (lambda: None, "is a lambda"),
    ],
)
def test_a_callable_that_would_lose_its_object_is_refused(app: App, function: Any, told: str) -> None:
    """The producer learns it, and nothing is enqueued."""
    with pytest.raises(TaskNameError, match=told):
        app.enqueue(function, 1)

    assert app.queue.size().ready == 0


@pytest.mark.parametrize("function", [Base.named, Derived.named, Base.double, plain, len])
def test_a_callable_that_can_be_imported_leads_to_itself(app: App, function: Any) -> None:
    """A class method runs on the class that it was taken from."""
    with captured(app) as seen:
        app.async_task(function)

    found = resolve(name_of(function), ["*"])
    assert found == function
    assert [name_of(function)] == seen.names


@pytest.mark.parametrize(
    "source",
    [
        "class Order:\n    @app.task\n    def ship(self): ...\n",
        "class Order:\n    @app.task(name='shop_tasks.ship')\n    def ship(self): ...\n",
        "class Order:\n    @app.task\n    @classmethod\n    def ship(cls): ...\n",
        "class Order:\n    @classmethod\n    @app.task\n    def ship(cls): ...\n",
    ],
)
def test_a_method_is_refused_where_it_is_declared(module: Callable[[str], ModuleType], source: str) -> None:
    """The object or class would not reach the worker."""
    with pytest.raises(TaskNameError, match="at the top level of"):
        module(source)


@pytest.mark.parametrize("order", ["@staticmethod\n    @app.task", "@app.task\n    @staticmethod"])
def test_a_static_method_is_a_task(module: Callable[[str], ModuleType], order: str) -> None:
    """Both orders of the decorators are right, through the class and through an object."""
    made = module(f"class Order:\n    {order}\n    def ship(number): return number\n")

    with captured(made.app) as seen:
        made.Order.ship.enqueue(1)
        made.Order().ship.enqueue(2)

    assert seen.names == ["shop_tasks.Order.ship"] * 2
    assert resolve("shop_tasks.Order.ship", None)(7) == 7


def test_a_task_of_a_class_is_refused_through_an_object(module: Callable[[str], ModuleType]) -> None:
    """Whatever the first parameter is called, the object would be lost."""
    made = module("class Order:\n    @app.task\n    def ship(this): ...\n")

    with pytest.raises(TaskNameError, match="reached through an object"):
        made.Order().ship.enqueue()


def test_two_functions_of_one_name_are_refused_where_they_are_declared(
    module: Callable[[str], ModuleType],
) -> None:
    """Workers would run the second for both."""
    with pytest.raises(TaskNameError, match=r"declared twice, in .*line 3 and in .*line 5"):
        module("@app.task\ndef dup(): return 1\n@app.task\ndef dup(): return 2\n")


def test_a_module_may_be_imported_anew(module: Callable[[str], ModuleType]) -> None:
    """A reload declares the same tasks, and what was imported before still works."""
    made = module("@app.task\ndef dup(): return 1\n")
    before = made.dup

    importlib.reload(made)

    with captured(made.app) as seen:
        made.dup.enqueue()
    with captured(before._app) as seen_before:
        before.enqueue()
    assert seen.names == seen_before.names == ["shop_tasks.dup"]


def test_an_edited_module_may_be_reloaded_into_the_same_app(
    module: Callable[[str], ModuleType], tmp_path: Path, app: App
) -> None:
    """The App may be another module's, and lines move."""
    made = module("app = globals().get('kept', app)\n@app.task\ndef dup(): return 1\n")
    vars(made)["kept"] = made.app
    (tmp_path / "shop_tasks.py").write_text(f"{HEAD}app = kept\n\n\n@app.task\ndef dup(): return 2\n")

    importlib.reload(made)

    assert made.dup() == 2


def test_a_function_that_was_defined_anew_is_refused(module: Callable[[str], ModuleType]) -> None:
    """Its name leads to the second, declared or not."""
    made = module(
        "def dup(): return 1\nfirst = dup\ndef dup(): return 2\n"
        "@app.task\ndef task(): return 1\ndeclared = task\ndef task(): return 2\n"
    )

    for enqueue in (
        lambda: made.app.enqueue(made.first),
        made.declared.enqueue,
        made.declared.bind,
        made.declared.using(delay=1).enqueue,
        lambda: made.app.enqueue(made.declared),
    ):
        with pytest.raises(TaskNameError, match=r"leads to another object than .*line [36],"):
            enqueue()
    with captured(made.app) as seen:
        made.app.enqueue(made.dup)
    assert seen.names == ["shop_tasks.dup"]


def test_a_decorated_function_leads_to_itself(module: Callable[[str], ModuleType]) -> None:
    """Decorators above and below @app.task that keep the name are no other function."""
    made = module(
        "import functools\n"
        "def loud(f):\n    @functools.wraps(f)\n    def g(*a): return f(*a)\n    return g\n"
        "@app.task\n@loud\ndef below(): ...\n@loud\n@app.task\ndef above(): ...\n@loud\ndef plain(): ...\n"
    )

    with captured(made.app) as seen:
        made.below.enqueue()
        made.app.enqueue(made.above)
        made.app.enqueue(made.plain)

    assert seen.names == ["shop_tasks.below", "shop_tasks.above", "shop_tasks.plain"]
