"""Where eye and cursor are, and what a key does to them."""

from __future__ import annotations

import enum
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import attrs

from qcore.sanitize import line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from qcore.cli.dead_letter import DeadLetterView
    from qcore.model import Result
    from qcore_monitor.snapshot import Snapshot

#: Seconds for which the outcome of a key is shown.
_SHOWN: Final = 6.0
#: Rows that a page key moves by.
_PAGE: Final = 10


class Panel(enum.Enum):
    """A list on the screen, from top to bottom."""

    CLUSTERS = "clusters"
    RUNNING = "running"
    DEAD_LETTERS = "dead letters"
    FAILURES = "failures"
    SCHEDULES = "schedules"


class Mode(enum.Enum):
    """What fills the screen."""

    LISTS = "lists"
    #: one thing looked into
    ITEM = "item"
    HELP = "help"


class Do(enum.Enum):
    """What is done to the queue."""

    PAUSE = "pause"
    RESUME = "resume"
    REQUEUE = "requeue"
    CANCEL = "cancel"
    #: fetch what the queue's result store knows of a task
    OPEN = "open"


@attrs.frozen
class Deed:
    """Something to be done to the queue."""

    do: Do
    #: of the dead letter or the task
    id: str = ""
    #: what people call it
    name: str = ""
    #: of the dead letter
    task_id: str = ""


@attrs.frozen(kw_only=True)
class View:
    """What is looked at, and what was asked."""

    #: seconds between two looks
    every: float = 1.0
    panel: Panel = Panel.FAILURES
    mode: Mode = Mode.LISTS
    #: of each panel the id chosen and its place in the list, for when it is gone
    chosen: Mapping[Panel, tuple[str, int]] = MappingProxyType({})
    #: lines of an item that have gone out at the top
    scroll: int = 0
    #: the failure or dead letter that is looked into; it may be gone from its list meanwhile
    item: Result | DeadLetterView | None = None
    #: what the store says of a dead letter's task
    opened: Result | None = None
    #: what happens on `y`
    asked: Deed | None = None
    message: str = ""
    #: epoch seconds
    message_until: float = 0.0
    over: bool = False

    def say(self, text: str, now: float) -> View:
        """Return the view with an outcome to be read."""
        return attrs.evolve(self, message=text, message_until=now + _SHOWN)

    def place(self, snapshot: Snapshot, panel: Panel) -> int:
        """Return the place of what is chosen in a panel's list; 0 in an empty one."""
        ids = ids_of(snapshot, panel)
        id_, place = self.chosen.get(panel, ("", 0))
        return ids.index(id_) if id_ in ids else max(0, min(place, len(ids) - 1))

    def id(self, snapshot: Snapshot, panel: Panel | None = None) -> str:
        """Return the id of what is chosen, empty if there is nothing."""
        panel = panel or self.panel
        ids = ids_of(snapshot, panel)
        return ids[self.place(snapshot, panel)] if ids else ""


def ids_of(snapshot: Snapshot, panel: Panel) -> Sequence[str]:
    """Return the ids of a panel's list."""
    sight = snapshot.sight
    match panel:
        case Panel.CLUSTERS:
            return [one.id for one in sight.clusters] if sight else []
        case Panel.RUNNING:
            return (
                [worker.task_id or f"{one.id}:{worker.slot}" for one, worker in sight.running()]
                if sight
                else []
            )
        case Panel.DEAD_LETTERS:
            return [one.id for one in snapshot.dead_letters]
        case Panel.FAILURES:
            return [one.id for one in snapshot.failures]
        case Panel.SCHEDULES:
            return [one.name for one in snapshot.schedules]


# -- keys ---------------------------------------------------------------------------------------

_MOVES: Final = MappingProxyType(
    {
        "up": -1,
        "k": -1,
        "down": 1,
        "j": 1,
        "page up": -_PAGE,
        "page down": _PAGE,
        "home": -(10**6),
        "end": 10**6,
    }
)
_TABS: Final = MappingProxyType({"tab": 1, "right": 1, "l": 1, "backtab": -1, "left": -1, "h": -1})
_BACK: Final = frozenset({"escape", "enter", "back", "left", "h"})


