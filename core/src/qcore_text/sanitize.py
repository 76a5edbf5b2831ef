"""Removes terminal control characters from untrusted text."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

#: escape sequences that a terminal executes, including the text they carry
_ESCAPES: Final = re.compile(
    r"(?:\x1b\]|\x9d)[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"  # OSC: titles, clipboard, links
    r"|(?:\x1b[PX^_]|[\x90\x98\x9e\x9f])[^\x1b\x9c]*(?:\x1b\\|\x9c)?"  # DCS, SOS, PM, APC
    r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"  # CSI: colours, cursor
    r"|\x1b[ -/]*[0-~]?"
)
#: invisible, but part of words and of emoji
JOINERS: Final = "\u200c\u200d"
#: control, format, surrogate, private use, line and paragraph separators
_INVISIBLE: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})


def clean(text: str, keep: str = "\n\t") -> str:
    """Return text without control characters, escape sequences and changes of text direction."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(char for char in _ESCAPES.sub("", text) if char in keep or _visible(char))


def line(text: str) -> str:
    """Return cleaned text on one line, with blanks for line ends."""
    return clean(" ".join(text.split()), keep="")


def _visible(char: str) -> bool:
    return char in JOINERS or unicodedata.category(char) not in _INVISIBLE
