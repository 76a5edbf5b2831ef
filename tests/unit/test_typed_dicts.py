"""A TypedDict is rebuilt from its data, and one that cannot be read is left alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict

import attrs
import pytest

from qcore_values.annotations import convert_arguments, declared_data, restored

if TYPE_CHECKING:
    from nowhere import Missing  # type: ignore[import-not-found]  # what cannot be resolved


@attrs.define
class Point:
    """A class with fields."""

    x: int


class Node(TypedDict):
    """Contains itself."""

    value: int
    kids: list[Node]


class Tree(TypedDict):
    """Contains itself, and a class with fields."""

    point: Point
    kids: list[Tree]


class Broken(TypedDict):
    """Has an annotation that leads nowhere."""

    value: Missing


def plain(node: Node) -> Node:
    """Take a dict that contains itself."""
    return node


def of_points(tree: Tree) -> Tree:
    """Take one whose values are rebuilt."""
    return tree


def broken(value: Broken) -> Broken:
    """Take one that cannot be read."""
    return value


@pytest.mark.parametrize("function", [plain, broken])
def test_a_dict_without_anything_to_rebuild_is_left_alone(function: Any) -> None:
    """Whatever it contains: it arrives as it was sent."""
    value = {"value": 1, "kids": [{"value": 2, "kids": []}]}

    assert convert_arguments(function) is None
    assert list(declared_data(function, (value,), {})[0]) == [value]
    assert restored(function, value) == value


def test_a_dict_that_contains_itself_is_rebuilt() -> None:
    """At any depth."""
    convert = convert_arguments(of_points)
    assert convert
    data = {"point": {"x": 1}, "kids": [{"point": {"x": 2}, "kids": []}]}

    (tree,), _ = convert((data,), {})

    assert tree == {"point": Point(1), "kids": [{"point": Point(2), "kids": []}]}
