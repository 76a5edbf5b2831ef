"""What stands on the screen of the monitor, at every size."""

from __future__ import annotations

import io
from typing import Any

import attrs
import pytest
from rich.console import Console

from qcore.cli.dead_letter import DeadLetterView
from qcore.cli.overview import QueueOverview
from qcore.cli.text import width
from qcore.model import QueueSize, Result, State
from qcore.status import ClusterStatus, Percentiles, Progress, WorkerStatus
from qcore_calendar.schedule import Schedule
from qcore_monitor.glyphs import ASCII, UNICODE
from qcore_monitor.grid import Cell, Column, grid
from qcore_monitor.layout import evened, frame, share
from qcore_monitor.snapshot import Snapshot
from qcore_monitor.view import Action, Mode, Panel, Verb, View, press

NOW = 1_800_000_000.0
SMALL, LARGE = (80, 24), (200, 50)
TASK = "0192f0c1a2b37c4d8e9fa0b1c2d3e4f5"


def cluster(number: int = 1, **told: Any) -> ClusterStatus:
    """Return what a busy cluster reports."""
    return attrs.evolve(
        ClusterStatus(
            id=f"{number:032x}",
            name="shop",
            label=f"night-{number}",
            host=f"machine-{number}.example.org",
            pid=4000 + number,
            state="working",
            workers=(
                WorkerStatus(
                    slot=0,
                    pid=4322,
                    state="busy",
                    task="shop.report",
                    running_for=75,
                    task_id=TASK,
                    progress=Progress(done=3, total=4, note="page 3 of 4"),
                    rss=200 << 20,
                ),
                WorkerStatus(slot=1, pid=4323, state="idle"),
            ),
            finished=12345,
            reincarnations={"recycled": 3, "timeout": 1},
            uptime=7300,
            published=NOW - 1,
            rate=1234.4,
            run_time=Percentiles(p50=0.012, p99=1.5),
            wait_time=Percentiles(p50=0.002, p99=0.2),
        ),
        **told,
    )


FAILURES = tuple(
    Result(
        id=f"{number:032x}",
        name="shop.price",
        state=State.FAILED,
        error=f"ValueError: no price for article {number}",
        traceback='Traceback (most recent call last):\n  File "shop.py", line 7, in price\n' + "x" * 300,
        kind="failure",
        started=NOW - 60,
        finished=NOW - 60 * number,
    )
    for number in range(1, 21)
)
DEAD_LETTERS = tuple(
    DeadLetterView(
        id=f"{number}",
        task_id=f"{number:032x}",
        task="shop.mail",
        fault="",
        reason="crashed its worker 3 times",
        dead_since=NOW - 3600,
        failures=0,
        crashes=3,
        size=99,
    )
    for number in range(1, 6)
)
SCHEDULES = (
    Schedule(name="wrong", task="shop.nix", rule="nonsense", next_run=NOW, fault="no such rule"),
    Schedule(name="nightly", task="shop.clean", rule="0 3 * * *", next_run=NOW + 7200),
    Schedule(name="rests", task="shop.clean", rule="daily", next_run=NOW + 7200, repeats=0, kept=-1),
)
SIGHT = QueueOverview(
    name="shop",
    broker="Redis 7.0.15, db.example.org:6379/0",
    queue=QueueSize(1234, 4, 7, 5),
    results={State.SUCCESS: 12345, State.FAILED: 20},
    clusters=(cluster(1), cluster(2)),
    unreadable=0,
)
BUSY = Snapshot(taken=NOW, overview=SIGHT, failures=FAILURES, dead_letters=DEAD_LETTERS, schedules=SCHEDULES)


def shown(
    snapshot: Snapshot = BUSY, size: tuple[int, int] = SMALL, view: View | None = None, **told: Any
) -> list[str]:
    """Return the screen's lines, having seen that they fit."""
    lines = frame(view or View(), snapshot, size, told.get("marks", UNICODE), NOW)
    texts = [line.plain for line in lines]

    assert len(texts) == size[1]
    assert all(width(text) <= size[0] for text in texts)
    return [text.rstrip() for text in texts]


