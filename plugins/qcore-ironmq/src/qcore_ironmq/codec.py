"""The text of a message in IronMQ: its counters and its body."""

from __future__ import annotations

import base64
import binascii
import math
from typing import Final

from qcore.errors import BackendRejected
from qcore_plugin_support import CountedMessage

#: seconds a message is delayed at most
_LONGEST_DELAY: Final = 604_800


def outgoing(message: CountedMessage, delay: float) -> dict[str, object]:
    """Return a message as it is posted."""
    if delay > _LONGEST_DELAY:
        raise BackendRejected(f"a delay of {delay:g} s; IronMQ delays by {_LONGEST_DELAY} at most")
    # whole seconds, and never too early
    return {"body": encode(message), "delay": math.ceil(max(0.0, delay))}


def encode(message: CountedMessage) -> str:
    """Return a message as text, because the service takes nothing else."""
    return base64.b64encode(message.write()).decode("ascii")


def decode(text: str) -> CountedMessage:
    """Return the message that a text encodes; any other text is a body without counters."""
    try:
        return CountedMessage.read(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError):
        # Half of a surrogate pair is text in JSON, but not in UTF-8.
        return CountedMessage(text.encode("utf-8", "surrogatepass"))
