"""Each rule of the kit catches what it is for."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Final

import pytest

import qcore_testing

pytestmark = pytest.mark.portable

ROOT: Final = Path(__file__).parents[2]
#: a rule that nothing breaks on purpose, and why
UNBROKEN: Final = {
    "test_ping_returns": "one that raises always could not do anything else either",
    "test_without_status_there_are_none": "to return nothing is the default of the interface",
}


def test_every_rule_is_broken_once() -> None:
    """With each test of the kit something is tried that is wrong on purpose, and the test must say so."""
    files = [*ROOT.glob("tests/conformance/*.py"), *ROOT.glob("plugins/*/tests/test_broken*.py")]
    text = "\n".join(one.read_text(encoding="utf-8") for one in files if one != Path(__file__))
    tried = set(re.findall(r'"(test_\w+)"', text))

    rules = {
        name
        for kit in map(qcore_testing.__getattr__, qcore_testing.__all__)
        for name, _ in inspect.getmembers(kit, inspect.isfunction)
        if name.startswith("test_")
    }
    assert sorted(rules - tried - UNBROKEN.keys()) == []
    assert UNBROKEN.keys() <= rules - tried
    assert len(rules) > 200
