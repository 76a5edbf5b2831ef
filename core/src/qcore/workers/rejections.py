"""Decides what becomes of messages that must not be read."""

from __future__ import annotations

import base64
import logging
from typing import TYPE_CHECKING, Final

import attrs

from qcore.errors import BadSignature, MalformedMessage, UnknownKey
from qcore.flows.emulation import is_lost
from qcore.messages.envelope import is_other_version
from qcore.model import Action, Kind
from qcore.settle import ACKNOWLEDGE, decide
from qcore_cells.suspects import split
from qcore_queues.dead_letter_bounds import Allowance
from qcore_text.wording import counted

if TYPE_CHECKING:
    from qcore.config import Config
    from qcore.errors import EnvelopeError
    from qcore.interfaces import Capabilities
    from qcore.model import Delivery
    from qcore.settle import Decision, Rules
    from qcore_reports.log_limit import LogLimit

_log = logging.getLogger("qcore.worker")

#: most bytes that are logged of a message that nobody keeps
_LOGGED: Final = 48 * 1024
#: seconds in which the workers of a cluster dead-letter `unsigned_limit` messages that nobody signed
_PERIOD: Final = 30.0


class Rejections:
    """The messages that one worker rejects."""

    def __init__(self, config: Config, rules: Rules, can: Capabilities, lines: LogLimit) -> None:
        self._rules = rules
        self._can = can
        #: one line for a kind and second: somebody may put in as many as the backend takes
        self._lines = lines
        limit = config.unsigned_limit
        #: how many that nobody signed may be dead-lettered
        self._allowance = Allowance(max(1, limit // config.workers) if limit > 0 else limit, _PERIOD)

    def decide(self, delivery: Delivery, exc: EnvelopeError) -> Decision:
        """Return what becomes of a message; log it whole if its broker does not keep it."""
        kind = Kind.UNKNOWN_KEY if isinstance(exc, UnknownKey) else Kind.REJECTED
        reason = f"{type(exc).__name__}: {exc}"
        decision = decide(
            kind,
            self._rules,
            deliveries=delivery.deliveries,
            failures=delivery.failures,
            crashes=split(delivery.crashes)[0],
            reason=reason,
        )
        size = counted(len(delivery.body), "byte")
        if is_lost(self._can, decision.action):
            told = "a message of %d bytes is removed unread, its broker keeps none: %s; %s in base64: %s"
            part = delivery.body[:_LOGGED]
            what = "all of it" if len(part) == len(delivery.body) else f"its first {_LOGGED} bytes"
            _log.error(told, len(delivery.body), reason, what, base64.b64encode(part).decode())
        elif decision.action is not Action.DEAD_LETTER:
            text = f"a message is released for {decision.delay:.3g} s: {reason}"
            self._lines.write(logging.WARNING, "released", text)
        elif self._is_too_much(exc, delivery.body):
            decision = attrs.evolve(ACKNOWLEDGE, reason=reason)
            text = f"a message of {size} is removed unread, beyond unsigned_limit: {reason}"
            self._lines.write(logging.ERROR, "removed", text)
        else:
            text = f"a message of {size} is dead-lettered unread: {reason}"
            self._lines.write(logging.ERROR, type(exc).__name__, text)
        return decision

    def _is_too_much(self, exc: EnvelopeError, body: bytes) -> bool:
        """Return whether a flood would fill the backend; what may be a task is always kept."""
        unsigned = isinstance(exc, (BadSignature, MalformedMessage)) and not is_other_version(body)
        return unsigned and not self._allowance.take()
