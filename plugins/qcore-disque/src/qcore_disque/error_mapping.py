"""Decides what a fault of Disque means to the caller."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import redis

from qcore.errors import BackendRejected, BackendUnavailable
from qcore_text.wording import if_nobody_listens

if TYPE_CHECKING:
    from qcore.errors import BackendError

#: first word of an error -> what to report; a later call may find it gone
_PASSING: Final = {
    "NOREPL": "too few of its nodes can be reached for as many copies of a job as `disque_replicate` says;"
    " bring nodes back, or set it lower (1: a job is lost with its node)",
    "PAUSED": "the queue is paused; `PAUSE queue none` lets it go on",
    "LEAVING": "the node is leaving its cluster",
    "OOM": "it is at its memory limit and takes nothing new; let the workers drain it",
    "LOADING": "it is still reading its data from disk",
    "MAXLEN": "the queue is at its limit",
}
#: those of them that are one node's: another one may take it
_OF_NODE: Final = ("LEAVING", "OOM")
#: first word of an error -> what to report; asking again does not help
_LASTING: Final = {
    "NOAUTH": "it wants a password; set `disque_auth`",
    "ERR invalid password": "it does not take this password; see `disque_auth`",
    "ERR Client sent AUTH": "it has no password; leave `disque_auth` out",
}


def refused(error: BaseException | str, title: str) -> BackendError:
    """Return the error to raise for an error reply of the server."""
    text = _whole(error)
    for words, message in _PASSING.items():
        if text.startswith(words):
            return BackendUnavailable(f"disque at {title} refuses: {message} ({text})"[:500])
    for words, message in _LASTING.items():
        if text.startswith(words):
            return BackendRejected(f"disque at {title} refuses: {message} ({text})"[:500])
    return BackendRejected(f"disque at {title} refuses: {text}"[:500])


def is_of_node(error: BaseException) -> bool:
    """Return whether another node may do what this one refuses."""
    return _whole(error).startswith(_OF_NODE)


def lost(error: BaseException, nodes: str, *, unknown_outcome: str = "") -> BackendUnavailable:
    """Return the error to raise when no node answers, or an answer is lost."""
    message = str(error).rstrip(".") or type(error).__name__
    message += if_nobody_listens(message, "`disque_nodes`")
    return BackendUnavailable(
        f"disque at {nodes} does not answer: {message}{unknown_outcome and '; '}{unknown_outcome}"[:500]
    )


def stranger(title: str, why: str) -> BackendRejected:
    """Return the error to raise for an answer that Disque does not give."""
    return BackendRejected(f"what answers at {title} is not a Disque: {why}; see `disque_nodes`"[:500])


def _whole(error: BaseException | str) -> str:
    """Return the text of an error reply: redis-py cuts the first word off those it has a class for."""
    return f"OOM {error}" if isinstance(error, redis.exceptions.OutOfMemoryError) else str(error)
