"""How one test of a contract is run on something broken."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qcore_testing.contract import Contract


def run(
    contract: type[Contract],
    test: str,
    make: Callable[..., Any],
    parameters: Sequence[object],
    *,
    timeout: float = 1.0,
    **fixtures: object,
) -> None:
    """Run one test of a contract, in a hurry: what is broken need not be waited for, what is sound may."""
    hurried = type("Hurried", (contract,), {"time_unit": 0.1, "timeout": timeout})()
    function = getattr(hurried, test)
    known = {"new": make, "make": make, **fixtures}
    given = {name: known[name] for name in inspect.signature(function).parameters if name in known}
    rest = [name for name in inspect.signature(function).parameters if name not in known]
    function(**given, **dict(zip(rest, parameters, strict=True)))


def each(cases: Sequence[tuple[Any, ...]]) -> list[Any]:
    """One test for each thing that is broken."""
    return [pytest.param(*case[:2], case[2:], id=f"{case[0].__name__}-{case[1]}") for case in cases]
