"""Bytes become keys, and keys move the eye or do something to the queue."""

from __future__ import annotations

import io
from typing import Any

import attrs
import pytest

from qcore.cli.dead_letter import DeadLetterView
from qcore.cli.overview import QueueOverview
from qcore.model import QueueSize, Result, State
from qcore.status import ClusterStatus, WorkerStatus
from qcore_monitor.glyphs import ASCII, UNICODE, glyphs_for
from qcore_monitor.keys import decode
from qcore_monitor.snapshot import Snapshot
from qcore_monitor.view import Action, Mode, Panel, Verb, View, press

NOW = 1_800_000_000.0
TASK = "0192f0c1a2b37c4d8e9fa0b1c2d3e4f5"
CLUSTER = ClusterStatus(
    id="c1",
    name="shop",
    label="night",
    host="here",
    pid=1,
    state="working",
    workers=(WorkerStatus(slot=0, pid=2, state="busy", task="shop.report", task_id=TASK, running_for=5),),
)


def letter(id_: str, task_id: str = "") -> DeadLetterView:
    """Return a dead letter."""
    return DeadLetterView(
        id=id_,
        task_id=task_id,
        task="shop.price",
        fault="",
        reason="it failed",
        dead_since=NOW,
        failures=1,
        crashes=0,
        size=99,
    )


def failure(id_: str) -> Result:
    """Return a failed task's result."""
    return Result(id=id_, name="shop.price", state=State.FAILED, error="ValueError: no price")


SNAPSHOT = Snapshot(
    taken=NOW,
    overview=QueueOverview(
        name="shop", broker="SQLite", queue=QueueSize(1), results={}, clusters=(CLUSTER,), unreadable=0
    ),
    failures=tuple(failure(id_) for id_ in ("f3", "f2", "f1")),
    dead_letters=(letter("b1", "f1"), letter("b2")),
)


def pressed(*keys: str, view: View | None = None, snapshot: Snapshot = SNAPSHOT) -> tuple[View, list[Action]]:
    """Return the view after these keys, and what was asked for."""
    view = view or View()
    actions = []
    for key in keys:
        view, action = press(view, key, snapshot, NOW)
        actions += [action] if action else []
    return view, actions


# -- bytes to keys ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"q", ["q"]),
        (b"jk\r", ["j", "k", "enter"]),
        (b"\x1b[A\x1bOB", ["up", "down"]),
        (b"\x1b[5~\x1b[6~\x1b[Z\t", ["page up", "page down", "backtab", "tab"]),
        ("ö".encode(), ["ö"]),
        (b"\x1b[200~q", ["q"]),
        (b"\x1b[1;5Aq", ["q"]),
        (b"\x1bxq", ["q"]),
        (b"\xff", ["\ufffd"]),
        (b"", []),
    ],
)
def test_bytes_become_keys(data: bytes, expected: list[str]) -> None:
    """Sequences of any terminal; one we do not know is not a key, and not its letters."""
    assert decode(data) == (expected, b"")


def test_half_a_sequence_waits_for_the_rest() -> None:
    """A slow line sends a key in two parts."""
    assert decode(b"j\x1b[") == (["j"], b"\x1b[")
    assert decode(b"\x1b") == ([], b"\x1b")


def test_an_escape_alone_is_a_key_when_nothing_follows() -> None:
    """Only time tells it from the beginning of another."""
    assert decode(b"\x1b", last=True) == (["escape"], b"")
    assert decode(b"\x1b\x1b[A", last=True) == (["escape", "up"], b"")


