"""Which file of qcore may import which: arrows only fall, and nothing goes in a circle."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter
from typing import Final

from tests.house.tree import ROOT, core_modules, imports

#: From top to bottom; a file imports only from lines below its own. A folder is one name.
#: A new file fails the test until it has been given its place here.
LAYERS: Final = (
    # faces
    {"__main__"},
    {"__init__", "cli", "testing", "compat"},
    # processes
    {"cluster"},
    {"control"},
    {"supervisor"},
    {"guard"},
    {"caretaker", "timekeeper"},
    {"firing", "overview"},
    {"rescue", "renewal", "lookout"},
    {"pool"},
    {"slot"},
    {"zygote"},
    {"worker"},
    {"handlers"},
    # one task
    {"batch", "prefetch"},
    {"entry", "telling"},
    {"app"},
    {"declared", "condemn"},
    {"scheduling", "reading", "steering", "flow"},
    {"timetable", "handles", "weave"},
    {"draft"},
    {"task", "producer", "scheduled", "inline"},
    {"unique"},
    {"call", "when"},
    {"execute", "writing"},
    {"plan", "continuation", "tenure"},
    # assembly
    {"runtime"},
    {"config"},
    {"sections", "sources"},
    {"crosscheck"},
    {"options", "plugins"},
    {"keyfile", "installed", "results", "resolve", "describe", "limits"},
    {"rules"},
    {"builtin"},
    # contracts
    {"progress", "running", "rates"},
    {"hookspecs", "envelope", "journal", "move"},
    {"gauges", "marks", "held"},
    {"sealer", "forked", "tail"},
    {"due"},
    {"interfaces", "signing", "settle", "cadence", "faults", "cpus"},
    {"notes"},
    {"orders", "memory", "patience"},
    # ground
    {"model", "status"},
    {"errors"},
)

RANK: Final = {name: len(LAYERS) - index for index, names in enumerate(LAYERS) for name in names}
KNOWN: Final = frozenset(module.name for module in core_modules())


def room(name: str) -> str:
    """Return the file or folder a module belongs to: `qcore.cli.run` is in `cli`."""
    return name.split(".")[1] if "." in name else "__init__"


def test_every_file_has_a_layer() -> None:
    """A new file is placed in LAYERS before anything else may be said of it."""
    unplaced = sorted({module.place for module in core_modules() if room(module.name) not in RANK})

    assert not unplaced, "\n".join(["", *unplaced])


def test_the_picture_in_the_documents_is_this_list() -> None:
    """Whoever reads about the layers sees them as they are."""
    page = (ROOT / "docs" / "explanation" / "architecture.md").read_text(encoding="utf-8")
    picture = page.partition("## Layers\n")[2].split("```")[1].removeprefix("text\n")
    # the first column has the names of the floors
    drawn = [rank.split() for line in picture.splitlines() for rank in line[12:].split(">")]

    assert [set(rank) for rank in drawn] == list(LAYERS)


def test_no_arrow_points_up_or_sideways() -> None:
    """A file imports from lower layers only, for type checking too."""
    upward = [
        f"{module.place}:{line} imports {target}"
        for module in core_modules()
        for target, line in sorted(set(imports(module, KNOWN)))
        if target.split(".")[0] == "qcore"
        and room(target) != room(module.name)
        and RANK.get(room(target), 0) >= RANK.get(room(module.name), 0)
    ]

    assert not upward, "\n".join(["", *upward])


def test_nothing_goes_in_a_circle() -> None:
    """No file reaches itself by imports, inside a folder either."""
    graph = {
        module.name: {target for target, _ in imports(module, KNOWN) if target in KNOWN} - {module.name}
        for module in core_modules()
    }

    try:
        circle = []
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        circle = error.args[1]

    assert circle == []