def press(view: View, key: str, snapshot: Snapshot, now: float) -> tuple[View, Deed | None]:
    """Return the view after a key, and what is to be done."""
    if view.asked is not None:
        deed, view = view.asked, attrs.evolve(view, asked=None)
        return (view, deed) if key in {"y", "Y"} else (view.say("left as it is", now), None)
    view = attrs.evolve(view, message="")
    if key in {"q", "Q"}:
        return attrs.evolve(view, over=True), None
    if key == "p":
        return _pause(view, snapshot)
    if key == "?":
        mode = Mode.LISTS if view.mode is Mode.HELP else Mode.HELP
        return attrs.evolve(view, mode=mode, scroll=0), None
    if view.mode is not Mode.LISTS:
        if key in _BACK:
            return attrs.evolve(view, mode=Mode.LISTS, scroll=0, item=None, opened=None), None
        if key in _MOVES:
            return attrs.evolve(view, scroll=max(0, view.scroll + _MOVES[key])), None
    elif key in _MOVES:
        return _move(view, _MOVES[key], snapshot), None
    elif key in _TABS:
        order = list(Panel)
        return attrs.evolve(view, panel=order[(order.index(view.panel) + _TABS[key]) % len(order)]), None
    elif key == "enter":
        return _open(view, snapshot, now)
    if view.mode is not Mode.HELP:
        if key == "r":
            return _requeue(view, snapshot, now)
        if key == "c":
            return _cancel(view, snapshot, now)
    return view, None


def _move(view: View, by: int, snapshot: Snapshot) -> View:
    ids = ids_of(snapshot, view.panel)
    if not ids:
        return view
    place = max(0, min(view.place(snapshot, view.panel) + by, len(ids) - 1))
    return attrs.evolve(view, chosen=MappingProxyType({**view.chosen, view.panel: (ids[place], place)}))


def _open(view: View, snapshot: Snapshot, now: float) -> tuple[View, Deed | None]:
    id_ = view.id(snapshot)
    if not id_:
        return view.say(f"nothing to look into among {view.panel.value}", now), None
    # What is looked into stays chosen while the list moves on.
    view = attrs.evolve(_move(view, 0, snapshot), mode=Mode.ITEM, scroll=0, opened=None)
    if view.panel is Panel.FAILURES:
        view = attrs.evolve(view, item=next(one for one in snapshot.failures if one.id == id_))
    elif view.panel is Panel.DEAD_LETTERS:
        letter = next(one for one in snapshot.dead_letters if one.id == id_)
        deed = Deed(Do.OPEN, letter.task_id) if letter.task_id else None
        return attrs.evolve(view, item=letter), deed
    return view, None


def _pause(view: View, snapshot: Snapshot) -> tuple[View, Deed | None]:
    name = snapshot.sight.name if snapshot.sight else ""
    if snapshot.paused:
        return view, Deed(Do.RESUME, name=name)
    return attrs.evolve(view, asked=Deed(Do.PAUSE, name=name)), None


def _requeue(view: View, snapshot: Snapshot, now: float) -> tuple[View, Deed | None]:
    """Ask whether to requeue the dead letter chosen, or that of the failure chosen."""
    id_ = view.item.id if view.item is not None else view.id(snapshot)
    key = {Panel.DEAD_LETTERS: "id", Panel.FAILURES: "task_id"}.get(view.panel)
    letters = [one for one in snapshot.dead_letters if key and getattr(one, key) == id_]
    if not letters:
        return view.say("r requeues a dead letter: choose one with tab and the arrows", now), None
    letter = letters[0]
    view = attrs.evolve(
        _move(view, 0, snapshot), asked=Deed(Do.REQUEUE, letter.id, line(letter.called), letter.task_id)
    )
    return view, None


def _cancel(view: View, snapshot: Snapshot, now: float) -> tuple[View, Deed | None]:
    id_ = view.id(snapshot)
    found = (
        [worker for _, worker in snapshot.sight.running() if worker.task_id == id_] if snapshot.sight else []
    )
    if view.panel is not Panel.RUNNING or not id_ or not found:
        return view.say("c cancels a running task: choose one with tab and the arrows", now), None
    view = attrs.evolve(_move(view, 0, snapshot), asked=Deed(Do.CANCEL, id_, line(found[0].task)))
    return view, None


def question(deed: Deed) -> str:
    """Return what is asked before something is done."""
    match deed.do:
        case Do.PAUSE:
            return f"pause the queue {deed.name}, so that no cluster takes new tasks?"
        case Do.REQUEUE:
            return f"put {deed.name} back on the queue?"
        case Do.CANCEL:
            return f"cancel {deed.name}, which runs now?"
        case _:
            return f"{deed.do.value} {deed.name}?"