# -- both sizes -------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_all_that_matters_is_on_the_screen(size: tuple[int, int]) -> None:
    """Of every list something, of every figure all digits."""
    text = "\n".join(shown(size=size))

    for told in (
        *(
            "shop",
            "Redis 7.0.15, db.example.org:6379/0",
            "1,234 ready",
            "4 leased",
            "7 delayed",
            "5 dead",
        ),
        *(
            "2,469/s",
            "12,345 success",
            "20 failed",
            "CLUSTERS 2",
            "night-1",
            "machine-",
            "00000001",
            "working",
        ),
        *("1/2", "1,234/s", "12ms/1.5s", "2ms/200ms", "3 recycled, 1 timeout", "2h"),
        *("RUNNING 2", "shop.report", "75s", "█████████░░░  75 %", "page 3 of 4", "night-1:0", "c2d3e4f5"),
        *("DEAD LETTERS 5", "shop.mail", "crashed its worker 3 times", "60m"),
        *("FAILURES 20", "shop.price", "ValueError: no price for article 1"),
        *("SCHEDULES 3", "wrong", "broken", "no such rule", "q quit", "? help"),
    ):
        assert told in text, told


def test_a_large_screen_shows_each_cluster_on_one_line_and_all_lists() -> None:
    """There is room for everything."""
    lines = shown(size=LARGE)

    assert [line.split()[0] for line in lines if "3 recycled, 1 timeout" in line] == ["night-1", "night-2"]
    assert sum("ValueError" in line for line in lines) == 20
    assert sum("crashed its worker" in line for line in lines) == 5
    assert not any("more" in line for line in lines)


def test_a_small_screen_says_how_much_it_leaves_out() -> None:
    """Nobody takes what is shown for all there is."""
    lines = shown()

    left_out = next(line for line in lines if line.endswith("more"))
    there = sum("ValueError" in line for line in lines)
    assert left_out == f"  ... {20 - there} more"


@pytest.mark.parametrize("columns", [*range(1, 130, 7), 200, 400])
@pytest.mark.parametrize("lines", [1, 7, 8, 12, 24, 60])
def test_no_size_breaks_the_frame(columns: int, lines: int) -> None:
    """Neither wider nor longer than the terminal, whatever is looked at."""
    for view in (
        View(),
        View(mode=Mode.HELP),
        View(panel=Panel.CLUSTERS),
        View(asked=Action(Verb.PAUSE, name="x")),
    ):
        shown(size=(columns, lines), view=view)
    opened, _ = press(View(), "enter", BUSY, NOW)
    shown(size=(columns, lines), view=opened)


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_troubles_are_shown_beside_many_clusters(size: tuple[int, int]) -> None:
    """A cluster that is not shown for lack of room is counted, and so is its trouble."""
    clusters = tuple(cluster(number) for number in range(1, 30))
    troubled = (*clusters, cluster(99, troubles=("the disk is full",)))
    told = shown(attrs.evolve(BUSY, overview=attrs.evolve(SIGHT, clusters=troubled)), size)

    assert any(line.endswith("more, 1 of them with trouble") or "! the disk is full" in line for line in told)


def test_a_cluster_not_heard_of_is_told() -> None:
    """What it said last may not be true any more; a clock that differs is something else."""
    old = cluster(1, published=NOW - 13)
    wrong = cluster(2, published=NOW - 500)
    told = shown(attrs.evolve(BUSY, overview=attrs.evolve(SIGHT, clusters=(old, wrong))))

    assert "    ! it has not been heard of for 13s" in told
    assert "    ! its clock is 8m behind ours; set both by NTP" in told


# -- states of the queue ----------------------------------------------------------------------


def test_interrupted_tasks_are_counted_among_the_failures_that_were_read() -> None:
    """The monitor reads the newest only, and says so where there are more."""
    once = attrs.evolve(FAILURES[0], state=State.FAILED, kind="interrupted")
    few = attrs.evolve(SIGHT, results={State.FAILED: 20})
    many = attrs.evolve(SIGHT, results={State.FAILED: 21})

    told = [" ".join(shown(attrs.evolve(BUSY, overview=one, failures=(once,)))) for one in (few, many)]
    assert ["1 interrupted" in one for one in told] == [True, True]
    assert ["1 interrupted of the newest 20" in one for one in told] == [False, True]


def test_no_cluster_at_all_says_how_to_start_one() -> None:
    """And everything else is still shown."""
    told = shown(Snapshot(taken=NOW, overview=attrs.evolve(SIGHT, clusters=())))

    assert "  CLUSTERS  none; start one with: qcore run MODULE:APP" in told
    assert "  RUNNING  nothing" in told
    assert "  FAILURES  none" in told


