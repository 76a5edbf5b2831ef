"""What several plugins need alike: counters before a body, given settings."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import attrs

if TYPE_CHECKING:
    from collections.abc import Container

#: mark, failures, crashes, deliveries before it was written, epoch seconds, length of the reason
_HEADER: Final = struct.Struct(">BIIIdH")
#: first byte of a message written here; an envelope begins with a letter
_MARK: Final = 2
#: largest counter
_MOST: Final = 2**31 - 1
#: epoch seconds beyond which there is no date
_LAST: Final = 253_402_300_799.0
#: bytes of a reason that are kept
_REASON: Final = 1000

#: most bytes that are written before a body
COUNTERS_SIZE: Final = _HEADER.size + _REASON


def parse_http_date(text: str) -> float | None:
    """Return the middle of the second that the header `Date` of an answer gives, None if there is none."""
    # it imports the parser of e-mails, and only a service that answers by HTTP needs it
    from email.utils import parsedate_to_datetime  # noqa: PLC0415 - see above

    try:
        return parsedate_to_datetime(text).timestamp() + 0.5
    except (TypeError, ValueError, OverflowError):
        return None


class CountedMessage(NamedTuple):
    """A message body with its counters, for a service that cannot store the counters itself."""

    body: bytes
    failures: int = 0
    crashes: int = 0
    #: deliveries before this copy was written
    deliveries: int = 0
    #: epoch seconds; of a dead letter, when it was dead-lettered
    written_at: float = 0.0
    #: of a dead letter, at most 1,000 bytes of it are kept
    reason: str = ""

    def write(self) -> bytes:
        """Return the counters and the body as bytes, at most `COUNTERS_SIZE` more than the body."""
        reason = self.reason.encode("utf-8", "replace")[:_REASON]
        counters = (min(count, _MOST) for count in (self.failures, self.crashes, self.deliveries))
        return _HEADER.pack(_MARK, *counters, self.written_at, len(reason)) + reason + self.body

    @classmethod
    def read(cls, data: bytes) -> CountedMessage:
        """Return what `write` has written; any other bytes are a body without counters."""
        if len(data) < _HEADER.size or data[0] != _MARK:
            return cls(data)
        _, *counters, written_at, size = _HEADER.unpack_from(data)
        end = _HEADER.size + size
        reason = data[_HEADER.size : end].decode("utf-8", "ignore")
        failures, crashes, deliveries = map(count_of, counters)
        return cls(data[end:], failures, crashes, deliveries, epoch_seconds(written_at), reason)


def epoch_seconds(value: object) -> float:
    """Return a stored time, 0.0 for what is not the time of a date, because others may write to a backend."""
    if isinstance(value, (int, float)) and 0 <= value < _LAST:
        return float(value)
    return 0.0


def count_of(value: object) -> int:
    """Return a stored counter, at least 0 and at most 2**31 - 1; 0 for what is not a number."""
    if isinstance(value, (int, float)) and value > 0:
        return int(min(value, _MOST))
    return 0


def given(settings: attrs.AttrsInstance, without: Container[str] = ()) -> dict[str, Any]:
    """Return the settings that a user gave, by name: neither None nor an empty text.

    Args:
        settings: a plugin's section of the configuration, in which None means not given.
        without: names to leave out.

    """
    return {
        field.name: value
        for field in attrs.fields(type(settings))
        if field.name not in without and (value := getattr(settings, field.name)) not in (None, "")
    }
