"""Decides what a message in an answer is, whoever posted it."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final, NamedTuple

from qcore_ironmq import codec
from qcore_plugin_support import CountedMessage, count_of

if TYPE_CHECKING:
    from collections.abc import Iterable

#: what ids are made of; others could not be named in a path or a receipt
WORD: Final = re.compile(r"[A-Za-z0-9_-]{1,200}")


class ReadMessage(NamedTuple):
    """One message as the service shows it."""

    id: str
    item: CountedMessage
    #: how often it was reserved, this time included
    reserved: int
    #: empty where the answer has none
    reservation: str

    @property
    def deliveries(self) -> int:
        """Return how often it was handed out, before it was posted anew too."""
        return count_of(self.item.deliveries + self.reserved)


def read(answer: object) -> ReadMessage | None:
    """Return a message; None if nothing could be done with it, because it has no id."""
    if not isinstance(answer, dict):
        return None
    id_, reservation = (_word(answer.get(key)) for key in ("id", "reservation_id"))
    if not id_:
        return None
    body, count = answer.get("body"), answer.get("reserved_count")
    # what is not a text was posted by nobody we know; as a text it can be dead-lettered
    item = codec.decode(body) if isinstance(body, str) else CountedMessage(json.dumps(body).encode())
    reserved = count if type(count) is int and count > 0 else 1
    return ReadMessage(id_, item, count_of(reserved), reservation)


def readable(found: Iterable[object], *, reserved: bool) -> tuple[list[ReadMessage], list[object]]:
    """Return messages, and what is none."""
    good: list[ReadMessage] = []
    strange: list[object] = []
    for one in found:
        answer = read(one)
        if answer is None or (reserved and not answer.reservation):
            strange.append(one)
        else:
            good.append(answer)
    return good, strange


def _word(value: object) -> str:
    text = str(value) if type(value) in {str, int} else ""
    return text if WORD.fullmatch(text) else ""
