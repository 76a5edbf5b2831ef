"""Which file of qcore may import which: arrows only fall, and nothing goes in a circle."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, Final

import pytest

from tests.house.tree import ROOT, at_once_modules, core_modules, imports, scheduler_modules

if TYPE_CHECKING:
    from collections.abc import Sequence

#: From top to bottom; a file imports only from lines below its own. A folder is one name.
#: A new file fails the test until it has been given its place here.
LAYERS: Final = (
    # faces
    {"__main__"},
    {"__init__", "cli", "testing"},
    # processes
    {"cluster"},
    {"supervision"},
    {"workers"},
    # one task
    {"app"},
    {"results_api", "queue_api"},
    {"async_api"},
    {"delivery"},
    {"absence", "key_check"},
    {"control_api"},
    {"begun"},
    {"inline"},
    {"flows", "scheduling"},
    {"declarations", "destination"},
    {"tasks"},
    # assembly
    {"runtime"},
    {"config"},
    {"settings"},
    {"plugins"},
    {"installed", "builtin"},
    # contracts
    {"journal"},
    {"hookspecs", "messages", "making", "guarding"},
    {"user_modules"},
    {"backend_clock"},
    {"interfaces", "settle"},
    {"coordination"},
    # ground
    {"compared"},
    {"model"},
    {
        "status",
        "errors",
        "lazy",
    },
)

#: The same for the files of each room that has more than one layer of its own.
ROOMS: Final = {
    "supervision": (
        {"control"},
        {"supervisor"},
        {"deadlines", "reload", "status_report"},
        {"maintenance", "importer"},
        {"orphans"},
        {"recovery", "relay", "renewal", "control_poll", "pool", "unsigned"},
        {"dead_ends"},
        {"deaths"},
        {"slot", "zygote", "zygote_link"},
        {"protocol"},
    ),
    "workers": (
        {"worker"},
        {"prepared"},
        {"sharing"},
        {"own_rules"},
        {"at_most_once", "patience", "executors"},
        {"batch"},
        {"ends", "screening"},
        {"events", "reports"},
        {
            "leased",
            "rejections",
            "prefetch",
            "replacement",
            "waiting",
        },
    ),
    "async_api": (
        {"app_api"},
        {"group_commit", "result_waiter"},
    ),
    "flows": (
        {"app_api"},
        {"builder", "commit"},
        {"completion", "continuation", "emulation", "handles", "replays"},
    ),
    "tasks": (
        {"producer"},
        {"task", "execute", "unique", "django_q", "arguments"},
        {"outcomes"},
        {"current"},
        {"call", "plan"},
        {"limits", "transaction", "run_hooks", "option_types"},
    ),
    "settings": (
        {"sections"},
        {"crosscheck"},
        {"options"},
    ),
    "journal": (
        {"memory", "waiting"},
        {"progress", "running"},
        {"pages"},
        {"cells"},
        {"records", "commands"},
    ),
    "messages": (
        {"saving"},
        {"results"},
        {"envelope", "sealer"},
        {"head", "signing", "workflow"},
    ),
    # no rooms of the engine's: packages that stand on it
    "qcore_at_once": (
        {"plugin"},
        {"sharing"},
        {"side_by_side"},
        {"ledger", "runners"},
        {"shared_batch", "home", "demand", "scout"},
        {"cell_runs"},
        {"awaited", "threaded"},
    ),
    "qcore_schedules": (
        {"plugin"},
        {"role"},
        {"scheduler_thread"},
        {"declared"},
        {"app_api", "quarantine", "purging"},
        {"build", "firing"},
        {"messages"},
        {"swap"},
        {"sealed"},
    ),
}

LAYERED: Final = core_modules() + scheduler_modules() + at_once_modules()
KNOWN: Final = frozenset(module.name for module in LAYERED)


def ranks(layers: Sequence[set[str]], prefix: str = "") -> dict[str, int]:
    """Return how high each name stands, 1 for the lowest."""
    return {prefix + name: len(layers) - index for index, names in enumerate(layers) for name in names}


RANK: Final = ranks(LAYERS)
INSIDE: Final = {
    name: rank for room, layers in ROOMS.items() for name, rank in ranks(layers, f"{room}.").items()
}


def room(name: str) -> str:
    """Return the file, folder or package a module belongs to: `qcore.cli.run` is in `cli`."""
    if not within_the_engine(name):
        return name.split(".", maxsplit=1)[0]
    return name.split(".")[1] if "." in name else "__init__"


def within_the_engine(name: str) -> bool:
    """Whether it is a module of `qcore`, and not of a package that stands on it."""
    return name.split(".", maxsplit=1)[0] == "qcore"


def inside(name: str) -> str:
    """Return a module's name from its room on: `supervision.slot`."""
    return name.removeprefix("qcore.")


