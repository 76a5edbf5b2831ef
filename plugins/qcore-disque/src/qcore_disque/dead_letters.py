"""Decides how dead letters are found on all nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qcore.errors import ConfigError
from qcore_disque.lease import job_of
from qcore_disque.node import checked
from qcore_disque.replies import count, listed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qcore.model import DeadLetter
    from qcore_disque.copies import Copies, Copy
    from qcore_disque.nodes import Nodes


#: what the queue of a queue's dead letters has behind its name
_SUFFIX: Final = b":dead-letters"


def dead_letters_of(queue: bytes) -> bytes:
    """Return the name of the queue of a queue's dead letters; no queue of a user's may have such a name."""
    if queue.endswith(_SUFFIX):
        problem = f"name: got {queue.decode()!r}, which Disque has for another queue's dead letters"
        raise ConfigError([f"{problem}; choose a name that does not end in {_SUFFIX.decode()}"])
    return queue + _SUFFIX


class DeadLetters:
    """The dead letters of a queue: jobs of a queue of their own, which nobody leases."""

    def __init__(self, nodes: Nodes, copies: Copies, queue: bytes) -> None:
        self._nodes, self._copies, self._queue = nodes, copies, queue

    def listed(self, limit: int, after: str | None) -> Sequence[DeadLetter]:
        """Return letters of all nodes in the order they died, behind the one of this id."""
        found: dict[str, DeadLetter] = {}
        self._nodes.look_again()
        for node in self._nodes.every():
            for length in self._nodes.ask(node, [(b"QLEN", self._queue)]):
                peek = (b"QPEEK", self._queue, max(1, count(length, node.title)))
                for reply in self._nodes.ask(node, [peek]):
                    found |= {letter.id: letter for letter in listed(checked(reply, node.title))}
        letters = sorted(found.values(), key=_age)
        if after is not None:
            names = [letter.id for letter in letters]
            letters = letters[names.index(after) + 1 :] if after in names else []
        return letters[:limit]

    def find(self, ids: Sequence[str]) -> dict[bytes, Copy]:
        """Return a copy of each letter of these ids that is there."""
        jobs = dict.fromkeys(job for text in ids if (job := job_of(text.encode("utf-8", "replace"))))
        self._nodes.look_again()
        return self._copies.queued(self._queue, list(jobs)) if jobs else {}


def _age(letter: DeadLetter) -> tuple[float, str]:
    return letter.dead_since, letter.id
