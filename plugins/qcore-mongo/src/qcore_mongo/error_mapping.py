"""Decides what a fault of MongoDB means to the caller."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from pymongo import errors

from qcore.errors import BackendRejected, BackendUnavailable, PayloadTooLarge

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qcore.errors import BackendError

#: a key that is there already
DUPLICATE: Final = 11000
#: code of an error -> what to tell; a later call may find it gone
_PASSING: Final = {
    50: "it took longer than it was given",
    64: "a majority of its members did not confirm a write in time; are enough of them up?",
    388: "its cache is too small for a change of this size now; give it more, or send less at once",
    112: "another write came between",
    14031: "its disk is full",
}
#: the primary is gone, and cursors with it, the members are at odds, or a transaction met another one
_MOVING: Final = frozenset(
    {6, 7, 24, 43, 63, 89, 91, 100, 134, 150, 189, 202, 234, 237, 246, 251, 262, 280, 286, 290, 317, 358, 384}
    | {9001, 10058, 10107, 11600, 11602, 13388, 13435, 13436}
)
#: labels the server or the driver gives to what may be tried again
_LABELS: Final = ("RetryableWriteError", "TransientTransactionError", "UnknownTransactionCommitResult")
#: code of an error -> what to tell; asking again does not help
_LASTING: Final = {
    13: "its user may not do this; give it the role readWrite on the database",
    18: "it does not take this user name and password; see `mongo.username`, `password`, `authSource`",
    73: "a database cannot have this name; see `mongo_db`",
    85: "an index of this name is there with other options; drop it, it is made anew",
    86: "an index of this name is there on other fields; drop it, it is made anew",
}


def read(error: errors.PyMongoError, place: str, *, doubt: str = "") -> BackendError:
    """Return the error to raise for one of the driver's."""
    if isinstance(error, errors.DocumentTooLarge) or _codes(error) & {10334, 17280, 17419, 17420}:
        return PayloadTooLarge(
            f"mongodb at {place} takes no document of more than 16 MB: {_text(error)}"[:500]
        )
    if is_passing(error):
        codes = sorted(_codes(error) & _PASSING.keys())
        why = "; ".join(_PASSING[code] for code in codes) or "it does not answer"
        if _lacks_index(error):
            why = "an index that is asked for by name is gone; it is made anew"
        elif isinstance(error, errors.OperationFailure) and not codes:
            why = "its primary is changing"
        return BackendUnavailable(f"mongodb at {place}: {why} ({_text(error)}){doubt and '; '}{doubt}")
    if isinstance(error, errors.InvalidURI):
        # its text may hold the password
        return BackendRejected(
            "`mongo.host`: the URI cannot be read; write mongodb://user:password@host:port/database,"
            " with what is special in user and password quoted by %"
        )
    codes = sorted(_codes(error) & _LASTING.keys())
    why = "; ".join(_LASTING[code] for code in codes)
    return BackendRejected(f"mongodb at {place} refuses: {why}{why and ' '}({_text(error)})")


def is_passing(error: errors.PyMongoError) -> bool:
    """Return whether the same call may work later."""
    if isinstance(error, (errors.ConnectionFailure, errors.ExecutionTimeout, errors.WTimeoutError)):
        return True
    codes = _codes(error)
    if _lacks_index(error):
        return True
    return bool(codes & (_MOVING | _PASSING.keys())) or any(map(error.has_error_label, _LABELS))


def _lacks_index(error: errors.PyMongoError) -> bool:
    return 2 in _codes(error) and "hint provided does not correspond" in str(error)


def is_duplicate(error: errors.PyMongoError) -> bool:
    """Return whether nothing went wrong but that some keys were there already."""
    return _codes(error) == {DUPLICATE}


def _codes(error: errors.PyMongoError) -> set[int]:
    """Return every code that an error bears."""
    found = {error.code} if isinstance(error, errors.OperationFailure) else set()
    if isinstance(error, errors.BulkWriteError):
        # its own code says only that it is one
        found = {inner.get("code") for inner in _inner(error.details or {})}
    return {code for code in found if isinstance(code, int)}


def _inner(details: Any) -> Iterator[Any]:  # noqa: ANN401 - what the driver has gathered
    for name in ("writeErrors", "writeConcernErrors"):
        yield from details.get(name, ())


def _text(error: errors.PyMongoError) -> str:
    """Return the words of an error, without those of a bulk that show documents."""
    if isinstance(error, errors.BulkWriteError):
        told = "; ".join(str(inner.get("errmsg", "")) for inner in _inner(error.details or {}))
    else:
        told = str(error).partition(", full error: ")[0].partition(", Topology Description")[0]
        # in front of it the whole query is shown
        told = told.rpartition("planner returned error :: caused by :: ")[2]
    return (told or type(error).__name__)[:300]
