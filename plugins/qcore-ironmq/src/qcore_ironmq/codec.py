"""The text of a message in IronMQ: its counters and its body."""

from __future__ import annotations

import base64
import binascii

from qcore.plugin_support import CountedMessage


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