# -- what the terminal can show ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("encoding", "environment", "expected"),
    [
        ("utf-8", {"LANG": "en_GB.UTF-8"}, UNICODE),
        ("utf-8", {"LANG": "de_DE.utf8"}, UNICODE),
        ("utf-8", {"LC_ALL": "C.UTF-8"}, UNICODE),
        ("utf-8", {"LC_ALL": "C", "LANG": "en_GB.UTF-8"}, ASCII),
        # as Python sets it where the locale is C
        ("utf-8", {"LC_CTYPE": "C.UTF-8", "LANG": "C"}, ASCII),
        ("utf-8", {"LC_CTYPE": "C.UTF-8", "LANG": "en_GB.UTF-8"}, UNICODE),
        ("latin-1", {"LANG": "en_GB.UTF-8"}, ASCII),
        ("utf-8", {}, ASCII),
    ],
)
def test_blocks_and_arrows_need_a_locale_of_utf_8(
    encoding: str, environment: dict[str, str], expected: Any
) -> None:
    """Anything else gets plain ASCII, which every terminal shows."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)

    assert glyphs_for(stream, environment) is expected


def test_text_of_strangers_is_harmless_and_can_be_shown() -> None:
    """No escape sequences, one line, and no character that moves what stands behind it."""
    assert ASCII.text("gr\u00fcn\x1b[2J\nrot\u202e") == "gr?n rot"
    assert UNICODE.text("gr\u00fcn\x1b]0;title\x07") == "gr\u00fcn"


# -- moving -----------------------------------------------------------------------------------


def test_arrows_choose_and_stop_at_the_ends() -> None:
    """Up from the first stays at the first."""
    assert pressed("up")[0].id(SNAPSHOT) == "f3"
    assert pressed("down", "j")[0].id(SNAPSHOT) == "f1"
    assert pressed("end", "down")[0].id(SNAPSHOT) == "f1"
    assert pressed("end", "k")[0].id(SNAPSHOT) == "f2"


def test_what_is_chosen_stays_chosen_while_the_list_moves_on() -> None:
    """A new failure above does not put another one under the cursor."""
    view, _ = pressed("down")
    more = attrs.evolve(SNAPSHOT, failures=(failure("f4"), *SNAPSHOT.failures))

    assert view.id(more) == "f2"


def test_when_what_was_chosen_is_gone_its_neighbour_is_chosen() -> None:
    """Not the first one of the list."""
    view, _ = pressed("down")
    fewer = attrs.evolve(SNAPSHOT, failures=(failure("f3"), failure("f1")))

    assert view.id(fewer) == "f1"


def test_tab_goes_round_the_lists() -> None:
    """And back with shift."""
    assert pressed("tab")[0].panel is Panel.SCHEDULES
    assert pressed("tab", "tab")[0].panel is Panel.CLUSTERS
    assert pressed("backtab")[0].panel is Panel.DEAD_LETTERS
    assert pressed(*["tab"] * len(Panel))[0].panel is Panel.FAILURES


def test_enter_looks_into_what_is_chosen_and_escape_goes_back() -> None:
    """A failure is all there is; nothing has to be asked for."""
    view, actions = pressed("enter")

    assert (view.mode, view.item, actions) == (Mode.ITEM, SNAPSHOT.failures[0], [])
    assert pressed("escape", view=view)[0].mode is Mode.LISTS


def test_a_dead_letter_is_looked_into_with_its_tasks_traceback() -> None:
    """The store is asked for it; the arguments are left alone."""
    view, actions = pressed("backtab", "enter")

    assert view.item == SNAPSHOT.dead_letters[0]
    assert actions == [Action(Verb.OPEN, "f1")]


def test_there_is_nothing_to_look_into_in_an_empty_list() -> None:
    """It says so."""
    view, actions = pressed("enter", snapshot=attrs.evolve(SNAPSHOT, failures=()))

    assert (view.mode, actions) == (Mode.LISTS, [])
    assert view.message == "nothing to look into among failures"


def test_q_quits_from_everywhere_but_a_question() -> None:
    """There it means no."""
    assert pressed("q")[0].over
    assert pressed("enter", "q")[0].over
    assert pressed("?", "Q")[0].over
    assert not pressed("p", "q")[0].over


# -- doing ------------------------------------------------------------------------------------


def test_pausing_asks_and_resuming_does_not() -> None:
    """A slip of the finger must not stop a shop; going on harms nobody."""
    view, actions = pressed("p")
    assert actions == []
    assert pressed("y", view=view)[1] == [Action(Verb.PAUSE, name="shop")]
    assert SNAPSHOT.overview is not None
    paused = attrs.evolve(SNAPSHOT, overview=attrs.evolve(SNAPSHOT.overview, paused=True))

    assert pressed("p", snapshot=paused)[1] == [Action(Verb.RESUME, name="shop")]


@pytest.mark.parametrize("key", ["n", "escape", "enter", "x", "q", "down"])
def test_only_y_is_yes(key: str) -> None:
    """Everything else leaves it as it is."""
    view, actions = pressed("backtab", "r", key)

    assert (view.asked, actions, view.message) == (None, [], "left as it is")


def test_a_dead_letter_is_requeued() -> None:
    """From its list, from its page, and from the page of its failure."""
    expected = [Action(Verb.REQUEUE, "b1", "shop.price", "f1")]

    assert pressed("backtab", "r", "y")[1] == expected
    assert pressed("backtab", "enter", "r", "y")[1][1:] == expected
    assert pressed("end", "enter", "r", "y")[1] == expected


def test_a_failure_that_is_no_dead_letter_cannot_be_requeued() -> None:
    """It says what can."""
    view, actions = pressed("r", "y")

    assert actions == []
    assert pressed("r")[0].message == "r requeues a dead letter: choose one with tab and the arrows"
    assert view.asked is None


def test_a_running_task_is_cancelled() -> None:
    """Only where running tasks are."""
    running = View(panel=Panel.RUNNING)

    assert pressed("c", "y", view=running)[1] == [Action(Verb.CANCEL, TASK, "shop.report")]
    assert pressed("enter", "c", "y", view=running)[1] == [Action(Verb.CANCEL, TASK, "shop.report")]
    assert pressed("c", "y")[1] == []


def test_keys_before_the_first_answer_do_no_harm() -> None:
    """The broker may never answer."""
    for key in ("up", "end", "enter", "r", "c", "tab", "?", "x", "escape"):
        for panel in Panel:
            assert pressed(key, view=View(panel=panel), snapshot=Snapshot())[1] == []
