"""Text from strangers does nothing to a terminal."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcore.cli.text import plain, seconds, shown
from qcore_text.sanitize import clean, line

pytestmark = pytest.mark.portable


@pytest.mark.parametrize(
    ("hostile", "expected"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07after", "after"),
        ("\x1b]52;c;c3RvbGVu\x1b\\after", "after"),
        ("\x1b]8;;https://example.org\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x9b2Jgone", "gone"),
        ("\x9d0;title\x9cafter", "after"),
        ("\x1bPquery\x1b\\after", "after"),
        ("\x1bcreset", "reset"),
        ("\x1b]0;never ended", ""),
        ("left\u202eright\u202c\u2066in\u2069", "leftrightin"),
        ("bell\x07back\x08return\rnul\0del\x7f", "bellbackreturnnuldel"),
        ("para\u2029line\u2028zero\u200bbom\ufeff", "paralinezerobom"),
        ("\ud800lone", "lone"),
        ("tags\U000e0041\U000e007f", "tags"),
        ("two\n\tlines", "two\n\tlines"),
        ("Grüße, 日本, 👩\u200d🚀", "Grüße, 日本, 👩\u200d🚀"),
    ],
)
def test_what_a_terminal_would_obey_is_left_out(hostile: str, expected: str) -> None:
    """Escape sequences go whole, single characters of control or direction by themselves."""
    assert clean(hostile) == expected


@given(st.text())
def test_no_text_leaves_a_control_character(text: str) -> None:
    """Whatever comes in, a line holds only what can be seen."""
    told = line(text)

    kinds = {unicodedata.category(char) for char in told if char not in "\u200c\u200d"}
    assert kinds.isdisjoint({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})
    assert len(told.splitlines()) <= 1


@given(st.text())
def test_cleaning_twice_changes_nothing(text: str) -> None:
    """What is left after cleaning does not join into something new."""
    assert clean(clean(text)) == clean(text)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("as it is", "as it is"),
        (None, "null"),
        ([1, 2.5, True], "[1, 2.5, true]"),
        ({"ü": "\x1b[1m"}, '{"ü": "\\u001b[1m"}'),
        (b"bytes", "b'bytes'"),
        (float("nan"), "nan"),
        (
            {
                1,
            },
            "{1}",
        ),
    ],
)
def test_values_are_shown_as_text_or_json_or_repr(value: object, expected: str) -> None:
    """Text stands for itself; what JSON cannot hold is shown as Python writes it."""
    assert shown(value) == expected


def test_what_json_cannot_hold_becomes_its_repr() -> None:
    """A program that reads --json always gets JSON."""
    deep: list[object] = []
    deep.append(deep)

    told = [plain(value) for value in (b"x", float("inf"), {(1, 2): 3}, deep, {"a": [1]})]

    assert told == ["b'x'", "inf", "{(1, 2): 3}", "[[...]]", {"a": [1]}]
    assert json.loads(json.dumps(told)) == told


@pytest.mark.parametrize(
    ("span", "expected"),
    [
        (0.04, "0.0 s"),
        (-3, "0.0 s"),
        (9.94, "9.9 s"),
        (61, "61 s"),
        (150, "2 min"),
        (9000, "2 h"),
        (1e6, "12 d"),
    ],
)
def test_spans_of_time_are_short(span: float, expected: str) -> None:
    """One number and one unit."""
    assert seconds(span) == expected
