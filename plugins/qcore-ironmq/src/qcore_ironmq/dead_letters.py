"""Dead letters: messages of a queue of their own."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, Final

from qcore.model import DeadLetter
from qcore_ironmq.answers import ReadMessage, read, readable
from qcore_ironmq.client import NotFound

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qcore_ironmq.client import Client
    from qcore_plugin_support import CountedMessage

_log = logging.getLogger("qcore_ironmq.dead_letters")

#: messages the service shows at most
_SHOWN: Final = 100
#: seconds letters are out of sight of others while more than that are listed
_LISTED: Final = 30


class DeadLetters:
    """The dead letters of a queue."""

    def __init__(self, link: Client, queue: str) -> None:
        self._link = link
        self.queue = queue

    def count(self) -> int:
        """Return how many there are."""
        return self._link.size(self.queue)

    def listed(self, limit: int, after: str | None) -> Sequence[DeadLetter]:
        """Return letters in the order they died, behind the one of this id."""
        found = self._peeked() if self.count() <= _SHOWN else self._reserved()
        letters = sorted((_letter(one) for one in found), key=lambda letter: (letter.dead_since, letter.id))
        if after is not None:
            names = [letter.id for letter in letters]
            letters = letters[names.index(after) + 1 :] if after in names else letters
        return letters[:limit]

    def find(self, ids: Sequence[str]) -> dict[str, CountedMessage]:
        """Return those letters of these ids that are there."""
        found = {}
        for id_ in dict.fromkeys(ids):
            if id_.isascii() and id_.isalnum():
                with contextlib.suppress(NotFound):
                    answer = self._link.call("GET", self.queue, f"/messages/{id_}", promised="message")
                    if letter := read({**answer, "id": id_}):
                        found[id_] = letter.item
        return found

    def delete(self, ids: Sequence[str]) -> int:
        """Remove letters; return how many were there."""
        count = 0
        for id_ in ids:
            with contextlib.suppress(NotFound):
                self._link.call("DELETE", self.queue, f"/messages/{id_}", {})
                count += 1
        return count

    def _peeked(self) -> list[ReadMessage]:
        try:
            path = f"/messages?n={_SHOWN}"
            found = self._link.call("GET", self.queue, path, promised="messages")
        except NotFound:
            return []
        return self._readable(found, reserved=False)

    def _reserved(self) -> list[ReadMessage]:
        """Return all letters: the service shows a hundred, so they are reserved and given back."""
        found: list[ReadMessage] = []
        asked = {"n": _SHOWN, "timeout": _LISTED, "wait": 0, "delete": False}
        try:
            while batch := self._link.call("POST", self.queue, "/reservations", asked, promised="messages"):
                good = self._readable(batch, reserved=True)
                found += good
                if not good:
                    break
        finally:
            for one in found:
                with contextlib.suppress(NotFound):
                    body = {"reservation_id": one.reservation, "delay": 0}
                    self._link.call("POST", self.queue, f"/messages/{one.id}/release", body)
        return found

    def _readable(self, found: list[object], *, reserved: bool) -> list[ReadMessage]:
        good, strange = readable(found, reserved=reserved)
        if strange:
            what = "dead letters that cannot be read are ignored: %d, in queue %s; the first is %.200r"
            _log.error(what, len(strange), self.queue, strange[0])
        return good


def _letter(answer: ReadMessage) -> DeadLetter:
    item = answer.item
    return DeadLetter(answer.id, item.body, item.reason, item.written_at, item.failures, item.crashes)