def test_a_paused_queue_is_plain_to_see() -> None:
    """In the head, on its clusters, and the key offers to go on."""
    clusters = (cluster(1, paused=True),)
    told = shown(attrs.evolve(BUSY, overview=attrs.evolve(SIGHT, clusters=clusters, paused=True)))

    assert told[0].startswith(" shop   PAUSED ")
    assert "  paused " in next(line for line in told if "night-1" in line)
    assert "p resume" in told[-1]


def test_a_dead_broker_is_told_whole_and_the_last_figures_stay() -> None:
    """With their age."""
    trouble = (
        "the broker does not answer: redis at db.example.org:6379/0 does not answer: timed out in connect"
    )
    told = shown(attrs.evolve(BUSY, taken=NOW - 45, troubles=(trouble,)))

    assert " ! the broker does not answer: redis at db.example.org:6379/0 does not answer:" in told
    assert " timed out in connect" in told
    assert " ! these figures are 45s old" in told
    assert any("night-1" in line for line in told)


def test_before_the_first_answer_there_are_no_figures() -> None:
    """Not noughts, which would be taken for the truth."""
    told = shown(Snapshot())

    assert " ! asking the broker ..." in told
    assert not any("ready" in line for line in told)


def test_a_queue_that_cannot_count_says_so() -> None:
    """A question mark is not zero."""
    told = shown(attrs.evolve(BUSY, overview=attrs.evolve(SIGHT, queue=QueueSize(3))))

    assert "3 ready  ? leased  ? delayed  ? dead" in "\n".join(told)


# -- the cursor and pages ---------------------------------------------------------------------


def test_the_chosen_row_is_marked_and_always_in_sight() -> None:
    """However far down the list it is."""
    view, _ = press(View(), "end", BUSY, NOW)

    (chosen,) = [line for line in shown(view=view) if line.startswith("▸")]
    assert "article 20" in chosen


def test_the_list_the_keys_are_for_gets_more_room() -> None:
    """The others give way, and keep their head and a row."""
    here = sum("crashed its worker" in line for line in shown(view=View(panel=Panel.DEAD_LETTERS)))
    elsewhere = sum("crashed its worker" in line for line in shown())

    assert 1 <= elsewhere < here


def test_a_failure_is_shown_with_its_traceback_to_the_end() -> None:
    """Long lines are folded, none is lost."""
    view, _ = press(View(), "enter", BUSY, NOW)

    text = "".join(line.strip() for line in shown(view=view))
    assert "ValueError: no price for article 1" in text
    assert 'File "shop.py", line 7, in price' in text
    assert "x" * 300 in text


def test_a_page_scrolls_no_farther_than_its_end() -> None:
    """Keys pressed beyond it have not to be undone one by one."""
    view, _ = press(View(), "enter", BUSY, NOW)
    for _ in range(50):
        view, _ = press(view, "page down", BUSY, NOW)
    view = evened(view, BUSY, (80, 12), UNICODE, NOW)

    bottom = shown(size=(80, 12), view=view)
    above, _ = press(view, "up", BUSY, NOW)
    assert bottom != shown(size=(80, 12), view=above)
    assert not any("more lines" in line for line in bottom)


@pytest.mark.parametrize("panel", list(Panel))
def test_everything_can_be_looked_into(panel: Panel) -> None:
    """Each list's page names what was chosen."""
    view, _ = press(View(panel=panel), "enter", BUSY, NOW)

    names = {
        Panel.CLUSTERS: "night-1 on machine-1.example.org",
        Panel.RUNNING: "shop.report",
        Panel.DEAD_LETTERS: "shop.mail",
        Panel.FAILURES: "shop.price",
        Panel.SCHEDULES: "wrong",
    }
    assert shown(view=view)[2] == f"  {names[panel]}"


def test_a_dead_letters_arguments_are_not_read() -> None:
    """The page says how to see them."""
    view, _ = press(View(panel=Panel.DEAD_LETTERS), "enter", BUSY, NOW)

    assert "99 bytes; its arguments are not read (dead-letters show --args)" in "\n".join(shown(view=view))


