"""Which characters a terminal is trusted with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TextIO

import attrs

from qcore.cli.text import cut, cut_within
from qcore_text.sanitize import line

if TYPE_CHECKING:
    from collections.abc import Mapping


@attrs.frozen(kw_only=True)
class Glyphs:
    """The characters a screen is drawn with; each takes one cell."""

    #: stands for what was cut off
    more: str
    chosen: str
    #: the done and the open part of a bar
    bar: str
    #: how the keys that move are called
    arrows: str
    #: what the terminal understands
    encoding: str

    def text(self, text: str) -> str:
        """Return a stranger's text on one line, harmless, `?` for what the terminal cannot show."""
        return line(text).encode(self.encoding, "replace").decode(self.encoding)

    def cut(self, text: str, max_width: int) -> str:
        """Return a line that takes at most `max_width` cells."""
        return cut(text, max_width, self.more)

    def cut_within(self, text: str, max_width: int) -> str:
        """Return a name that takes at most `max_width` cells, cut in its middle."""
        return cut_within(text, max_width, self.more)


UNICODE: Final = Glyphs(more="…", chosen="▸", bar="█░", arrows="↑↓", encoding="utf-8")
ASCII: Final = Glyphs(more="~", chosen=">", bar="#.", arrows="j k", encoding="ascii")


def glyphs_for(stream: TextIO, environment: Mapping[str, str]) -> Glyphs:
    """Return what suits a terminal: plain ASCII unless its locale says UTF-8."""
    locale = environment.get("LC_ALL") or environment.get("LC_CTYPE") or environment.get("LANG") or "C"
    if locale == "C.UTF-8" and not environment.get("LC_ALL"):
        # Python sets it by itself where the locale is C: only LANG tells what the user said.
        locale = environment.get("LANG") or "C"
    knows = locale.lower().replace("-", "").endswith("utf8")
    return UNICODE if knows and stream.encoding.lower().replace("-", "") == "utf8" else ASCII
