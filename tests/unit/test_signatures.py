"""Arguments that a function does not take are refused where it is enqueued."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcore import App, Chain, Config
from qcore.tasks.call import Options
from qcore.tasks.option_types import TaskOptions
from qcore.testing import captured
from qcore_names.signatures import check_of

if TYPE_CHECKING:
    from collections.abc import Callable

app = App(Config.from_dict({"name": "signatures", "secret_key": "k" * 32}))


@app.task
def add(x: int, y: int = 2, *, z: int = 3) -> int:
    """Add."""
    return x + y + z


def plain(x: int) -> int:
    """Is not declared."""
    return x


def adding_a_session(function: Callable[..., Any]) -> Callable[..., Any]:
    """Pass an argument of its own."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function("session", *args, **kwargs)

    return wrapper


@app.task
@adding_a_session
def decorated(session: str, x: int) -> str:
    """Is called without its first argument."""
    return f"{session} {x}"


@app.task
async def waits(x: int) -> int:
    """Be a coroutine function."""
    return x


WRONG: list[tuple[Any, str]] = [
    (add.enqueue, "add cannot be called like this: missing a required argument: 'x'"),
    (lambda: add.enqueue(1, 2, 3), r"too many positional arguments; it takes \(x, y=..., \*, z=...\)"),  # type: ignore[call-arg]  # what is refused
    (lambda: add.enqueue(1, w=2), "unexpected keyword argument 'w'"),  # type: ignore[call-arg]  # what is refused
    (lambda: add.enqueue(1, x=2), "multiple values for argument 'x'"),  # type: ignore[misc]  # what is refused
    (waits.enqueue, "waits cannot be called"),
    (lambda: app.enqueue(add), "add cannot be called"),  # type: ignore[call-overload]  # what is refused
    (lambda: app.enqueue(plain, 1, 2), "plain cannot be called"),  # type: ignore[call-overload]  # what is refused
    (lambda: app.enqueue(f"{__name__}.plain", 1, 2), "plain cannot be called"),
    (lambda: app.enqueue(f"{__name__}.add", y=2), "add cannot be called"),
    (lambda: app.enqueue_many([add.bind(1), add.bind()]), "add cannot be called"),  # type: ignore[call-arg]  # what is refused
    (lambda: app.chain([add.bind(1), add.bind()]), "add cannot be called"),  # type: ignore[call-arg]  # what is refused
    (lambda: app.chain([add.bind(1), (plain, (1,))], pipe_result=True), "plain cannot be called"),
    (lambda: app.group([add.bind(1), Chain([add.bind()])]).enqueue(), "add cannot be called"),  # type: ignore[call-arg]  # what is refused
    (lambda: app.group([add.bind(1)]).then((plain, (1,))), "plain cannot be called"),
]


@pytest.mark.parametrize(("enqueue", "message"), WRONG)
def test_wrong_arguments_are_refused_at_the_call(enqueue: Callable[[], object], message: str) -> None:
    """Nothing is enqueued, not even what stands beside it."""
    with captured(app) as calls, pytest.raises(TypeError, match=message):
        enqueue()

    assert not list(calls)


def test_a_call_of_django_q_is_a_failed_task() -> None:
    """Nothing is checked where it is enqueued, as there."""
    with captured(app) as calls:
        app.async_task(plain, 1, 2, 3)

    assert calls


def test_what_a_function_takes_is_enqueued() -> None:
    """A result that is passed on counts, and what a decorator passes does not."""
    with captured(app) as calls:
        add.enqueue(1)
        add.enqueue(x=1, z=5)
        decorated.enqueue(1)
        app.enqueue("nowhere.here", 1, 2, a=3)
        app.chain([add.bind(1), (plain, ()), add.bind(2)], pipe_result=True)
        app.group([add.bind(1)]).then((plain, ()))

    assert calls


async def takes_all(*args: int, **kwargs: int) -> None:
    """Take everything."""


def functions() -> list[Callable[..., Any]]:
    """Return functions of every kind of parameter."""

    def nothing() -> None: ...
    def positional(a: int, /, b: int, c: int = 1) -> None: ...
    def named(a: int, *, b: int, c: int = 1) -> None: ...
    def rest(a: int, *args: int, b: int = 1) -> None: ...
    def others(a: int, b: int = 1, **kwargs: int) -> None: ...

    return [nothing, positional, named, rest, others, takes_all, adding_a_session(named)]


@given(
    function=st.sampled_from(functions()),
    count=st.integers(0, 4),
    names=st.sets(st.sampled_from("abcd")),
    passed=st.integers(0, 2),
)
def test_the_answer_is_that_of_python(
    function: Callable[..., Any], count: int, names: set[str], passed: int
) -> None:
    """Whatever is given, it is accepted exactly if the function can be called with it."""
    args, kwargs = tuple(range(count)), dict.fromkeys(names, 1)
    check = check_of(function, "f")

    try:
        inspect.signature(function, follow_wrapped=False).bind(*range(passed), *args, **kwargs)
    except TypeError:
        assert check
        with pytest.raises(TypeError):
            check(args, kwargs, passed)
    else:
        assert check is None or check(args, kwargs, passed) is None


def test_nothing_is_known_of_what_has_no_signature() -> None:
    """Some builtins, and wrappers of anything."""
    assert check_of(dict, "dict") is None
    assert check_of(takes_all, "all") is None


def test_the_options_that_type_checkers_know_are_those_there_are() -> None:
    """Each field is a keyword argument of `task` and `using`."""
    assert set(TaskOptions.__annotations__) == {field.name for field in attrs.fields(Options)}
