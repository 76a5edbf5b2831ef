"""Long tests come first in each process of a session."""

from __future__ import annotations

import pytest

from tests.session import in_shares

pytestmark = pytest.mark.portable


@pytest.mark.parametrize(
    ("early", "others", "processes", "expected"),
    [
        ("", "abc", 1, "abc"),
        ("XY", "abc", 1, "XYabc"),
        ("XYZ", "abcdefg", 3, "XabYcdZefg"),
        ("VWXYZ", "ab", 2, "VXZWYab"),
        ("XYZ", "", 4, "XYZ"),
    ],
)
def test_each_process_begins_with_some_of_them(
    early: str, others: str, processes: int, expected: str
) -> None:
    """The rest keeps its order, and none is lost."""
    assert "".join(in_shares(early, others, processes)) == expected
