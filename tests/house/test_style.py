"""What a file of the house looks like."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests.house.tree import Module, called, plugin_modules, test_modules, wheel_modules

if TYPE_CHECKING:
    from collections.abc import Iterator

#: a drawn map of the tree shows this line beside the file
SUMMARY_WORDS: Final = 12
#: the aim is 300; a file is not torn apart for the last few
FILE_LINES: Final = 320
#: files that may be longer, and why
LONG_FILES: Final = {
    "core/src/qcore/interfaces.py": "the interfaces in one file; most of it is their obligations",
}
#: a function longer than a screen speaks of more than one thing
FUNCTION_LINES: Final = 60

MUTABLE_CALLS: Final = frozenset(
    {"list", "dict", "set", "bytearray", "defaultdict", "OrderedDict", "deque", "Counter"}
)
DIRECTIVE: Final = re.compile(
    r"#\s*(noqa(:\s*[A-Z]+\d+(,\s*[A-Z]+\d+)*)?"
    r"|(type|pyright):\s*ignore(\[[\w\-, ]*\])?"
    r"|pragma:\s*no (cover|branch))"
)
#: not written as words, so that this file does not find itself
UNFINISHED: Final = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X|NotImplemented" + r"Error)\b")


def sources() -> tuple[Module, ...]:
    """Return what is shipped: core and the plugins' packages."""
    return wheel_modules() + plugin_modules()


def test_the_first_line_says_what_the_file_decides() -> None:
    """Each module begins with a docstring whose first line has at most twelve words."""
    wordy = []
    for module in sources():
        summary = (ast.get_docstring(module.tree) or "").partition("\n")[0]
        if not summary or len(re.findall(r"\w[^\s]*", summary)) > SUMMARY_WORDS:
            wordy.append(f"{module.place}: {summary or 'no docstring'}")

    assert not wordy, "\n".join(["", *wordy])


def test_files_are_short() -> None:
    """No source file is much longer than 300 lines."""
    long = [
        f"{module.place}: {lines} lines"
        for module in sources()
        if (lines := module.text.count("\n")) > FILE_LINES and module.place not in LONG_FILES
    ]

    assert not long, "\n".join(["", *long])


def test_functions_are_short() -> None:
    """No function is longer than a screen."""
    long = [
        f"{module.place}:{node.lineno} {node.name}"
        for module in sources()
        for node in module.nodes
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and (node.end_lineno or 0) - node.lineno > FUNCTION_LINES
    ]

    assert not long, "\n".join(["", *long])


def test_no_module_holds_state() -> None:
    """A module-level container is Final, or a tuple, frozenset or MappingProxyType; no `global`."""
    stateful = [f"{module.place}:{line}" for module in sources() for line in mutable_globals(module)]

    assert not stateful, "\n".join(["", *stateful])


def mutable_globals(module: Module) -> Iterator[int]:
    """Yield the lines that make a module hold state."""
    for node in module.nodes:
        if isinstance(node, ast.Global):
            yield node.lineno
    for statement in module.tree.body:
        if isinstance(statement, ast.Assign):
            names = [ast.unparse(target) for target in statement.targets]
            if names != ["__all__"] and is_mutable(statement.value):
                yield statement.lineno
        elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
            final = re.search(r"\bFinal\b", ast.unparse(statement.annotation))
            if not final and is_mutable(statement.value):
                yield statement.lineno


def is_mutable(value: ast.expr) -> bool:
    """Whether an expression makes a list, dict, set or the like."""
    if isinstance(value, ast.Call):
        return ast.unparse(value.func).rpartition(".")[2] in MUTABLE_CALLS
    return isinstance(value, (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp))


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("x = []", [1]),
        ("x: dict[str, int] = {}", [1]),
        ("x = defaultdict(list)", [1]),
        ("def f() -> None:\n    global x", [2]),
        ("x: Final = {}", []),
        ("X = MappingProxyType({})", []),
        ("__all__ = ['x']", []),
        ("def f() -> None:\n    x = []", []),
    ],
)
def test_state_is_recognised(source: str, expected: list[int]) -> None:
    """The check above sees what it is meant to see, and nothing else."""
    module = Module(Path("given.py"), "given", source)

    assert list(mutable_globals(module)) == expected


