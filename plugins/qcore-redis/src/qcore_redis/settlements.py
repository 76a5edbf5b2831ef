"""Decides how settlements are passed to the script: lease by lease."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qcore.model import Action
from qcore_redis.codec import is_far, is_receipt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qcore.model import Settlement

#: found once, because Python 3.11 makes two calls to find a member
_ACK: Final = Action.ACK


def words(settlements: Sequence[Settlement]) -> tuple[int, list[bytes | str | int]]:
    """Return the number of leases and the script's arguments for them."""
    leases: dict[bytes, dict[bytes, Settlement]] = {}
    for settlement in settlements:
        receipt = settlement.receipt
        if is_receipt(receipt):
            # of several settlements of one message the first counts
            leases.setdefault(receipt[:-2], {}).setdefault(receipt[-2:], settlement)
    packed: list[bytes | str | int] = []
    for token, found in leases.items():
        packed += _lease(token, found)
    return len(leases), packed


def _lease(token: bytes, found: dict[bytes, Settlement]) -> list[bytes | str | int]:
    acks: list[bytes] = []
    others: list[bytes | str | int] = []
    careful = False
    for index, one in found.items():
        far = is_far(one.receipt)
        careful = careful or far
        if one.action is _ACK:
            acks.append(bytes([index[0] & 0x7F, index[1]]) if far else index)
        else:
            others += [
                int.from_bytes(index, "big") & 0x7FFF,
                int(one.action),
                max(0, round(one.delay * 1000)),
                one.failures,
                one.crashes,
                # the text of an error may be no proper text
                one.reason.encode(errors="backslashreplace"),
            ]
    return [token, b"".join(acks), b"1" if careful else b"0", len(others) // 6, *others]
