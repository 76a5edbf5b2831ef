"""How messages name the commands that they suggest."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING, Final

import pytest

from qcore.cli.group import VERBS
from tests.house.tree import plugin_modules, wheel_modules

if TYPE_CHECKING:
    from collections.abc import Iterator

#: commands that plugins offer
OF_PLUGINS: Final = ("sql", "mongo", "monitor", "memory")
COMMAND: Final = re.compile(rf"\bqcore ({'|'.join([*VERBS, *OF_PLUGINS])})\b(?! of\b)")
#: whether a file may have one, in one piece or in two
MAYBE: Final = re.compile(rf"{COMMAND.pattern}|qcore ['\"]")
#: files whose commands are not for whoever reads messages, and why
EXEMPT: Final = {
    "plugins/qcore-django/src/qcore_django/management/commands/qcore.py": "it says `manage.py qcore` itself",
}


def test_messages_name_commands_as_they_are_typed() -> None:
    """On a site of Django there is no program `qcore`: `typed()` says what there is."""
    literal = [
        f"{module.place}:{line}: {text}"
        for module in wheel_modules() + plugin_modules()
        if MAYBE.search(module.text) and module.place not in EXEMPT
        for line, text in commands(module.tree)
    ]

    assert not literal, "\n".join(["write it with qcore_text.wording.typed:", *literal])


def commands(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield the lines with a literal command of qcore; a docstring and the help of an option may have it."""
    if isinstance(tree, ast.Constant):
        if isinstance(tree.value, str) and (found := COMMAND.search(tree.value)):
            yield tree.lineno, found[0]
        return
    for child in ast.iter_child_nodes(tree):
        is_docstring = isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant)
        is_help = isinstance(child, ast.keyword) and child.arg in {"help", "short_help", "epilog"}
        if not is_docstring and not is_help:
            yield from commands(child)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("say(f'{name}; qcore queue list has those there are')", [1]),
        ("x = 1\ny = ('run '\n    'qcore sql init')", [2]),
        ("def f():\n    '''To pause a schedule: qcore schedule pause.'''", []),
        ("click.option('--key', help='see qcore keys check')", []),
        ("f\"{typed('queue list')} has those there are\"", []),
        ("'a plugin of qcore runs it'", []),
    ],
)
def test_commands_are_recognised(source: str, expected: list[int]) -> None:
    """The check above sees what it is meant to see, and nothing else."""
    assert [line for line, _ in commands(ast.parse(source))] == expected
