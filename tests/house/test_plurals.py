"""One is one: a number in a text is followed by a noun that agrees with it."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING, Final

import pytest

from tests.house.tree import plugin_modules, wheel_modules

if TYPE_CHECKING:
    from collections.abc import Iterator

_NOUNS: Final = "second|minute|day|task|message|worker|cluster|character|result|schedule|attempt|crash(?=e)"
#: what follows a number in an f-string
FOLLOWS: Final = re.compile(rf" (?:{_NOUNS})e?s\b")
#: the same in a text that is filled later
FILLED: Final = re.compile(rf"%(?:d|g|s|\.\d[fg]) (?:{_NOUNS})e?s\b")


def unnumbered(tree: ast.AST) -> Iterator[int]:
    """Yield the lines of texts in which a number that may be one stands before a plural."""
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            for value, text in zip(node.values, node.values[1:], strict=False):
                if (
                    isinstance(value, ast.FormattedValue)
                    and isinstance(text, ast.Constant)
                    and FOLLOWS.match(str(text.value))
                    and not _is_constant(value.value)
                ):
                    yield node.lineno
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and FILLED.search(node.value):
            yield node.lineno


def _is_constant(value: ast.expr) -> bool:
    """Whether a value is named as a constant, whose number is known to whoever writes the text."""
    name = value.attr if isinstance(value, ast.Attribute) else getattr(value, "id", "")
    if isinstance(value, ast.BinOp):
        return _is_constant(value.left)
    return bool(name) and name.isupper()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('f"after {wait:g} seconds"', True),
        ('f"{len(found)} tasks removed"', True),
        ('log("%g seconds are left", seconds)', True),
        ('f"at most {_LONGEST} seconds"', False),
        ("f\"after {counted(wait, 'second')}\"", False),
        ('f"{size} seconded"', False),
        ('log("%d secondary", seconds)', False),
    ],
)
def test_a_number_before_a_plural_is_recognised(text: str, found: bool) -> None:
    """The test finds what it is meant to find, and nothing else."""
    assert found is any(unnumbered(ast.parse(text)))


def test_numbers_agree_with_their_nouns() -> None:
    """`wording.counted` writes `1 task` and `2 tasks`; nothing else writes a number and a noun."""
    found = [
        f"{module.place}:{line}"
        for module in (*wheel_modules(), *plugin_modules())
        if "qcore_testing" not in module.name
        for line in unnumbered(module.tree)
    ]

    assert not found
