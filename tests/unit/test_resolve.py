"""A name leads to the function that bears it, and to nothing that is not allowed."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import json
import sys
import textwrap
import uuid
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import attrs
import pytest

from qcore.errors import ImportedMainReached, TaskNameError, TaskNotAllowed, TaskNotFound
from qcore_names.resolve import IMPORTING_MAIN, Script, ScriptFinder, name_of, resolve
from qcore_values.annotations import convert_arguments

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

ALLOWED: Final = ("chosen_*.tasks.*",)


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], str]]:
    """Return a function that writes a module which can be imported while the test lasts."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)

    def make(name: str, text: str) -> str:
        path = tmp_path.joinpath(*name.split(".")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return name

    yield make
    for name in set(sys.modules) - before:
        if name.startswith(("chosen_", "other_", "script_")):
            del sys.modules[name]


# -- by name ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("math.copysign", "copysign"),
        ("os.path.join", "join"),
        ("collections.OrderedDict.fromkeys", "fromkeys"),
        ("email.mime.text.MIMEText", "MIMEText"),
        ("builtins.len", "len"),
    ],
)
def test_any_importable_callable_is_found(name: str, what: str) -> None:
    """Without tasks_allowed a dotted name is all that is needed."""
    assert what == resolve(name, None).__name__


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("no_such_module_at_all.f", "no module 'no_such_module_at_all' on this worker's path"),
        ("math.no_such_function", "math has no 'no_such_function'"),
        ("math.copysing", "math has no 'copysing'; did you mean 'copysign'?"),
        ("os.path.no.such", "os.path has no 'no'"),
        ("math.pi", "it is a float and cannot be called"),
        ("os.path", "it is a module and cannot be called"),
        ("math", "'math' is not the name of a task"),
        ("", "'' is not the name of a task"),
        (".", "'.' is not the name of a task"),
        ("math..copysign", "'math..copysign' is not the name of a task"),
        (".math.copysign", "is not the name of a task"),
        ("math.copysign.", "is not the name of a task"),
        ("a." * 5000 + "f", "is not the name of a task"),
        ("m\0.f", "no task 'm\\x00.f'"),
        ("/etc/passwd.f", "no module '/etc/passwd'"),
        ("ｍath.copysign", "no module 'ｍath'"),  # noqa: RUF001 - a wide letter is the test
        ("mаth.copysign", "no module 'mаth'"),  # noqa: RUF001 - a Cyrillic letter is the test
        ("\ud800.f", "no task"),
    ],
)
def test_a_name_that_leads_nowhere_is_told_with_the_reason(name: str, says: str) -> None:
    """Every bad name gives one error of ours, and none is imported half."""
    with pytest.raises(TaskNotFound) as raised:
        resolve(name, None)

    assert says in str(raised.value)
    assert len(str(raised.value)) < 1000


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("1 / 0", "failed with ZeroDivisionError: division by zero"),
        ("import no_such_module_at_all", "failed with ModuleNotFoundError: No module named"),
        ("def f(:", "failed with SyntaxError"),
    ],
)
def test_a_module_that_cannot_be_imported_is_told_with_its_error(
    module: Callable[[str, str], str], text: str, says: str
) -> None:
    """A fault inside the module is not taken for the module's absence."""
    name = module("chosen_broken", text)

    with pytest.raises(TaskNotFound, match=f"importing 'chosen_broken' {says}"):
        resolve(f"{name}.f", None)


def test_a_module_whose_attributes_raise_is_no_worse(module: Callable[[str, str], str]) -> None:
    """A module's own __getattr__ is a user's code."""
    name = module("chosen_moody", "def __getattr__(name): raise RuntimeError(name)")

    with pytest.raises(TaskNotFound, match="RuntimeError"):
        resolve(f"{name}.f", None)


