"""Dead letters: messages of a queue of their own."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, Final

from qcore.errors import ConfigError
from qcore.model import DeadLetter
from qcore_ironmq.answers import ReadMessage, read, readable
from qcore_ironmq.client import NotFound
from qcore_ironmq.looking import SHOWN, peek

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qcore_ironmq.client import Client
    from qcore_plugin_support import CountedMessage

_log = logging.getLogger("qcore_ironmq.dead_letters")

#: seconds letters are out of sight of others while more than that are listed
_LISTED: Final = 30
#: what the queue of a queue's dead letters has behind its name
_SUFFIX: Final = ".dead_letters"


def dead_letters_of(queue: str) -> str:
    """Return the name of the queue of a queue's dead letters; no queue of a user's may have such a name.

    Raises:
        ConfigError: this one has.

    """
    if queue.endswith(_SUFFIX):
        problem = f"name: got {queue!r}, which IronMQ has for another queue's dead letters"
        raise ConfigError([f"{problem}; choose a name that does not end in {_SUFFIX}"])
    return queue + _SUFFIX


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
        found = self._peeked() if self.count() <= SHOWN else self._reserved()
        letters = sorted((_letter(one) for one in found), key=lambda letter: (letter.dead_since, letter.id))
        if after is not None:
            names = [letter.id for letter in letters]
            letters = letters[names.index(after) + 1 :] if after in names else []
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
        return self._readable(peek(self._link, self.queue, SHOWN), reserved=False)

    def _reserved(self) -> list[ReadMessage]:
        """Return all letters: the service shows a hundred, so they are reserved and given back."""
        found: list[ReadMessage] = []
        asked = {"n": SHOWN, "timeout": _LISTED, "wait": 0, "delete": False}
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
