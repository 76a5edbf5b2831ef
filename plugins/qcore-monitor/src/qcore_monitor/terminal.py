"""How a terminal is taken over, painted and given back."""

from __future__ import annotations

import contextlib
import io
import os
import select
import termios
import tty
from typing import TYPE_CHECKING, Any, Final, Self, TextIO

from rich.console import Console

from qcore_monitor.keys import decode

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from rich.text import Text

#: another page, an invisible cursor, and lines that do not flow into the next
_ENTER: Final = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J"
_LEAVE: Final = "\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l"
#: what is between these two is shown at once by terminals that can
_BEGIN, _END = "\x1b[?2026h", "\x1b[?2026l"
#: Seconds after an escape in which the rest of a key's sequence comes.
_REST: Final = 0.05


class Terminal:
    """A terminal in our hands; as a context manager it is given back as it was, whatever happens."""

    def __init__(self, keys: TextIO, screen: TextIO) -> None:
        self._keys = keys.fileno()
        self._screen = screen
        self._before: list[Any] | None = None
        self._painted: list[str] = []
        self._size = (0, 0)

    @property
    def fd(self) -> int:
        """What is to be waited for: it can be read when a key was pressed."""
        return self._keys

    def __enter__(self) -> Self:
        """Take the terminal over."""
        self._before = termios.tcgetattr(self._keys)
        # Control-C stays a signal: it ends us although we may be waiting.
        tty.setcbreak(self._keys, termios.TCSADRAIN)
        self._write(_ENTER)
        self._painted = []
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give it back as it was; one that is gone needs nothing."""
        with contextlib.suppress(OSError):
            self._write(_LEAVE)
        if self._before is not None:
            with contextlib.suppress(termios.error):
                termios.tcsetattr(self._keys, termios.TCSADRAIN, self._before)
            self._before = None

    def size(self) -> tuple[int, int]:
        """Return columns and lines."""
        try:
            found = os.get_terminal_size(self._screen.fileno())
        except OSError:
            return 80, 24
        # Some say 0 x 0 before they know.
        return found.columns or 80, found.lines or 24

    def pressed(self) -> list[str] | None:
        """Return the keys that were pressed, None when the terminal is gone."""
        try:
            data = os.read(self._keys, 1024)
            keys, rest = decode(data)
            while rest:
                more = b""
                if select.select([self._keys], [], [], _REST)[0]:
                    more = os.read(self._keys, 1024)
                found, rest = decode(rest + more, last=not more)
                keys += found
        except OSError:
            return None
        return keys if data else None

    def paint(self, lines: Sequence[Text]) -> None:
        """Show lines, one for each of the screen's; what has not changed is left alone."""
        size = self.size()
        if size != self._size:
            self._size, self._painted = size, []
        drawn = self._draw(lines, size[0])
        parts = [] if self._painted else ["\x1b[2J"]
        for row, text in enumerate(drawn):
            if row >= len(self._painted) or self._painted[row] != text:
                parts.append(f"\x1b[{row + 1};1H{text}")
        if parts:
            self._write(f"{_BEGIN}{''.join(parts)}{_END}")
        self._painted = drawn

    def _draw(self, lines: Sequence[Text], width: int) -> list[str]:
        """Return lines as the bytes this terminal shows in colours, if it has any."""
        colours = Console(file=self._screen, force_terminal=True)
        page = Console(
            file=io.StringIO(),
            force_terminal=True,
            color_system=colours.color_system or None,  # type: ignore[arg-type]  # rich returns what it takes
            no_color=colours.no_color,
            width=width,
            highlight=False,
            legacy_windows=False,
        )
        drawn = []
        for one in lines:
            with page.capture() as captured:
                page.print(one, end="", no_wrap=True, overflow="crop", crop=True, soft_wrap=False)
            drawn.append(captured.get())
        return drawn

    def _write(self, text: str) -> None:
        self._screen.write(text)
        self._screen.flush()