def test_what_ends_while_it_is_looked_at_is_said_to_be_gone() -> None:
    """A page of nothing would be taken for a fault."""
    view, _ = press(View(panel=Panel.RUNNING), "enter", BUSY, NOW)
    over = attrs.evolve(BUSY, overview=attrs.evolve(SIGHT, clusters=()))

    assert "  it is gone from running; esc goes back" in shown(over, view=view)


def test_a_failure_that_is_looked_at_stays_although_newer_ones_come() -> None:
    """One can read to the end."""
    view, _ = press(View(), "enter", BUSY, NOW)

    assert "  shop.price" in shown(attrs.evolve(BUSY, failures=()), view=view)


def test_a_question_stands_at_the_foot_with_its_answers_in_sight() -> None:
    """However long the name of the task is."""
    told = shown(view=View(asked=Action(Verb.CANCEL, TASK, "shop." + "x" * 200)))

    assert told[-1].startswith(" cancel shop.xxx")
    assert told[-1].endswith("…  y/n")


# -- characters and colours -------------------------------------------------------------------


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_a_terminal_without_unicode_gets_ascii_alone(size: tuple[int, int]) -> None:
    """Bars, marks and text of strangers."""
    strange = attrs.evolve(BUSY, failures=(attrs.evolve(FAILURES[0], error="Grün: 価格がありません"),))
    for view in (View(), press(View(), "enter", strange, NOW)[0]):
        assert "".join(shown(strange, size, view, marks=ASCII)).isascii()


def test_wide_characters_do_not_push_columns_about() -> None:
    """What stands behind them begins where it begins elsewhere."""
    wide = attrs.evolve(FAILURES[0], id="w", name="店.価格")
    told = shown(attrs.evolve(BUSY, failures=(FAILURES[1], wide)))

    one, two = [line for line in told if "ValueError" in line]
    assert width(one[: one.index("ValueError")]) == width(two[: two.index("ValueError")])


def test_what_a_task_says_cannot_command_the_terminal() -> None:
    """Escape sequences of an error, a name or a traceback come to nothing."""
    bad = attrs.evolve(
        FAILURES[0], name="a\x1b[2J", error="b\x1b]0;t\x07\rc", traceback="d\x1b[?1049le\x9b2J"
    )
    snapshot = attrs.evolve(BUSY, failures=(bad,))
    for view in (View(), press(View(), "enter", snapshot, NOW)[0]):
        assert "".join(shown(snapshot, view=view)).isprintable()


def test_without_colours_nothing_is_lost() -> None:
    """NO_COLOR leaves bold and reverse, and states are words."""
    page = Console(file=io.StringIO(), force_terminal=True, no_color=True, width=80)
    with page.capture() as captured:
        for line in frame(View(), BUSY, SMALL, UNICODE, NOW):
            page.print(line, end="", no_wrap=True, crop=True)

    assert "\x1b[3" not in captured.get()
    assert "working" in captured.get()


# -- columns and lines ------------------------------------------------------------------------


def test_columns_that_matter_least_are_left_out_first() -> None:
    """A figure is shown whole or not at all."""
    columns = [Column("NAME", 6, 9), Column("SIZE", None, 5, right=True), Column("NOTE", 4, 1)]
    rows = [[Cell("a long name"), Cell("1,234,567"), Cell("note")]]

    whole, narrow, narrowest = (grid(columns, rows, room, UNICODE) for room in (40, 20, 10))

    assert whole.rows[0].plain == "a long name  1,234,567  note"
    assert narrow.rows[0].plain == "a long n…  1,234,567"
    assert narrowest.rows[0].plain == "a long na…"
    assert narrowest.shown == {"NAME"}


def test_lines_are_shared_out_in_order() -> None:
    """First what each needs; whoever finds no room is left out whole."""
    wants = [(Panel.DEAD_LETTERS, 2, 9), (Panel.CLUSTERS, 3, 5), (Panel.SCHEDULES, 2, 4)]

    assert share(4, wants) == {Panel.DEAD_LETTERS: 2, Panel.CLUSTERS: 0, Panel.SCHEDULES: 2}
    assert share(7, wants) == {Panel.DEAD_LETTERS: 2, Panel.CLUSTERS: 3, Panel.SCHEDULES: 2}
    assert share(100, wants) == {Panel.DEAD_LETTERS: 9, Panel.CLUSTERS: 5, Panel.SCHEDULES: 4}
    assert sum(share(11, wants).values()) == 11
