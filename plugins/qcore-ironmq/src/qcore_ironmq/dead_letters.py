"""Dead letters: messages of a queue of their own."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final

from qcore.model import DeadLetter
from qcore_ironmq.client import WorkerExit
from qcore_ironmq.codec import Item

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qcore_ironmq.client import Client

#: messages the service shows at most
_SHOWN: Final = 100
#: seconds letters are out of sight of others while more than that are listed
_LISTED: Final = 30


class Letters:
    """The dead letters of a queue."""

    def __init__(self, link: Client, queue: str) -> None:
        self._link = link
        self.queue = queue

    def count(self) -> int:
        """Return how many there are."""
        try:
            return int(self._link.call("GET", self.queue, promised="queue").get("size", 0))
        except WorkerExit:
            return 0

    def listed(self, limit: int, after: str | None) -> Sequence[DeadLetter]:
        """Return letters in the order they were buried, behind the one of this id."""
        found = self._peeked() if self.count() <= _SHOWN else self._reserved()
        letters = sorted((_letter(one) for one in found), key=lambda letter: (letter.dead_since, letter.id))
        if after is not None:
            names = [letter.id for letter in letters]
            letters = letters[names.index(after) + 1 :] if after in names else letters
        return letters[:limit]

    def find(self, ids: Sequence[str]) -> dict[str, Item]:
        """Return those letters of these ids that are there."""
        found = {}
        for id_ in dict.fromkeys(ids):
            if id_.isascii() and id_.isalnum():
                with contextlib.suppress(WorkerExit):
                    told = self._link.call("GET", self.queue, f"/messages/{id_}", promised="message")
                    found[id_] = Item.of_text(told["body"])
        return found

    def delete(self, ids: Sequence[str]) -> int:
        """Remove letters; return how many were there."""
        count = 0
        for id_ in ids:
            with contextlib.suppress(WorkerExit):
                self._link.call("DELETE", self.queue, f"/messages/{id_}", {})
                count += 1
        return count

    def _peeked(self) -> list[dict[str, Any]]:
        try:
            path = f"/messages?n={_SHOWN}"
            found: list[dict[str, Any]] = self._link.call("GET", self.queue, path, promised="messages")
        except WorkerExit:
            return []
        return found

    def _reserved(self) -> list[dict[str, Any]]:
        """Return all letters: the service shows a hundred, so they are reserved and given back."""
        found: list[dict[str, Any]] = []
        asked = {"n": _SHOWN, "timeout": _LISTED, "wait": 0, "delete": False}
        try:
            while batch := self._link.call("POST", self.queue, "/reservations", asked, promised="messages"):
                found += batch
        finally:
            for one in found:
                with contextlib.suppress(WorkerExit):
                    body = {"reservation_id": one["reservation_id"], "delay": 0}
                    self._link.call("POST", self.queue, f"/messages/{one['id']}/release", body)
        return found


def _letter(told: dict[str, Any]) -> DeadLetter:
    item = Item.of_text(told["body"])
    return DeadLetter(str(told["id"]), item.body, item.reason, item.dead_since, item.failures, item.crashes)
