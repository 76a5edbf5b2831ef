"""Decides which error of qcore an error of MongoDB becomes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from pymongo import errors

from qcore.errors import BackendRejected, BackendUnavailable, PayloadTooLarge
from qcore_text.wording import if_nobody_listens

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qcore.errors import BackendError

#: code of a duplicate key
DUPLICATE: Final = 11000
#: code -> text of an error that may pass
_TRANSIENT: Final = {
    50: "it took longer than the limit",
    64: "a majority of its members did not confirm a write in time; check that enough of them run",
    388: "its cache is too small for a change of this size now; enlarge it, or send less at once",
    112: "another write conflicted; try again",
    14031: "its disk is full",
}
#: codes after which another attempt may succeed: no primary, lost cursors, elections, write conflicts
_FAILOVER: Final = frozenset(
    {6, 7, 24, 43, 63, 89, 91, 100, 134, 150, 189, 202, 234, 237, 246, 251, 262, 280, 286, 290, 317, 358, 384}
    | {9001, 10058, 10107, 11600, 11602, 13388, 13435, 13436}
)
#: labels of errors that may be repeated
_LABELS: Final = ("RetryableWriteError", "TransientTransactionError", "UnknownTransactionCommitResult")
#: code -> text of an error that repeating does not help
_PERMANENT: Final = {
    13: "the user has no permission for this; grant it the role readWrite on the database",
    18: "it does not accept this user name and password; see `mongo.username`, `password`, `authSource`",
    73: "a database cannot have this name; see `mongo_db`",
    85: "an index of this name or on the same fields has other options; drop it, it is created again",
    86: "an index of this name has other fields or options; drop it, and it will be created again",
}


def read(error: errors.PyMongoError, address: str, *, if_unknown: str = "") -> BackendError:
    """Return the error to raise for an error of the driver."""
    if isinstance(error, errors.DocumentTooLarge) or _codes(error) & {10334, 17280, 17419, 17420}:
        return PayloadTooLarge(
            f"mongodb at {address} accepts no document of more than 16 MB: {_text(error)}"[:500]
        )
    if is_transient(error):
        codes = sorted(_codes(error) & _TRANSIENT.keys())
        why = "; ".join(_TRANSIENT[code] for code in codes) or "it does not answer"
        if _lacks_index(error):
            why = "an index is missing; it will be created again"
        elif isinstance(error, errors.OperationFailure) and not codes:
            why = "its primary is changing"
        text, todo = _text(error), if_nobody_listens(_text(error), "`mongo`")
        return BackendUnavailable(
            f"mongodb at {address}: {why} ({text}){todo}{if_unknown and '; '}{if_unknown}"
        )
    if isinstance(error, errors.InvalidURI):
        # its text may contain the password
        return BackendRejected(
            "`mongo.host`: the URI is not valid; write mongodb://user:password@host:port/database,"
            " with special characters in user and password percent-encoded"
        )
    codes = sorted(_codes(error) & _PERMANENT.keys())
    why = "; ".join(_PERMANENT[code] for code in codes)
    return BackendRejected(f"mongodb at {address} refuses: {why}{why and ' '}({_text(error)})")


def is_transient(error: errors.PyMongoError) -> bool:
    """Return whether the same call may work later."""
    if isinstance(error, (errors.ConnectionFailure, errors.ExecutionTimeout, errors.WTimeoutError)):
        return True
    codes = _codes(error)
    if _lacks_index(error):
        return True
    return bool(codes & (_FAILOVER | _TRANSIENT.keys())) or any(map(error.has_error_label, _LABELS))


def _lacks_index(error: errors.PyMongoError) -> bool:
    return 2 in _codes(error) and "hint provided does not correspond" in str(error)


def is_duplicate(error: errors.PyMongoError) -> bool:
    """Return whether the only errors are duplicate keys."""
    return _codes(error) == {DUPLICATE}


def _codes(error: errors.PyMongoError) -> set[int]:
    """Return every code of an error."""
    found = {error.code} if isinstance(error, errors.OperationFailure) else set()
    if isinstance(error, errors.BulkWriteError):
        # its own code only says that it is a bulk error
        found = {inner.get("code") for inner in _inner(error.details or {})}
    return {code for code in found if isinstance(code, int)}


def _inner(details: Any) -> Iterator[Any]:  # noqa: ANN401 - details of the driver
    for name in ("writeErrors", "writeConcernErrors"):
        yield from details.get(name, ())


def _text(error: errors.PyMongoError) -> str:
    """Return the text of an error, without parts that show documents."""
    if isinstance(error, errors.BulkWriteError):
        text = "; ".join(str(inner.get("errmsg", "")) for inner in _inner(error.details or {}))
    else:
        text = str(error).partition(", full error: ")[0].partition(", Topology Description")[0]
        # the part before it shows the whole query
        text = text.rpartition("planner returned error :: caused by :: ")[2]
    return (text or type(error).__name__)[:300]
