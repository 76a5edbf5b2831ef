"""Progress is a bar on a terminal and lines in a pipe."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from qcore.cli.progress import Bar, Lines, Silent, progress

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.portable


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Return what moves the clock on."""
    now = [100.0]
    monkeypatch.setattr("qcore.cli.progress.time.monotonic", lambda: now[0])

    def move(seconds: float) -> None:
        now[0] += seconds

    return move


def test_a_pipe_gets_a_line_now_and_then(
    clock: Callable[[float], None], capsys: pytest.CaptureFixture[str]
) -> None:
    """Whole lines on standard error, none of them within two seconds of another."""
    with progress(2000, "files") as shown:
        for done in range(0, 2000, 100):
            clock(0.5)
            shown.show(done, "1 kills")

    out, err = capsys.readouterr()
    assert isinstance(shown, Lines)
    assert out == ""
    assert err.splitlines()[0] == "300 of 2,000 files (15 %), 1 kills"
    assert len(err.splitlines()) == 5


def test_a_terminal_gets_one_line_painted_anew(
    clock: Callable[[float], None], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never wider than the terminal, and ended when all is done."""
    monkeypatch.setenv("COLUMNS", "40")

    with Bar(200, "files") as shown:
        for done in (0, 50, 51, 200):
            clock(0.06)
            shown.show(done)

    # what wipes the line is left out by click where there is no terminal
    paintings = capsys.readouterr().err.split("\r")[1:]
    assert [painting[:32] for painting in paintings] == [
        f"[{'.' * 30}]",
        f"[{'#' * 7}{'.' * 23}]",
        f"[{'#' * 30}]",
    ]
    assert all(len(painting.rstrip("\n")) <= 39 for painting in paintings)
    assert paintings[-1].endswith("\n")


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bar is painted where somebody looks, and nowhere else."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)

    assert isinstance(progress(1, "files"), Bar)


def test_who_wants_json_gets_no_progress() -> None:
    """Not even on a terminal."""
    assert isinstance(progress(1, "files", silent=True), Silent)
