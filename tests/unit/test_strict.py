"""What is enqueued by name is likely to be there, and with `strict` is, and is of the annotated types."""

from __future__ import annotations

import functools
import logging
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from qcore import App, Config
from qcore.errors import NotSupported, TaskNameError
from qcore.testing import captured
from qcore_names.unknown import SEEN

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HERE = __name__


def make(**settings: Any) -> App:
    """Return an App."""
    return App(Config.from_dict({"name": "strict", "secret_key": "k" * 32} | settings))


def add(x: int, y: int = 2, *more: int, **named: str) -> int:
    """Take numbers."""
    return x + y


def join(items: list[str], sep: str | None = None) -> str:
    """Take a container."""
    return (sep or "").join(items)


def passing(function: Callable[..., Any]) -> Callable[..., Any]:
    """Pass an argument of its own."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function("session", *args, **kwargs)

    return wrapper


@passing
def decorated(session: str, x: int) -> str:
    """Be called without its first argument."""
    return f"{session} {x}"


@pytest.fixture(autouse=True)
def forget() -> None:
    """Let each test meet its names for the first time."""
    SEEN.clear()


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("no_such_package.tasks.add", "there is no module 'no_such_package' here"),
        (f"{HERE}.ad", f"{HERE} has no 'ad' here; did you mean 'add'?"),
    ],
)
def test_a_name_that_nothing_here_has_is_told_once(
    name: str, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A producer need not have the code of its tasks, so it is not an error."""
    app = make()
    with captured(app) as calls, caplog.at_level(logging.WARNING):
        for _ in range(3):
            app.enqueue(name, 1)
            app.async_task(name, 1)

    assert len(calls) == 6
    assert caplog.messages == [f"task {name!r} is enqueued, and {why}; its workers must have it"]


@pytest.mark.parametrize("name", [f"{HERE}.add", "xml.nothing.here", "wsgiref.util.guess_scheme"])
def test_a_name_that_may_be_there_is_not_told(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is imported to find out."""
    before = set(sys.modules)
    app = make()
    with captured(app), caplog.at_level(logging.WARNING):
        app.enqueue(name, 1)

    assert not caplog.messages
    assert "wsgiref.util" in before or "wsgiref.util" not in sys.modules


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ((add, "1"), "argument 'x' of .*add is not of its type: str is not an instance of int"),
        ((add, 1, 2, "3"), "argument 'more'"),
        ((f"{HERE}.add", 1, None), "argument 'y'"),
        ((join, ["a", 1]), "argument 'items' .* item 1"),
        ((join, ["a"], 1), "argument 'sep'"),
    ],
)
def test_an_argument_of_another_type_is_refused(call: Any, message: str) -> None:
    """Where it is enqueued, whatever the worker would do with it."""
    app = make(strict=True)
    with captured(app) as calls, pytest.raises(TypeError, match=message):
        app.enqueue(*call)
    with captured(app), pytest.raises(TypeError, match="argument 'z' of"):
        app.enqueue(f"{HERE}.add", 1, z=1)

    assert not calls


def test_values_of_the_types_are_enqueued() -> None:
    """Also where a decorator passes one of its own, or a chain passes a result on."""
    app = make(strict=True)
    with captured(app) as calls:
        app.enqueue(add, 1, 2, 3, z="a")
        app.enqueue(join, ["a"], None)
        app.enqueue(decorated, 1)
        app.enqueue("os.path.basename", "a/b")
        app.chain([(add, (1,)), (add, (2,))], pipe_result=True)
        app.group([(add, (1,))]).then((join, ()))

    assert calls


@pytest.mark.parametrize("name", ["no_such_package.tasks.add", f"{HERE}.ad", "xml.nothing.here"])
def test_a_name_that_is_not_here_is_refused(name: str) -> None:
    """The message says what is missing."""
    app = make(strict=True)
    with captured(app) as calls, pytest.raises(TaskNameError, match="no task"):
        app.enqueue(name)

    assert not calls


def test_a_task_decides_for_itself() -> None:
    """Its own option comes before the configuration."""
    strictly = make().task(strict=True)(add)
    app = make(strict=True)
    freely = app.task(strict=False)(add)

    with captured(app) as calls:
        freely.enqueue("1")  # type: ignore[arg-type]  # what passes
    with pytest.raises(TypeError, match="argument 'x'"):
        strictly.enqueue("1")  # type: ignore[arg-type]  # what is refused

    assert calls


def test_what_to_install_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing passes unchecked because a package is missing."""
    monkeypatch.setattr("qcore_names.strict._typeguard_there", lambda: False)
    with pytest.raises(NotSupported, match="typeguard, which is not installed"):
        make(strict=True).enqueue(add, 1)


def test_wrong_arguments_of_a_module_that_is_not_imported_yet_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the first call, too."""
    (tmp_path / "strict_later.py").write_text("def two(a: int) -> None: ...\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    app = make(strict=True)

    with captured(app) as calls, pytest.raises(TypeError, match="two cannot be called like this"):
        app.enqueue("strict_later.two", 1, 2, 3)

    assert not calls


def test_a_module_that_raises_when_it_is_asked_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """A producer is not kept from enqueuing by what it need not have."""
    module = ModuleType("strict_lazy")

    def asked(name: str) -> object:
        raise ImportError(name)

    module.__getattr__ = asked  # type: ignore[method-assign]  # as a module does that imports late
    monkeypatch.setitem(sys.modules, "strict_lazy", module)
    app = make()
    with captured(app) as calls:
        app.enqueue("strict_lazy.thing.function", 1)

    assert calls


def test_a_signature_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """`using` changes options, and not the function."""
    app = make()
    task = app.task(add)
    looked: list[object] = []

    def look(function: object, name: str) -> None:
        looked.append((function, name))

    monkeypatch.setattr("qcore_names.signatures.check_of", look)
    monkeypatch.setattr("qcore_names.signatures._CHECKS", {})
    with captured(app):
        for _ in range(3):
            task.using(delay=1).enqueue(1)

    assert len(looked) == 1
