"""Decides what is in a receipt of IronMQ."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qcore_ironmq.answers import WORD

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from qcore.model import Settlement


class Reservation:
    """A message reserved by one process."""

    __slots__ = ("id", "message", "owner")

    def __init__(self, message: str, id: str, owner: str) -> None:
        self.message = message
        self.id = id
        #: of the process, as it names itself
        self.owner = owner

    def write(self) -> bytes:
        """Return it as a receipt."""
        return f"{self.owner}:{self.message}:{self.id}".encode()

    @property
    def posted(self) -> str:
        """Under which name it is noted that the message was posted anew; no id has a colon."""
        return f"{self.message}:posted"

    @classmethod
    def read(cls, receipt: bytes) -> Reservation | None:
        """Return what is in a receipt, None if it is none of ours."""
        parts = receipt.decode("utf-8", "replace").split(":")
        if len(parts) != 3 or not all(map(WORD.fullmatch, parts)):
            return None
        owner, message, id_ = parts
        return cls(message, id_, owner)

    def newest(self, known: Mapping[str, str]) -> Reservation:
        """Return the reservation that took this one's place, itself if none did."""
        return Reservation(self.message, known.get(self.message, self.id), self.owner)


def by_owner(settlements: Sequence[Settlement]) -> dict[str, list[tuple[Settlement, Reservation]]]:
    """Return settlements of receipts of ours, by the process that reserved them."""
    found: dict[str, list[tuple[Settlement, Reservation]]] = {}
    for one in settlements:
        reservation = Reservation.read(one.receipt)
        if reservation is not None:
            found.setdefault(reservation.owner, []).append((one, reservation))
    return found