def test_a_script_does_not_hide_the_module_it_is_named_like(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was imported before the script is still found, and what the script has is its own."""
    script = type(sys)("__main__")
    vars(script).update(__file__="json.py", __spec__=None, mine=len)
    monkeypatch.setitem(sys.modules, "__main__", script)

    assert resolve("json.dumps", None) is json.dumps
    assert resolve("json.mine", None) is len


# -- what is allowed --------------------------------------------------------------------------


@pytest.fixture
def tasks(module: Callable[[str, str], str]) -> str:
    """Return the name of a module with tasks and with things it merely imported."""
    return module(
        "chosen_app.tasks",
        """
        import functools, os, subprocess
        from json import dumps
        def run(): return "ran"
        class Mailer:
            def send(self): return "sent"
            @classmethod
            def hello(cls): return "hello"
        mailer = Mailer()
        alias = run
        short = lambda: 1
        @functools.wraps(run)
        def wrapped(): return 2
        """,
    )


@pytest.mark.parametrize("what", ["run", "Mailer", "Mailer.hello"])
def test_what_an_allowed_module_defines_is_found(tasks: str, what: str) -> None:
    """A function, a class or a method under the name it bears."""
    assert what == resolve(f"{tasks}.{what}", ALLOWED).__qualname__


@pytest.mark.parametrize(
    "what",
    [
        "subprocess.run",
        "os.system",
        "functools.reduce",
        "dumps",
        "alias",
        "short",
        "mailer.send",
        "wrapped",
        "run.__call__",
        "run.__class__",
        "run.__globals__.clear",
        "run.__builtins__.get",
        "__builtins__.get",
        "__loader__.get_data",
        "__spec__.loader.get_data",
        "Mailer.__subclasses__",
        "Mailer.__init__",
        "Mailer.mro",
        "Mailer.__class__",
        "mailer.__class__",
    ],
)
def test_what_an_allowed_module_only_holds_is_refused(tasks: str, what: str) -> None:
    """The object found must itself bear the name: an import is not permission."""
    with pytest.raises(TaskNotFound):
        resolve(f"{tasks}.{what}", ALLOWED)


@pytest.mark.parametrize(
    "name",
    [
        "other_app.tasks.run",
        "chosen_app.run",
        "chosen_app.task.run",
        "Chosen_app.tasks.run",
        "chosen_app.tasks",
        "builtins.eval",
        "os.system",
        " chosen_app.tasks.run",
        "сhosen_app.tasks.run",  # noqa: RUF001 - a Cyrillic letter is the test
        "chosen_app.tаsks.run",  # noqa: RUF001 - as above
        "x" * 10_000,
        "other." * 2_000 + "f",
    ],
)
def test_a_name_that_is_not_allowed_imports_nothing(
    module: Callable[[str, str], str], tasks: str, name: str, tmp_path: Path
) -> None:
    """The pattern is looked at first; a module outside of it never runs a line."""
    trap = tmp_path / "sprung"
    module("other_app.tasks", f"open({str(trap)!r}, 'w').close()")
    before = set(sys.modules)

    with pytest.raises(TaskNotAllowed) as raised:
        resolve(name, ALLOWED)

    assert not trap.exists()
    assert before == set(sys.modules)
    assert len(str(raised.value)) < 1000


def test_a_function_added_after_the_import_is_told_with_the_time(
    module: Callable[[str, str], str],
) -> None:
    """The likely cause of a missing function is a worker that was not restarted."""
    name = module("chosen_old", "def first(): ...")
    resolve(f"{name}.first", None)
    module(name, "def first(): ...\ndef second(): ...")

    with pytest.raises(TaskNotFound, match=r"chosen_old.py was changed at \d\d:\d\d:\d\d, .*: restart the"):
        resolve(f"{name}.second", None)
    with pytest.raises(TaskNotFound, match=r"^no task 'math.nothing': math has no 'nothing'$"):
        resolve("math.nothing", None)


# -- the name of an object --------------------------------------------------------------------


class Tools:
    """Something with a method."""

    @staticmethod
    def use() -> None:
        """Do nothing."""


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (resolve, "qcore_names.resolve.resolve"),
        (Tools.use, f"{__name__}.Tools.use"),
        ("any.dotted.name", "any.dotted.name"),
    ],
)
def test_an_object_is_named_as_a_worker_finds_it(function: Any, name: str) -> None:
    """Module and qualified name, or what was written."""
    assert name == name_of(function)


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda: 1, "is defined inside another function or is a lambda"),
        (5, "is not a function that a worker can import"),
        (Tools(), "is not a function that a worker can import"),
        ("", "'' is not the name of a task"),
        ("plain", "'plain' is not the name of a task"),
        ("a." * 300 + "f", "is not the name of a task"),
        ("1.5", "'1.5' is not the name of a task"),
        ("-1.5", "'-1.5' is not the name of a task"),
        ("tasks.add ", "'tasks.add ' is not the name of a task"),
        ("tasks..add", "'tasks..add' is not the name of a task"),
    ],
)
def test_what_no_worker_could_find_is_refused_with_advice(function: Any, says: str) -> None:
    """The error comes when the task is declared, not in a worker at night."""
    with pytest.raises(TaskNameError, match=says):
        name_of(function)


def test_a_function_inside_a_function_is_refused() -> None:
    """A closure cannot be imported."""

    def inner() -> None:
        """Do nothing."""

    with pytest.raises(TaskNameError, match="define it at the top level of a module"):
        name_of(inner)


@pytest.fixture
def main(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Return a function that pretends that the program is another one."""

    def pretend(**fields: object) -> Any:
        module = type(sys)("__main__")
        vars(module).update(fields)
        monkeypatch.setitem(sys.modules, "__main__", module)

        def task() -> None:
            """Do nothing."""

        task.__module__, task.__qualname__ = "__main__", "task"
        return task

    return pretend


@pytest.mark.parametrize(
    ("path", "name"),
    [("jobs.py", "jobs.task"), ("/srv/app/jobs.py", "jobs.task"), ("dir.d/my_jobs.py", "my_jobs.task")],
)
def test_a_task_of_the_program_itself_is_named_after_its_file(
    main: Callable[..., Any], path: str, name: str
) -> None:
    """A worker imports `python jobs.py` as the module `jobs`."""
    assert name == name_of(main(__file__=path, __spec__=None))


def test_a_task_of_a_module_run_with_m_bears_the_modules_name(main: Callable[..., Any]) -> None:
    """`python -m app.jobs` is imported as `app.jobs`."""
    spec = type("Spec", (), {"name": "app.jobs"})()

    assert name_of(main(__file__="/srv/app/jobs.py", __spec__=spec)) == "app.jobs.task"


@pytest.mark.parametrize(
    "fields", [{}, {"__file__": "notebook"}, {"__file__": "jobs.txt"}, {"__file__": "my.jobs.py"}]
)
def test_a_task_of_an_interactive_session_is_refused(
    main: Callable[..., Any], fields: dict[str, object]
) -> None:
    """No worker could import it, and the error says where to put it."""
    with pytest.raises(TaskNameError, match="move it to a module and import it from there"):
        name_of(main(**fields))


# -- the user's script ------------------------------------------------------------------------


@pytest.fixture
def script(
    module: Callable[[str, str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], None]:
    """Return a function that makes `script_x` the program whose tasks are wanted."""

    def make(text: str) -> None:
        name = module("script_x", text)
        finder = ScriptFinder(Script(name=name, path=str(tmp_path / "script_x.py")))
        monkeypatch.setattr(sys, "meta_path", [finder, *sys.meta_path])

    return make


def test_a_script_is_imported_up_to_the_line_that_would_work(script: Callable[[str], None]) -> None:
    """What stands above is defined; what stands below is never done."""
    script(
        """
        from qcore.errors import ImportedMainReached
        def above(): return __name__
        raise ImportedMainReached
        def below(): pass
        """
    )

    assert resolve("script_x.above", None)() == "script_x"
    with pytest.raises(TaskNotFound, match="imported that script only up to the line"):
        resolve("script_x.below", None)


def test_a_script_whose_work_is_guarded_is_imported_whole(script: Callable[[str], None]) -> None:
    """Under its own name it is not the main program."""
    script("def task(): pass\nif __name__ == '__main__': raise SystemExit\ndef last(): return 2\n")

    assert resolve("script_x.last", ("script_x.*",))() == 2


def test_only_the_import_of_the_script_counts_as_one(script: Callable[[str], None]) -> None:
    """A program that imports the script's tasks later may enqueue them."""
    script(
        "from qcore_names.resolve import IMPORTING_MAIN\nseen = IMPORTING_MAIN.get()\ndef f(): return seen\n"
    )

    assert (True, False) == (resolve("script_x.f", None)(), IMPORTING_MAIN.get())


def test_main_reached_is_not_caught_by_a_users_except() -> None:
    """`except Exception` around an enqueue in a script does not let the import go on."""
    assert not issubclass(ImportedMainReached, Exception)


# -- arguments to the annotated types ---------------------------------------------------------


class Colour(enum.Enum):
    """A plain enum."""

    RED = "red"


@attrs.frozen
class Point:
    """An attrs class."""

    x: int
    colour: Colour = Colour.RED


@dataclasses.dataclass
class Order:
    """A dataclass with what serializers bring along by themselves."""

    id: uuid.UUID
    when: dt.datetime
    price: Decimal
    points: list[Point]
    note: str | None = None


def plain_one(a: int, b: str = "", *rest: float) -> None:
    """Take what comes."""


def rich_one(
    point: Point, colours: list[Colour], by_name: dict[str, Point], maybe: Point | None = None
) -> Any:
    """Return what was given."""
    return point, colours, by_name, maybe


def loose_one(first: int, *points: Point, mode: Colour, **colours: Colour) -> None:
    """Take any number."""


def dated_one(order: Order) -> None:
    """Take an order."""


def convert(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Return the arguments turned into the function's types."""
    turn = convert_arguments(function)
    assert turn is not None
    return turn(args, kwargs)


@pytest.mark.parametrize("function", [plain_one, len, lambda x: x, print, dict])
def test_a_function_of_plain_types_costs_nothing(function: Callable[..., Any]) -> None:
    """There is nothing to turn, and no converter is made."""
    assert convert_arguments(function) is None


def test_plain_values_become_the_annotated_types() -> None:
    """Classes, enums and containers of them, by position and by name."""
    args, kwargs = convert(
        rich_one, {"x": 1}, ["red", "red"], by_name={"a": {"x": 2, "colour": "red"}}, maybe=None
    )

    assert [Point(1), [Colour.RED, Colour.RED]] == list(args)
    assert {"by_name": {"a": Point(2)}, "maybe": None} == kwargs


def test_what_is_already_of_its_type_stays_the_same_object() -> None:
    """An inline run hands objects over as they are."""
    point = Point(1)

    assert convert(rich_one, point)[0][0] is point


def test_any_number_of_arguments_are_turned_by_their_own_annotation() -> None:
    """Those behind a star belong to it, those by name to theirs or to the double star."""
    args, kwargs = convert(loose_one, 1, {"x": 2}, {"x": 3}, mode="red", left="red")

    assert [1, Point(2), Point(3)] == list(args)
    assert {"mode": Colour.RED, "left": Colour.RED} == kwargs


def test_a_class_may_hold_what_the_serializer_brings_along() -> None:
    """Dates, ids and decimals need no converter of their own."""
    id_, when, price = uuid.uuid4(), dt.datetime.now(dt.UTC), Decimal("1.10")

    args, _ = convert(dated_one, {"id": id_, "when": when, "price": price, "points": [{"x": 1}]})

    assert [Order(id_, when, price, [Point(1)])] == list(args)


def test_surplus_arguments_are_left_for_python_to_complain_of() -> None:
    """The error is then the one a plain call gives."""
    args, kwargs = convert(dated_one, other=1)
    assert ([], {"other": 1}) == (list(args), kwargs)
    args, _ = convert(rich_one, {"x": 1}, [], {}, None, "surplus")
    assert args[-1] == "surplus"


@pytest.mark.parametrize("value", [{}, {"x": "no number"}, 5, "text", None, {"x": 1, "colour": "blue"}])
def test_a_value_that_does_not_fit_raises(value: object) -> None:
    """The task fails before it begins, and its failure says why."""
    with pytest.raises(Exception, match=r".+"):
        convert(rich_one, value)
