"""Packs crashes and suspicions of a message into one number."""

from __future__ import annotations

from typing import Final

# Every broker returns the number of crashes with the next delivery, and the results keep it where a
# broker does not. So the suspicion travels in the upper bits of that number.

#: The crashes of a message are the bits below this one, its suspicions those from it on.
_BITS: Final = 20
#: The most crashes, and the most suspicions, that are counted.
_MOST_CRASHES: Final = (1 << _BITS) - 1
_MOST_SUSPICIONS: Final = 1023


def split(crashes: int) -> tuple[int, int]:
    """Return the crashes that a message is charged with, and how often it was suspected."""
    return crashes & _MOST_CRASHES, crashes >> _BITS


def join(crashes: int, suspected: int) -> int:
    """Return both as the one number that a broker keeps."""
    return min(crashes, _MOST_CRASHES) | min(suspected, _MOST_SUSPICIONS) << _BITS
