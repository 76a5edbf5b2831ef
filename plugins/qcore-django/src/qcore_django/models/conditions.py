"""Decides whether an object in memory meets the conditions of a query."""

# ruff: noqa: ANN401 - values of fields are of any type

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from django.db import NotSupportedError, models
from django.db.models.expressions import Col
from django.db.models.sql.where import NothingNode, WhereNode
from django.utils import timezone

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from django.db.models.lookups import Lookup

_TESTS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "exact": lambda value, wanted: value == wanted,
    "iexact": lambda value, wanted: str(value).lower() == str(wanted).lower(),
    "contains": lambda value, wanted: str(wanted) in str(value),
    "icontains": lambda value, wanted: str(wanted).lower() in str(value).lower(),
    "startswith": lambda value, wanted: str(value).startswith(str(wanted)),
    "istartswith": lambda value, wanted: str(value).lower().startswith(str(wanted).lower()),
    "endswith": lambda value, wanted: str(value).endswith(str(wanted)),
    "iendswith": lambda value, wanted: str(value).lower().endswith(str(wanted).lower()),
    "regex": lambda value, wanted: re.search(wanted, str(value)) is not None,
    "iregex": lambda value, wanted: re.search(wanted, str(value), re.IGNORECASE) is not None,
    "in": lambda value, wanted: value in wanted,
    "gt": lambda value, wanted: value > wanted,
    "gte": lambda value, wanted: value >= wanted,
    "lt": lambda value, wanted: value < wanted,
    "lte": lambda value, wanted: value <= wanted,
    "range": lambda value, wanted: wanted[0] <= value <= wanted[1],
}
#: parts of a time
_PARTS: Final = frozenset({"year", "month", "day", "hour", "minute", "second"})


def matches(node: WhereNode, row: models.Model) -> bool:
    """Return whether an object meets the conditions of a query.

    Raises:
        NotSupportedError: a condition needs a database.

    """
    found = [matches(one, row) if isinstance(one, WhereNode) else _holds(one, row) for one in node.children]
    if node.connector == "OR" and found:
        holds = any(found)
    elif node.connector == "XOR" and found:
        holds = sum(found) % 2 == 1
    else:
        holds = all(found)
    return holds is not node.negated


def wanted(node: WhereNode, name: str) -> list[Any] | None:
    """Return the values that a field must have one of, None if the query leaves that open."""
    if node.negated or node.connector != "AND":
        return None
    for one in node.children:
        if isinstance(one, WhereNode):
            found = wanted(one, name)
            if found is not None:
                return found
        elif isinstance(getattr(one, "lhs", None), Col) and one.lhs.target.attname == name:
            if one.lookup_name == "exact":
                return [one.rhs]
            if one.lookup_name == "in" and not hasattr(one.rhs, "resolve_expression"):
                return list(one.rhs)
    return None


def _holds(lookup: Lookup | NothingNode, row: models.Model) -> bool:
    if isinstance(lookup, NothingNode):
        return False
    value, right = _value(lookup.lhs, row), lookup.rhs
    if lookup.lookup_name == "isnull":
        return (value is None) is bool(right)
    test = _TESTS.get(lookup.lookup_name)
    if test is None or hasattr(right, "resolve_expression"):
        raise NotSupportedError(
            f"{row._meta.label}: the lookup {lookup.lookup_name!r} needs a table; filter in Python instead"
        )
    return value is not None and test(value, right)


def _value(left: Any, row: models.Model) -> Any:
    """Return the value of a field, or a part of it."""
    if isinstance(left, Col):
        return getattr(row, left.target.attname)
    part = getattr(left, "lookup_name", type(left).__name__)
    value = _value(left.lhs, row) if part in _PARTS | {"date"} else None
    if not isinstance(value, datetime):
        raise NotSupportedError(
            f"{row._meta.label}: the expression {part!r} needs a table; filter in Python instead"
        )
    here = timezone.localtime(value) if timezone.is_aware(value) else value
    return here.date() if part == "date" else getattr(here, part)
