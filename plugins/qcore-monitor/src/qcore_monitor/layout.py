"""How a screen is shared out: head, panels, foot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs
import msgspec
from rich.text import Text

from qcore.cli import formatting
from qcore.cli.text import counted, width
from qcore.model import State
from qcore_monitor.detail import folded, lines_of
from qcore_monitor.panels import clock, draw
from qcore_monitor.snapshot import LISTED, empty
from qcore_monitor.view import Mode, Panel, question

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qcore_monitor.glyphs import Glyphs
    from qcore_monitor.panels import Drawn, Entry
    from qcore_monitor.snapshot import Snapshot
    from qcore_monitor.view import View

#: What is smaller shows nothing that could be read.
_LEAST: Final = (40, 8)
#: Cells on the left for the mark of what is chosen.
_MARGIN: Final = 2
#: Who gets room first, behind the panel the keys are for.
_ORDER: Final = (Panel.CLUSTERS, Panel.RUNNING, Panel.DEAD_LETTERS, Panel.FAILURES, Panel.SCHEDULES)
#: Most lines of one trouble.
_TROUBLE: Final = 3
#: Seconds, and looks, without an answer before that is shown.
_TIMEOUT: Final = 3.0

_KEYS: Final = {
    Mode.LISTS: (
        *(("q", "quit"), ("?", "help"), ("p", "pause"), ("tab", "list"), ("arrows", "choose")),
        *(("enter", "look"), ("r", "requeue"), ("c", "cancel")),
    ),
    Mode.ITEM: (
        *(("q", "quit"), ("esc", "back"), ("arrows", "scroll"), ("r", "requeue")),
        *(("c", "cancel"), ("p", "pause")),
    ),
    Mode.HELP: (("q", "quit"), ("esc", "back"), ("arrows", "scroll")),
}


def frame(view: View, snapshot: Snapshot, size: tuple[int, int], marks: Glyphs, now: float) -> list[Text]:
    """Return the lines of a screen, as many as it has and none wider."""
    columns, lines = size
    if columns < _LEAST[0] or lines < _LEAST[1]:
        told = f"{columns}x{lines} is too small; {_LEAST[0]}x{_LEAST[1]} at least"
        body = [Text(marks.cut(told, columns))]
        return [*body, *(Text() for _ in range(lines - len(body)))]
    head = _head(view, snapshot, columns, marks, now)
    foot = _foot(view, snapshot, columns, marks, now)
    height = lines - len(head) - 1
    if view.mode is Mode.LISTS:
        body = _panels(view, snapshot, (columns, height), marks, now)
    else:
        body = _page(lines_of(view, snapshot, columns - _MARGIN, marks, now), view.scroll, (columns, height))
    return [_filled(one, columns) for one in [*head, *body, foot]]


def _filled(text: Text, columns: int) -> Text:
    """Return a line as wide as the screen, so that it covers what stood there."""
    text.append(" " * max(0, columns - width(text.plain)))
    return text


# -- head and foot ------------------------------------------------------------------------------


def _head(view: View, snapshot: Snapshot, columns: int, marks: Glyphs, now: float) -> list[Text]:
    overview = snapshot.overview or empty("")
    first = Text.assemble((f" {marks.text(overview.name) or 'qcore'} ", "bold reverse"))
    if snapshot.paused:
        first.append(" ").append(" PAUSED ", "bold black on yellow")
    max_width = columns - width(first.plain) - 12
    broker = marks.cut(marks.text(overview.broker), max(0, max_width))
    first.append(f"  {broker}", "dim")
    first.append(" " * (columns - width(first.plain) - 9)).append(f"{clock(now)} ")
    head = [first, *_flowing(_figures(snapshot, columns), columns)]
    for told in _troubles(view, snapshot, now):
        parts = folded(f"! {marks.text(told)}", columns - 1)[:_TROUBLE]
        head += [Text(f" {part}", "bold red") for part in parts]
    return head


def _troubles(view: View, snapshot: Snapshot, now: float) -> list[str]:
    told = list(snapshot.troubles)
    silent = now - snapshot.taken
    if snapshot.overview is None:
        return told or ["asking the broker ..."]
    if silent > max(_TIMEOUT, 3 * view.every):
        told.append(f"these figures are {formatting.span(silent)} old")
    if snapshot.overview.unreadable:
        told.append(f"{counted(snapshot.overview.unreadable, 'cluster')} signed with a key that is not ours")
    return told


def _figures(snapshot: Snapshot, columns: int) -> list[tuple[str, str]]:
    """Return what is counted, each with its style."""
    overview = snapshot.overview
    if overview is None:
        return []
    counted = msgspec.to_builtins(overview.queue)
    sizes = [
        (
            f"{'?' if count is None else f'{count:,}'} {state.removesuffix('_letters')}",
            "red" if state == "dead_letters" and count else "",
        )
        for state, count in counted.items()
    ]
    results = {state.name.lower(): overview.results.get(state, 0) for state in State}
    parts = [
        *sizes,
        (formatting.rate(overview.rate), "bold"),
        (f"{results['success']:,} success", ""),
        (f"{results['failed']:,} failed", "red" if results["failed"] else ""),
    ]
    if interrupted := sum(one.interrupted for one in snapshot.failures):
        # Only the newest failures are read.
        newest = f" of the newest {LISTED}" if results["failed"] > LISTED else ""
        parts.append((f"{interrupted} interrupted{newest}", "red"))
    # It comes and goes: no line of its own, which would push about what is below.
    retrying = f"{results['retrying']:,} retrying"
    fits = sum(len(text) + 2 for text, _ in parts) + len(retrying) < columns
    return [*parts, (retrying, "")] if results["retrying"] and fits else parts


def _flowing(parts: Sequence[tuple[str, str]], columns: int) -> list[Text]:
    """Return parts on as many lines as they need."""
    made = [Text(" ")]
    for text, style in parts:
        if width(made[-1].plain) + len(text) > columns:
            made.append(Text(" "))
        made[-1].append(text, style or None).append("  ")
    for one in made:
        one.rstrip()
    return made


def _foot(view: View, snapshot: Snapshot, columns: int, marks: Glyphs, now: float) -> Text:
    if view.asked is not None:
        tail = "  y/n "
        asked = marks.cut(f" {marks.text(question(view.asked))}", columns - len(tail))
        return Text(f"{asked}{tail}", "bold black on yellow")
    if view.message and now < view.message_until:
        return Text(marks.cut(f" {marks.text(view.message)}", columns), "bold")
    made = Text(" ")
    for key, what in _KEYS[view.mode]:
        said = "resume" if what == "pause" and snapshot.paused else what
        shown = marks.arrows if key == "arrows" else key
        # What stands last is needed least: it is left out where there is no room for it.
        if width(made.plain) + len(shown) + 1 + len(said) <= columns:
            made.append(shown, "bold").append(f" {said}  ", "dim")
    made.rstrip()
    return made


# -- panels -------------------------------------------------------------------------------------


def _panels(view: View, snapshot: Snapshot, size: tuple[int, int], marks: Glyphs, now: float) -> list[Text]:
    columns, height = size
    drawn = {panel: draw(panel, snapshot, columns - _MARGIN, marks, now) for panel in Panel}
    order = sorted(_ORDER, key=lambda panel: panel is not view.panel)
    heights = share(height, [(panel, *_wanted(drawn[panel], panel, height)) for panel in order])
    made: list[Text] = []
    for panel in Panel:
        if heights[panel]:
            made += _panel(drawn[panel], view, snapshot, panel, heights[panel], marks)
    return [*made, *(Text() for _ in range(height - len(made)))]


def _wanted(drawn: Drawn, panel: Panel, height: int) -> tuple[int, int]:
    """Return the fewest lines that are of use, and the most."""
    brief = sum(1 + len(one.matters) for one in drawn.entries)
    most = brief + sum(len(one.more) for one in drawn.entries)
    least = min(
        brief, {Panel.CLUSTERS: max(1, height // 3), Panel.RUNNING: max(1, height // 6)}.get(panel, 1)
    )
    return 1 + least, 1 + max(most, drawn.reserve)


def share(height: int, wants: Sequence[tuple[Panel, int, int]]) -> dict[Panel, int]:
    """Share lines out: first what each needs, in this order, then one after another what they want."""
    given = {panel: 0 for panel, _, _ in wants}
    for panel, least, _ in wants:
        if least <= height:
            given[panel] = least
            height -= least
    while height > 0:
        hungry = [(panel, most) for panel, _, most in wants if 0 < given[panel] < most]
        if not hungry:
            break
        for index, (panel, most) in enumerate(hungry):
            # Whoever comes first gets more of what is left.
            more = min(height, most - given[panel], 3 if index == 0 else 2 if index == 1 else 1)
            given[panel] += more
            height -= more
    return given


def _panel(
    drawn: Drawn, view: View, snapshot: Snapshot, panel: Panel, height: int, marks: Glyphs
) -> list[Text]:
    mine = panel is view.panel
    chosen = view.position(snapshot, panel)
    head = Text("  ").append_text(drawn.head)
    head.stylize("bold reverse" if mine else "bold")
    made = [head]
    shown, hidden = _window(drawn.entries, chosen, height - 1)
    for index, lines in shown:
        here = mine and index == chosen
        for number, one in enumerate(lines):
            line = Text(f"{marks.chosen} " if here and not number else "  ").append_text(one)
            if here:
                line.stylize("bold")
            made.append(line)
    if hidden:
        wrong = sum(bool(one.matters) for one in hidden)
        told = f"  ... {len(hidden):,} more" + (f", {wrong:,} of them with trouble" if wrong else "")
        made.append(Text(told, "bold red" if wrong else "dim"))
    return [*made, *(Text() for _ in range(height - len(made)))][:height]


_Lines = list[tuple[int, list[Text]]]


def _window(entries: Sequence[Entry], chosen: int, height: int) -> tuple[_Lines, list[Entry]]:
    """Return the entries that fit around the one chosen, and those that do not."""
    brief = [(index, [one.row, *one.matters]) for index, one in enumerate(entries)]
    left = height - sum(len(lines) for _, lines in brief)
    if left >= 0:
        for index in sorted(range(len(entries)), key=lambda index: index != chosen):
            more = entries[index].more
            if len(more) <= left:
                brief[index][1].extend(more)
                left -= len(more)
        return brief, []
    # A line says how many are left out; with two lines the one chosen has both.
    left = height - 1 if height > 2 else height
    first = last = min(chosen, len(brief) - 1)
    left -= len(brief[first][1])
    while True:
        if last + 1 < len(brief) and len(brief[last + 1][1]) <= left:
            last += 1
            left -= len(brief[last][1])
        elif first > 0 and len(brief[first - 1][1]) <= left:
            first -= 1
            left -= len(brief[first][1])
        else:
            break
    hidden = [*entries[:first], *entries[last + 1 :]]
    return brief[first : last + 1], hidden if height > 2 else []


def _page(lines: Sequence[Text], scroll: int, size: tuple[int, int]) -> list[Text]:
    """Return the part of a long text that is on the screen."""
    columns, height = size
    del columns
    first = max(0, min(scroll, len(lines) - height))
    shown = [Text("  ").append_text(one) for one in lines[first : first + height]]
    if first + height < len(lines) and shown:
        shown[-1] = Text(f"  ... {len(lines) - first - height + 1} more lines below", "dim")
    return [*shown, *(Text() for _ in range(height - len(shown)))]


def evened(view: View, snapshot: Snapshot, size: tuple[int, int], marks: Glyphs, now: float) -> View:
    """Return the view with a scroll that is no farther than the end of what is shown."""
    if view.mode is Mode.LISTS or not view.scroll:
        return view
    columns, lines = size
    height = lines - len(_head(view, snapshot, columns, marks, now)) - 1
    length = len(lines_of(view, snapshot, columns - _MARGIN, marks, now))
    return attrs.evolve(view, scroll=min(view.scroll, max(0, length - height)))