def test_every_file_has_a_layer() -> None:
    """A new file is placed in LAYERS, and in ROOMS, before anything else may be said of it."""
    unplaced = sorted(
        module.place
        for module in LAYERED
        if (within_the_engine(module.name) and room(module.name) not in RANK)
        or (room(module.name) in ROOMS and inside(module.name) not in {room(module.name), *INSIDE})
    )

    assert not unplaced, "\n".join(["", *unplaced])


def test_no_place_is_kept_for_a_file_that_is_gone() -> None:
    """The lists speak of the files there are."""
    there = {room(name) for name in KNOWN} | {inside(name) for name in KNOWN}

    assert set() == (set(RANK) | set(INSIDE)) - there


def test_the_picture_in_the_documents_is_this_list() -> None:
    """Whoever reads about the layers sees them as they are."""
    page = (ROOT / "docs" / "explanation" / "architecture.md").read_text(encoding="utf-8")
    house, rooms = page.partition("## Layers\n")[2].split("```")[1::2][:2]
    # the first column has the names of the floors, or of the rooms
    drawn = [rank.split() for line in lines(house) for rank in line[12:].split(">")]

    assert [set(rank) for rank in drawn] == list(LAYERS)
    inside = [line.split(maxsplit=1) for line in lines(rooms)]
    assert {name: tuple(set(rank.split()) for rank in ranks.split(">")) for name, ranks in inside} == ROOMS


def lines(block: str) -> list[str]:
    """Return the lines of a block of text; one that begins with a space goes on with the one above."""
    return block.removeprefix("text\n").replace("\n            ", " ").strip().splitlines()


def test_no_arrow_points_up_or_sideways() -> None:
    """A file imports from lower layers only, for type checking too; in a room as in the house."""
    upward = [
        f"{module.place}:{line} imports {target}"
        for module in LAYERED
        for target, line in sorted(set(imports(module, KNOWN)))
        if target.split(".")[0] == module.name.split(".")[0] and not falls(module.name, target)
    ]

    assert not upward, "\n".join(["", *upward])


def falls(source: str, target: str) -> bool:
    """Whether an import points down; within a folder that has no layers, any does."""
    if room(source) != room(target):
        return RANK.get(room(target), len(LAYERS)) < RANK.get(room(source), 0)
    if room(source) not in ROOMS or source == target:
        return True
    return INSIDE.get(inside(target), 0) < INSIDE.get(inside(source), 0)


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        ("qcore.supervision.slot", "qcore.workers.worker", True),
        ("qcore.workers.worker", "qcore.supervision.slot", False),
        ("qcore.flows.app_api", "qcore.scheduling", False),
        ("qcore.supervision.pool", "qcore.supervision.slot", True),
        ("qcore.supervision.slot", "qcore.supervision.pool", False),
        ("qcore.supervision.pool", "qcore.supervision.renewal", False),
        ("qcore.cli.run", "qcore.cli.text", True),
        ("qcore_schedules.declared", "qcore_schedules.build", True),
        ("qcore_schedules.build", "qcore_schedules.declared", False),
        ("qcore.model", "qcore.errors", True),
        ("qcore.errors", "qcore", False),
    ],
)
def test_a_fall_is_recognised(source: str, target: str, *, expected: bool) -> None:
    """The check above sees what is meant to be seen."""
    assert falls(source, target) is expected


def test_nothing_goes_in_a_circle() -> None:
    """No file reaches itself by imports, inside a folder either."""
    graph = {
        module.name: {target for target, _ in imports(module, KNOWN) if target in KNOWN} - {module.name}
        for module in LAYERED
    }

    try:
        circle = []
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        circle = error.args[1]

    assert circle == []
