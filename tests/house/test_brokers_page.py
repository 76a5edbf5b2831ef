"""The page of the brokers says what each of them declares."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING, Final

import attrs
import pytest

from qcore.interfaces import Capabilities
from qcore_testing import BrokerContract
from tests.house.tree import ROOT, called, core_modules, library_modules, plugin_modules

if TYPE_CHECKING:
    from tests.house.tree import Module

PAGE: Final = ROOT / "docs" / "reference" / "brokers.md"
README: Final = ROOT / "README.md"
#: what a package keeps -> the hook by which it says so
KEPT: Final = {
    "queue": "qcore_brokers",
    "results": "qcore_result_stores",
    "schedules": "qcore_schedule_stores",
    "coordination": "qcore_coordination_stores",
}


def rows(title: str) -> list[list[str]]:
    """Return the table of a section, its head first."""
    section = PAGE.read_text(encoding="utf-8").partition(f"## {title}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def modules(package: str) -> list[Module]:
    """Return the modules of a package, none if it is not there."""
    everything = [*core_modules(), *plugin_modules()]
    return [module for module in everything if f"{module.name}.".startswith(f"{package}.")]


def package(broker: str) -> str:
    """Return where a broker is, by the name in the head of the table."""
    return "qcore_testing.memory" if broker == "memory" else f"qcore_{broker}"


#: a broker that is another one by connections of its own
BASED_ON: Final = {"django": "sql"}


def declared(broker: str) -> dict[str, ast.expr]:
    """Return what a broker says of itself, as it is written."""
    broker = BASED_ON.get(broker, broker)
    for module in modules(package(broker)):
        for node in module.nodes:
            if isinstance(node, ast.Call) and called(node) == "Capabilities":
                return {word.arg: word.value for word in node.keywords if word.arg} | by_queue(broker)
    return {}


#: what a broker says of its queues, if it has any
OF_QUEUES: Final = {"priorities", "pauses_queues", "moves_queues", "keeps_place"}


def by_queue(broker: str) -> dict[str, ast.expr]:
    """Return what a broker says that has a physical queue for each; whether it has any, depends."""
    texts = [module.text for module in modules(package(broker))]
    if not any("qcore_queues.physical" in text for text in texts):
        return {}
    (library,) = (module for module in library_modules() if module.name == "qcore_queues.physical")
    (said,) = (
        node
        for node in library.nodes
        if isinstance(node, ast.Call) and called(node) == "evolve" and len(node.keywords) > 1
    )
    found = {word.arg: word.value for word in said.keywords if word.arg in OF_QUEUES | {"long_poll"}}
    if any("waits_for_all = True" in text for text in texts):
        del found["long_poll"]
    found["moves_queues"] = ast.Constant(any("moves_messages = True" in text for text in texts))
    return found | {"queues": ast.Name("declared")}


def numbers(broker: str) -> dict[str, int]:
    """Return the whole numbers that the modules of a broker give names to."""
    found = {}
    for module in modules(package(broker)):
        for node in module.tree.body:
            if not isinstance(node, ast.Assign | ast.AnnAssign):
                continue
            value = node.value
            if isinstance(value, ast.Constant) and isinstance(value.value, int):
                target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
                found[ast.unparse(target)] = value.value
    return found


HEAD, *BODY = rows("What each broker can do")


def test_the_page_has_a_row_for_each_capability() -> None:
    """A new capability is explained to users, in words."""
    told = [re.search(r"\(`(\w+)`\)", row[0]) for row in BODY]

    assert sorted(match[1] for match in told if match) == sorted(
        field.name for field in attrs.fields(Capabilities)
    )


@pytest.mark.parametrize("broker", HEAD[1:])
def test_a_broker_is_told_as_it_declares_itself(broker: str) -> None:
    """Yes and no are what the code says; where that depends, the page says on what."""
    said = declared(broker)
    if not modules(package(broker)):
        return  # the plugin's folder is gone, which hurts nobody
    wrong = []
    for row in BODY:
        name, cell = row[0].split("`")[-2], row[HEAD.index(broker)]
        expected = expect(name, said.get(name), numbers(broker))
        if name in OF_QUEUES and "queues" not in said:
            expected = {"no"}
        if (cell not in expected) if expected else (cell in {"yes", "no", ""}):
            wrong.append(f"{name}: the page says {cell!r}, the code {sorted(expected) or 'it depends'}")

    assert said
    assert not wrong, "\n".join(["", *wrong])


def expect(name: str, value: ast.expr | None, known: dict[str, int]) -> set[str]:
    """Return what a cell may hold; nothing where it depends."""
    default = attrs.fields_dict(Capabilities)[name].default
    if name == "max_batch":
        return {str(default if value is None else known[ast.unparse(value).rpartition(".")[2]])}
    if value is None:
        return {str(default) if name == "priorities" else "yes" if default is True else "no"}
    if name == "transaction_domain":
        return {"yes"}
    if isinstance(value, ast.Constant):
        return {"yes" if value.value else "no"}
    return set()


TITLES, *PACKAGES = rows("What each package keeps")


@pytest.mark.parametrize("row", [pytest.param(row, id=row[1]) for row in PACKAGES])
def test_a_package_keeps_what_the_page_says(row: list[str]) -> None:
    """The hooks of its plugin and the status of its broker say the same."""
    said = {title: cell == "yes" for title, cell in zip(TITLES, row, strict=True)}
    name, key = row[0].strip("`"), row[1].strip("`")
    broker = key if name in {"qcore", "qcore-testing"} else name.removeprefix("qcore-")
    found = modules(package(broker))
    if not found:
        return  # as above
    offers = hooks(f"{package(broker).partition('.')[0]}.plugin")

    for title, hook in KEPT.items():
        assert said[title] is (f"'{key}'" in offers.get(hook, "")), title
    assert said["status"] is ("cluster_status" in declared(broker))


def hooks(name: str) -> dict[str, str]:
    """Return the functions of a module as text."""
    (plugin,) = modules(name)
    return {node.name: ast.unparse(node) for node in plugin.tree.body if isinstance(node, ast.FunctionDef)}


def test_the_readme_has_the_same_table() -> None:
    """Whoever sees only the README reads the same about each package."""
    lines = README.read_text(encoding="utf-8").splitlines()
    missing = [
        row for row in PACKAGES if not any(line.startswith(f"| {' | '.join(row)} |") for line in lines)
    ]

    assert not missing


#: how the code deals with the lack of a capability: what the page calls it, and where the field is read
LACKING: Final = {
    "redelivers": ("warns", "qcore.cli.system_checks"),
    "extend": ("refuses", "qcore.settings.crosscheck"),
    "delay": ("refuses", "qcore.tasks.unique"),
    "retry_delay": ("emulates", "qcore.flows.emulation"),
    "stores_counters": ("emulates", "qcore.flows.emulation"),
    "dead_letters": ("emulates", "qcore.flows.emulation"),
    "cross_process": ("refuses", "qcore.cluster"),
    "remove_messages": ("emulates", "qcore.control_api"),
    "purges_delayed": ("warns", "qcore.cli.purge"),
    "cluster_status": ("warns", "qcore.cli.overview"),
    "remembers_ended": ("emulates", "qcore.flows.replays"),
    "joins_transactions": ("refuses", "qcore.delivery"),
    "settles_in_transactions": ("refuses", "qcore.tasks.transaction"),
    "queues": ("refuses", "qcore.tasks.producer"),
    "pauses_queues": ("emulates", "qcore_queues.pausing"),
    "transaction_domain": ("emulates", "qcore.flows.commit"),
}


def test_the_page_says_how_each_lack_is_dealt_with() -> None:
    """The table has a row for each, with the word for what the code does."""
    _, *told = rows("What qcore does where a broker lacks a capability")

    assert {row[0].strip("`"): row[1] for row in told} == {name: said for name, (said, _) in LACKING.items()}


@pytest.mark.parametrize("name", LACKING)
def test_a_lack_is_dealt_with_where_the_test_says(name: str) -> None:
    """The module that emulates, refuses or warns reads the field, so neither can be forgotten."""
    every = [*core_modules(), *library_modules()]
    (module,) = [one for one in every if one.name == LACKING[name][1]]
    read = {node.attr for node in module.nodes if isinstance(node, ast.Attribute)}

    assert name in read


def test_every_flag_is_read_by_core_or_tells_the_contracts() -> None:
    """A flag whose lack changes what qcore does is in the table; the others only tell what to expect."""
    flags = {field.name for field in attrs.fields(Capabilities) if str(field.type) == "bool"}

    assert flags - LACKING.keys() == EXPECTED


def test_the_page_says_how_each_other_claim_is_verified() -> None:
    """A row for each, with a test that the contract has."""
    _, *told = rows("How the contract verifies the other claims")

    assert {row[0].strip("`") for row in told} == EXPECTED
    assert [row[2] for row in told if not hasattr(BrokerContract, row[2].strip("`"))] == []


#: flags that no code of qcore's asks for: they say what users notice, and what the contracts verify
EXPECTED: Final = {
    "long_poll",
    "fencing",
    "atomic_settle",
    "fixed_lease",
    "unique_ids",
    "moves_queues",
    "keeps_place",
}
