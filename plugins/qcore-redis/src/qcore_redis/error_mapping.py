"""Decides what a fault of Redis means to the caller."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from qcore.errors import BackendRejected, BackendUnavailable
from qcore_text.wording import if_nobody_listens

if TYPE_CHECKING:
    from qcore.errors import BackendError

#: first word of an error -> what to report; a later call may find it gone
_PASSING: Final = {
    "LOADING": "it is still reading its data from disk; it will answer once that is done",
    "READONLY": "it is a replica and takes no writes; a failover may be under way, else name the primary",
    "MASTERDOWN": "it is a replica that lost its primary; wait for the failover or mend the primary",
    "NOREPLICAS": "too few replicas are connected for it to take writes (min-replicas-to-write)",
    "CLUSTERDOWN": "its cluster is down; see `CLUSTER INFO`",
    "TRYAGAIN": "its cluster is moving this queue to another node",
    "ASK": "its cluster is moving this queue to another node",
    "MOVED": "its cluster has this queue on another node; name the cluster, as redis+cluster://host:port",
    "non local key": "its cluster is moving this queue to another node",
    "BUSY": "a script of somebody's keeps it busy; see `SCRIPT KILL`",
    "OOM": "it is at its `maxmemory` and takes nothing new; let the workers drain it or give it more",
    "MISCONF": "it cannot write to its disk and takes no writes; look at its log",
    "UNBLOCKED": "somebody ended the wait",
    "ERR max": "it has as many clients as it takes (maxclients)",
}
#: first word of an error -> what to report; asking again does not help
_LASTING: Final = {
    "NOAUTH": "it wants a password; set `redis.password`",
    "WRONGPASS": "it does not take this user name and password; see `redis.username`, `redis.password`",
    "NOPERM": "its user may not do this; see `ACL LIST` for what it lacks",
    "DENIED": "it runs in protected mode; give it a password or let it listen elsewhere",
    "WRONGTYPE": "a key of this queue holds something else; does another program write to it",
}

_CHANGING: Final = {"CLUSTERDOWN", "TRYAGAIN", "ASK", "MOVED", "non local key"}


class ClusterChanging(BackendUnavailable):
    """The cluster is being changed; nothing was done."""


class WrongType(BackendRejected):
    """A key of the queue holds something of another kind."""


class Crowded(BackendUnavailable):
    """All connections of this process are in use; nothing was asked."""


def refused(error: BaseException, address: str) -> BackendError:
    """Return the error to raise for an error reply of the server."""
    text = str(error)
    inner = re.search(r"-([A-Z]+) ", text) if text.startswith("ERR Error running script") else None
    # Redis 6.2 wraps what stops a script
    word = inner[1] if inner else text.partition(" ")[0]
    if text.startswith("ERR max number of clients"):
        word = "ERR max"
    elif "access a non local key" in text:
        word = "non local key"
    elif "cluster is down" in text:
        word = "CLUSTERDOWN"
    if word in _PASSING:
        kind = ClusterChanging if word in _CHANGING else BackendUnavailable
        return kind(f"redis at {address} refuses: {_PASSING[word]} ({text})"[:500])
    if text.startswith("ERR invalid password"):
        word = "WRONGPASS"
    if word in _LASTING:
        lasting = WrongType if word == "WRONGTYPE" else BackendRejected
        return lasting(f"redis at {address} refuses: {_LASTING[word]} ({text})"[:500])
    return BackendRejected(f"redis at {address} refuses: {text}"[:500])


def is_changing(error: BaseException) -> bool:
    """Return whether a cluster did nothing, because it is being changed; it may be asked again."""
    return str(error).startswith(("MOVED ", "ASK ", "TRYAGAIN", "CLUSTERDOWN"))


def redirection(error: BaseException) -> tuple[str, str]:
    """Return the word of an error and the node that it names, as `host:port`, or nothing."""
    word, *rest = str(error).split(" ")
    return word, rest[1] if word in {"MOVED", "ASK"} and len(rest) > 1 else ""


def lost(error: BaseException, address: str, *, unknown_outcome: str = "") -> BackendUnavailable:
    """Return the error to raise when the connection is gone."""
    message = str(error) or type(error).__name__
    message += if_nobody_listens(message, "`redis`")
    return BackendUnavailable(
        f"redis at {address} does not answer: {message}{unknown_outcome and '; '}{unknown_outcome}"[:500]
    )


def is_moved(error: BaseException) -> bool:
    """Return whether another server must be asked instead; nothing was done then."""
    return str(error).startswith(("MOVED ", "READONLY "))
