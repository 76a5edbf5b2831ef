"""Where eye and cursor are, and what a key does to them."""

from __future__ import annotations

import enum
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import attrs

from qcore_text.sanitize import line

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
    #: details of one item
    ITEM = "item"
    HELP = "help"


class Verb(enum.Enum):
    """What an action does."""

    PAUSE = "pause"
    RESUME = "resume"
    REQUEUE = "requeue"
    CANCEL = "cancel"
    #: fetch the stored result of a task
    OPEN = "open"


@attrs.frozen
class Action:
    """Something to do with the queue."""

    verb: Verb
    #: of the dead letter or the task
    id: str = ""
    #: shown for it
    name: str = ""
    #: of the dead letter
    task_id: str = ""


@attrs.frozen(kw_only=True)
class View:
    """What is shown, and the action that waits for a yes."""

    #: seconds between two reads
    every: float = 1.0
    panel: Panel = Panel.FAILURES
    mode: Mode = Mode.LISTS
    #: of each panel the id chosen and its position in the list, for when it is gone
    chosen: Mapping[Panel, tuple[str, int]] = MappingProxyType({})
    #: lines of an item that are scrolled out at the top
    scroll: int = 0
    #: the failure or dead letter that is looked into; it may be gone from its list meanwhile
    item: Result | DeadLetterView | None = None
    #: what the store says of a dead letter's task
    opened: Result | None = None
    #: what happens on `y`
    asked: Action | None = None
    message: str = ""
    #: epoch seconds
    message_until: float = 0.0
    over: bool = False

    def say(self, text: str, now: float) -> View:
        """Return the view with an outcome to be read."""
        return attrs.evolve(self, message=text, message_until=now + _SHOWN)

    def position(self, snapshot: Snapshot, panel: Panel) -> int:
        """Return the position of what is chosen in a panel's list; 0 in an empty one."""
        ids = ids_of(snapshot, panel)
        id_, position = self.chosen.get(panel, ("", 0))
        return ids.index(id_) if id_ in ids else max(0, min(position, len(ids) - 1))

    def id(self, snapshot: Snapshot, panel: Panel | None = None) -> str:
        """Return the id of what is chosen, empty if there is nothing."""
        panel = panel or self.panel
        ids = ids_of(snapshot, panel)
        return ids[self.position(snapshot, panel)] if ids else ""


def ids_of(snapshot: Snapshot, panel: Panel) -> Sequence[str]:
    """Return the ids of a panel's list."""
    overview = snapshot.overview
    match panel:
        case Panel.CLUSTERS:
            return [one.id for one in overview.clusters] if overview else []
        case Panel.RUNNING:
            return (
                [worker.task_id or f"{one.id}:{worker.slot}" for one, worker in overview.running()]
                if overview
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


def press(view: View, key: str, snapshot: Snapshot, now: float) -> tuple[View, Action | None]:
    """Return the view after a key, and what is to be done."""
    if view.asked is not None:
        action, view = view.asked, attrs.evolve(view, asked=None)
        return (view, action) if key in {"y", "Y"} else (view.say("left as it is", now), None)
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
    position = max(0, min(view.position(snapshot, view.panel) + by, len(ids) - 1))
    return attrs.evolve(view, chosen=MappingProxyType({**view.chosen, view.panel: (ids[position], position)}))


def _open(view: View, snapshot: Snapshot, now: float) -> tuple[View, Action | None]:
    id_ = view.id(snapshot)
    if not id_:
        return view.say(f"nothing to look into among {view.panel.value}", now), None
    # What is looked into stays chosen while the list moves on.
    view = attrs.evolve(_move(view, 0, snapshot), mode=Mode.ITEM, scroll=0, opened=None)
    if view.panel is Panel.FAILURES:
        view = attrs.evolve(view, item=next(one for one in snapshot.failures if one.id == id_))
    elif view.panel is Panel.DEAD_LETTERS:
        letter = next(one for one in snapshot.dead_letters if one.id == id_)
        action = Action(Verb.OPEN, letter.task_id) if letter.task_id else None
        return attrs.evolve(view, item=letter), action
    return view, None


def _pause(view: View, snapshot: Snapshot) -> tuple[View, Action | None]:
    name = snapshot.overview.name if snapshot.overview else ""
    if snapshot.paused:
        return view, Action(Verb.RESUME, name=name)
    return attrs.evolve(view, asked=Action(Verb.PAUSE, name=name)), None


def _requeue(view: View, snapshot: Snapshot, now: float) -> tuple[View, Action | None]:
    """Ask whether to requeue the dead letter chosen, or that of the failure chosen."""
    id_ = view.item.id if view.item is not None else view.id(snapshot)
    key = {Panel.DEAD_LETTERS: "id", Panel.FAILURES: "task_id"}.get(view.panel)
    letters = [one for one in snapshot.dead_letters if key and getattr(one, key) == id_]
    if not letters:
        return view.say("r requeues a dead letter: choose one with tab and the arrows", now), None
    letter = letters[0]
    view = attrs.evolve(
        _move(view, 0, snapshot), asked=Action(Verb.REQUEUE, letter.id, line(letter.called), letter.task_id)
    )
    return view, None


def _cancel(view: View, snapshot: Snapshot, now: float) -> tuple[View, Action | None]:
    id_ = view.id(snapshot)
    found = (
        [worker for _, worker in snapshot.overview.running() if worker.task_id == id_]
        if snapshot.overview
        else []
    )
    if view.panel is not Panel.RUNNING or not id_ or not found:
        return view.say("c cancels a running task: choose one with tab and the arrows", now), None
    view = attrs.evolve(_move(view, 0, snapshot), asked=Action(Verb.CANCEL, id_, line(found[0].task)))
    return view, None


def question(action: Action) -> str:
    """Return the question that is asked before an action."""
    match action.verb:
        case Verb.PAUSE:
            return f"pause the queue {action.name}, so that no cluster takes new tasks?"
        case Verb.REQUEUE:
            return f"requeue {action.name}?"
        case Verb.CANCEL:
            return f"cancel {action.name}, which runs now?"
        case _:
            return f"{action.verb.value} {action.name}?"
