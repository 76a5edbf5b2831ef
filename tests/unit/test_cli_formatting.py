"""Figures are short, and never say more than is known."""

from __future__ import annotations

import pytest

from qcore.cli import formatting
from qcore.cli.text import columns, cut, cut_within, width
from qcore.status import Percentiles, Progress

pytestmark = pytest.mark.portable

MIB = 1024 * 1024


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "0.0ms"),
        (0.0004, "0.4ms"),
        (0.00099, "1ms"),
        (0.0123, "12ms"),
        (0.9996, "1.0s"),
        (1.24, "1.2s"),
        (9.99, "10s"),
        (119, "119s"),
        (180, "3m"),
        (7300, "2h"),
        (86400 * 40, "40d"),
        (-1, "0.0ms"),
        (float("inf"), "?"),
    ],
)
def test_a_span_takes_five_characters(seconds: float, expected: str) -> None:
    """Milliseconds to days, in the unit that fits."""
    assert formatting.span(seconds) == expected
    assert len(expected) <= 5


@pytest.mark.parametrize(
    ("per_second", "expected"),
    [
        (0, "0/s"),
        (0.001, "1/min"),
        (0.5, "30/min"),
        (0.96, "1.0/s"),
        (12.34, "12.3/s"),
        (12345.6, "12,346/s"),
    ],
)
def test_a_rate_is_told_in_the_unit_that_shows_it(per_second: float, expected: str) -> None:
    """A rare task is not a rate of zero."""
    assert formatting.rate(per_second) == expected


@pytest.mark.parametrize(
    ("amount", "expected"),
    [(0, "-"), (512, "0.5 KiB"), (5 * MIB, "5.0 MiB"), (300 * MIB, "300 MiB"), (1024 * MIB, "1.0 GiB")],
)
def test_memory_has_its_unit_and_a_dash_where_it_is_not_known(amount: int, expected: str) -> None:
    """A process cannot have zero bytes."""
    assert formatting.size(amount) == expected


def test_causes_are_told_in_one_order_without_those_that_did_not_happen() -> None:
    """An unknown cause is shown too."""
    assert formatting.causes({"odd": 1, "crashed": 2, "recycled": 1000, "timeout": 0}) == (
        "1,000 recycled, 2 crashed, 1 odd"
    )
    assert formatting.causes({}) == "-"


@pytest.mark.parametrize(
    ("progress", "expected"),
    [
        (None, ""),
        (Progress(done=0, total=10), "............   0 %"),
        (Progress(done=5, total=10), "######......  50 %"),
        (Progress(done=999, total=1000), "###########.  99 %"),
        (Progress(done=12, total=10), "############ 100 %"),
        (Progress(done=1234), "1,234 done"),
        (Progress(done=float("nan"), total=1), "nan done"),
    ],
)
def test_a_bar_is_full_only_when_all_is_done(progress: Progress | None, expected: str) -> None:
    """99.9 % is not 100 %, and a task that does not know the whole has no bar."""
    assert formatting.progress(progress) == expected


def test_a_spread_shows_median_and_tail() -> None:
    """Each in its own unit."""
    assert formatting.spread(Percentiles(p50=0.012, p99=1.5)) == "12ms/1.5s"
    assert formatting.spread(None) == "-"


def test_columns_line_up_whatever_a_character_takes() -> None:
    """Wide characters take two cells, and figures end at one edge."""
    told = columns([("商店", 5, "x"), ("shop", 1234, "y")], ("name", "size", "last"), right=("size",))

    assert told == ["NAME  SIZE  LAST", "商店     5  x", "shop  1234  y"]


@pytest.mark.parametrize(
    ("text", "room", "expected"),
    [
        ("shop", 4, "shop"),
        ("shops", 4, "s..."),
        ("商店商店", 7, "商店..."),
        ("商店商店", 6, "商..."),
        ("abc", 2, ".."),
    ],
)
def test_a_line_is_cut_by_cells(text: str, room: int, expected: str) -> None:
    """What is cut says so, and nothing goes over the edge."""
    assert cut(text, room) == expected
    assert width(cut(text, room)) <= room


@pytest.mark.parametrize(
    ("text", "room", "expected"),
    [
        ("night-12", 8, "night-12"),
        ("region-north-12", 9, "reg...-12"),
        ("region", 4, "r..."),
        ("商店の名前12", 9, "商...12"),
    ],
)
def test_a_name_is_cut_in_its_middle(text: str, room: int, expected: str) -> None:
    """Names that begin alike stay apart."""
    assert cut_within(text, room) == expected
    assert width(cut_within(text, room)) <= room


def test_columns_of_names_give_way_where_room_is_short() -> None:
    """Figures stay whole; in a pipe everything does."""
    rows = [("cluster-of-the-north-1", 1234567, "host-1.example.org"), ("cluster-of-the-north-2", 5, "h")]

    told = columns(rows, ("cluster", "size", "host"), right=("size",), soft=("cluster", "host"), max_width=36)

    assert told == [
        "CLUSTER          SIZE  HOST",
        "cluste~rth-1  1234567  host-1~le.org",
        "cluste~rth-2        5  h",
    ]


def test_a_sentence_in_a_column_is_visibly_cut() -> None:
    """A single mark amid a sentence reads like a letter: no task 'sh~e'."""
    reason = "failure in attempt 2: TaskNotFound: no task 'shop.prise': shop has no 'prise'; did you mean it?"

    told = columns([("1", reason)], ("id", "reason"), soft=("reason",), max_width=90)

    assert width(told[1]) <= 90
    assert "..." in told[1]
    assert "~" not in told[1]
