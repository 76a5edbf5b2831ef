"""Which bytes of a terminal are which key."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

_SEQUENCES: Final = MappingProxyType(
    {
        **{f"\x1b{intro}{end}": key for intro in "[O" for end, key in zip("ABCDHF", (
            "up", "down", "right", "left", "home", "end"), strict=True)},
        "\x1b[Z": "backtab",
        "\x1b[1~": "home",
        "\x1b[4~": "end",
        "\x1b[5~": "page up",
        "\x1b[6~": "page down",
    }
)  # fmt: skip
_SINGLE: Final = MappingProxyType(
    {"\t": "tab", "\r": "enter", "\n": "enter", "\x7f": "back", "\x08": "back", " ": "page down"}
)
#: Longest sequence that is waited for: a longer one is none of ours.
_LONGEST: Final = 12


def decode(data: bytes, *, last: bool = False) -> tuple[list[str], bytes]:
    """Return the keys pressed and what may be the beginning of one more.

    Args:
        data: what was read.
        last: nothing more comes soon: an escape alone is the key of that name.

    """
    text, keys = data.decode("utf-8", "replace"), []
    while text:
        if text[0] != "\x1b":
            keys.append(_SINGLE.get(text[0], text[0]))
            text = text[1:]
            continue
        length = _sequence(text)
        if length:
            found = _SEQUENCES.get(text[:length])
            keys += [found] if found else []
            text = text[length:]
        elif last or len(text) > _LONGEST:
            keys.append("escape")
            text = text[1:]
        else:
            break
    return keys, text.encode()


def _sequence(text: str) -> int:
    """Return the length of the escape sequence a text begins with, 0 if it has not ended yet."""
    if len(text) < 2:
        return 0
    if text[1] == "O":
        return 3 if len(text) > 2 else 0
    if text[1] != "[":
        # An escape, and then another key.
        return 0 if text[1] == "\x1b" else 2
    return next((index + 1 for index, char in enumerate(text) if index > 1 and "@" <= char <= "~"), 0)
