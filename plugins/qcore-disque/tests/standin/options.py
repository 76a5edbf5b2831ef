"""The options of ADDJOB and GETJOB, and what Disque says of wrong ones."""

from __future__ import annotations

from job import Refused

LEAST = {b"REPLICATE": 1, b"DELAY": 0, b"RETRY": 0, b"TTL": 1, b"MAXLEN": 1, b"COUNT": 1}
WRONG = {
    b"REPLICATE": "ERR REPLICATE must be between 1 and 65535",
    b"DELAY": "ERR DELAY time must be a non negative number",
    b"RETRY": "ERR RETRY time must be a non negative number",
    b"TTL": "ERR TTL must be a number > 0",
    b"MAXLEN": "ERR MAXLEN must be a positive number",
    b"COUNT": "ERR COUNT must be a number greater than zero",
}


def option(word: bytes, value: bytes) -> int:
    """Return the number of an option."""
    try:
        number = int(value)
    except ValueError:
        raise Refused(WRONG[word]) from None
    if number < LEAST[word]:
        raise Refused(WRONG[word])
    return number


def timeout(value: bytes) -> int:
    """Return milliseconds."""
    try:
        number = int(value)
    except ValueError:
        raise Refused("ERR timeout is not an integer or out of range") from None
    if number < 0:
        raise Refused("ERR timeout is negative")
    return number


def job_id(value: bytes) -> bytes:
    """Return what looks like an id."""
    if not (value.startswith(b"D-") and len(value) == 40):
        raise Refused("BADID Invalid Job ID format.")
    return value