def test_no_error_is_swallowed_whole() -> None:
    """Nobody catches everything and does nothing."""
    swallowed = [f"{module.place}:{line}" for module in sources() for line in swallowers(module)]

    assert not swallowed, "\n".join(["", *swallowed])


def swallowers(module: Module) -> Iterator[int]:
    """Yield the lines that catch everything in silence."""
    broad = {"", "Exception", "BaseException"}
    for node in module.nodes:
        if isinstance(node, ast.ExceptHandler):
            caught = ast.unparse(node.type) if node.type else ""
            if caught in broad and all(is_nothing(statement) for statement in node.body):
                yield node.lineno
        elif isinstance(node, ast.Call) and called(node).endswith("suppress"):
            if broad & {ast.unparse(argument) for argument in node.args}:
                yield node.lineno


def is_nothing(statement: ast.stmt) -> bool:
    """Whether a statement is `pass`, `...` or a string."""
    return isinstance(statement, (ast.Pass, ast.Continue)) or (
        isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    )


def test_no_attribute_is_computed_under_a_lock() -> None:
    """`functools.cached_property` of Python 3.11 has one; a process forked meanwhile would wait for ever.

    `qcore.lazy.cached` has none. A command has one thread, and may use either.
    """
    locked = [
        f"{module.place}:{node.lineno}"
        for module in [*wheel_modules(), *plugin_modules()]
        for node in module.nodes
        if isinstance(node, ast.ImportFrom) and node.module == "functools"
        if any(name.name == "cached_property" for name in node.names) and "/cli/" not in module.place
    ]

    assert not locked, "\n".join(["", *locked])


def test_nothing_is_left_unfinished() -> None:
    """No word in shipped code promises to come back later."""
    unfinished = [
        f"{module.place}:{number}"
        for module in sources()
        for number, line in enumerate(module.text.splitlines(), 1)
        if UNFINISHED.search(line)
    ]

    assert not unfinished, "\n".join(["", *unfinished])


def test_an_exception_to_a_rule_carries_its_reason() -> None:
    """A `noqa`, `type: ignore` or `pragma` says on its own line why."""
    bare = [
        f"{module.place}:{line} {comment}"
        for module in [*sources(), *test_modules()]
        for line, comment in directives(module.text)
        if not has_reason(comment)
    ]

    assert not bare, "\n".join(["", *bare])


def directives(text: str) -> Iterator[tuple[int, str]]:
    """Yield the comments that switch a checker off."""
    lines = text.splitlines()
    # tokens are read only where a line may have such a comment without its reason
    if all(has_reason(line[found.start() :]) for line in lines if (found := DIRECTIVE.search(line))):
        return
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT and DIRECTIVE.search(token.string):
            yield token.start[0], token.string


def has_reason(comment: str) -> bool:
    """Whether something is left to read once the directives are taken out."""
    return re.search(r"[a-z]{3,}", DIRECTIVE.sub("", comment), re.IGNORECASE) is not None


@pytest.mark.parametrize(
    ("comment", "expected"),
    [
        ("# no" + "qa: S301", False),
        ("# no" + "qa: S301, S403 - decoded only where accepted", True),
        ("# type" + ": ignore[empty-body]  # as above", True),
        ("# type" + ": ignore[empty-body]", False),
        ("# pragma" + ": no cover", False),
        ("# pragma" + ": no cover - only on Linux", True),
    ],
)
def test_a_reason_is_recognised(comment: str, *, expected: bool) -> None:
    """The check above tells a directive from what is said of it."""
    assert has_reason(comment) is expected
