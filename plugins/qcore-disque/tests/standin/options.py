"""How many words a command has, its numbers and options, and what Disque says of wrong ones."""

from __future__ import annotations

import re

from job import Refused

#: words of a command, itself among them; at least so many where it is negative
ARITY = {
    "auth": 2, "ping": -1, "hello": 1, "info": -1, "time": 1, "debug": -2, "cluster": -2,
    "addjob": -4, "getjob": -2, "ackjob": -2, "fastack": -2, "deljob": -2, "nack": -2,
    "enqueue": -2, "dequeue": -2, "working": 2, "show": 2, "qlen": 2, "qpeek": 3, "qstat": 2,
    "qscan": -1, "jscan": -1, "pause": -3,
}  # fmt: skip
LEAST = {b"REPLICATE": 1, b"DELAY": 0, b"RETRY": 0, b"TTL": 1, b"MAXLEN": 1, b"COUNT": 1}
WRONG = {
    b"REPLICATE": "ERR REPLICATE must be between 1 and 65535",
    b"DELAY": "ERR DELAY time must be a non negative number",
    b"RETRY": "ERR RETRY time must be a non negative number",
    b"TTL": "ERR TTL must be a number > 0",
    b"MAXLEN": "ERR MAXLEN must be a positive number",
    b"COUNT": "ERR COUNT must be a number greater than zero",
}
#: what a number is refused with that is none
NO_NUMBER = "ERR value is not an integer or out of range"


def checked(words: list[bytes]) -> str:
    """Return the name of a command that is known and has as many words as it must."""
    name = words[0].decode("utf-8", "replace").lower()
    if name not in ARITY:
        raise Refused(f"ERR unknown command '{words[0].decode('utf-8', 'replace')}'")
    wanted = ARITY[name]
    if len(words) != wanted if wanted > 0 else len(words) < -wanted:
        raise Refused(f"ERR wrong number of arguments for '{name}' command")
    return name


def integer(value: bytes, wrong: str = NO_NUMBER) -> int:
    """Return a number as the server reads one: no blanks, no plus, 64 bits."""
    if not re.fullmatch(rb"-?[0-9]{1,19}", value) or not -(2**63) <= int(value) < 2**63:
        raise Refused(wrong)
    return int(value)


def option(word: bytes, value: bytes) -> int:
    """Return the number of an option."""
    number = integer(value, WRONG[word])
    if number < LEAST[word] or (word == b"REPLICATE" and number > 0xFFFF):
        raise Refused(WRONG[word])
    return number


def timeout(value: bytes) -> int:
    """Return milliseconds."""
    number = integer(value, "ERR timeout is not an integer or out of range")
    if number < 0:
        raise Refused("ERR timeout is negative")
    return number


def known_id(value: bytes) -> bytes:
    """Return what looks like an id."""
    if not (value.startswith(b"D-") and len(value) == 40):
        raise Refused("BADID Invalid Job ID format.")
    return value
