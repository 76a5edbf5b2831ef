"""The pure table of what becomes of a message after its run."""

from __future__ import annotations

from typing import Final

import attrs

from qcore.errors import RunLater
from qcore.model import Action, Kind, Settlement, State
from qcore_text.wording import counted
from qcore_values.validators import boolean, integer, refuse, seconds

#: The longest a task waits for another run, seconds, unless its own policy says otherwise.
DEFAULT_MAX_DELAY = 3600.0
#: Back-off after the second and later crashes of one task doubles up to this, seconds.
MAX_CRASH_DELAY = 60.0
#: Deliveries of one message that ended neither in a result nor in a known crash, because whole
#: machines die on it, or it is older than any lease. After these it is dead-lettered.
MAX_DELIVERIES = 10
#: Deliveries of a message signed with an unknown key before it is dead-lettered. In a rolling
#: rotation a new key reaches the last worker within two waits of `retry` seconds.
MAX_UNKNOWN_KEY = 3


@attrs.frozen(kw_only=True)
class Retry:
    """When and how often a task runs again after it failed."""

    #: runs in all, including the first; 0 = no limit; None = the configuration's
    max_attempts: int | None = None
    #: seconds before the second run, doubled for each further one; None = `retry` of the configuration
    backoff: float | None = None
    #: the longest wait, seconds
    max_delay: float = DEFAULT_MAX_DELAY
    #: spread the wait evenly between half of it and all of it
    jitter: bool = False
    #: exceptions, with their subclasses, after which the task runs again; any other is final at once
    on: tuple[type[BaseException], ...] = (Exception,)

    def __attrs_post_init__(self) -> None:
        if self.max_attempts is not None:
            integer("max_attempts", self.max_attempts, least=0)
        if self.backoff is not None:
            seconds("backoff", self.backoff)
        seconds("max_delay", self.max_delay)
        boolean("jitter", self.jitter)
        _exceptions("on", self.on)

    @staticmethod
    def later(delay: float, reason: str = "", *, counted: bool = True) -> RunLater:
        """Return an exception for a task to raise when it is to run again later.

        Args:
            delay: seconds until then, in place of the back-off.
            reason: a text for logs and results.
            counted: this run is a failed attempt, which `max_attempts` limits; otherwise nothing is
                counted or stored, and the task may do this for ever.

        Raises:
            ValueError: the delay is out of range.

        """
        seconds("delay", delay)
        return RunLater(float(delay), str(reason), counted=counted)

    def names(self) -> list[str] | None:
        """Return the names of the exceptions in `on`; None = all exceptions."""
        return None if self.on == (Exception,) else [exception_name(one) for one in self.on]


def _exceptions(name: str, value: object) -> None:
    if not isinstance(value, tuple) or not all(
        isinstance(kind, type) and issubclass(kind, BaseException) for kind in value
    ):
        refuse(name, "a tuple of exceptions", value, "give (ValueError,)")


def exception_name(kind: type[BaseException]) -> str:
    """Return the name by which another process recognises an exception.

    A script is `__main__` where it was started and has its own name in a worker, so for a script's
    own exceptions only the name of the class counts.
    """
    module = kind.__module__
    return kind.__qualname__ if module == "__main__" else f"{module}.{kind.__qualname__}"


@attrs.frozen(kw_only=True)
class Rules:
    """The rules of the configuration, the task and the broker for settling one message."""

    max_attempts: int = 0
    ack_failures: bool = False
    max_crashes: int = 3
    #: seconds, from the configuration, before a failed task is redelivered
    retry: float = 60.0
    backoff: float | None = None
    max_delay: float = DEFAULT_MAX_DELAY
    jitter: bool = False
    #: 0 = no limit
    max_deliveries: int = MAX_DELIVERIES
    #: the broker has receipts; without them nothing can be redelivered
    redelivers: bool = True


@attrs.frozen
class Decision:
    """What becomes of a message, and the state its result is stored with."""

    action: Action
    #: None = no result is stored
    state: State | None = None
    delay: float = 0.0
    reason: str = ""
    failures: int = 0
    crashes: int = 0

    def settlement(self, receipt: bytes, id: bytes = b"") -> Settlement:
        """Return this decision as the settlement of one lease of the message with this id."""
        return Settlement(receipt, self.action, self.delay, self.reason, self.failures, self.crashes, id)

    def because(self, error: str) -> Decision:
        """Return this decision with the error behind its reason, if the message is dead-lettered."""
        if self.action is not Action.DEAD_LETTER:
            return self
        return attrs.evolve(self, reason=f"{self.reason}: {error}")


#: The message is removed from the queue.
ACKNOWLEDGE: Final = Decision(Action.ACK)
#: The message is ready again at once; this delivery is not counted.
RELEASE: Final = Decision(Action.RELEASE)


def release_after(seconds: float) -> Decision:
    """Return what releases a message that is not to run yet."""
    return Decision(Action.RELEASE, delay=seconds)


def redeliver(failures: int, crashes: int) -> Decision:
    """Return what redelivers a message with these counters; nothing is stored, no run is judged."""
    return Decision(Action.RETRY, failures=failures, crashes=crashes)


def dead_letter(reason: str, failures: int, crashes: int) -> Decision:
    """Return what fails a message for good whatever its rules say, because it reached a limit."""
    return Decision(Action.DEAD_LETTER, State.FAILED, 0.0, reason, failures, crashes)


def fail_for_good(failures: int, crashes: int) -> Decision:
    """Return what fails a message that was acknowledged before it began."""
    return Decision(Action.ACK, State.FAILED, failures=failures, crashes=crashes)


#: The task ran, or must not run any more: it failed, and its message is acknowledged.
_FINAL = frozenset({Kind.RESULT_NOT_STORABLE, Kind.EXPIRED, Kind.SKIPPED, Kind.CANCELLED})


def decide(
    kind: Kind,
    rules: Rules,
    *,
    deliveries: int = 1,
    failures: int = 0,
    crashes: int = 0,
    retryable: bool = True,
    chance: float = 0.0,
    reason: str = "",
    delay: float | None = None,
) -> Decision:
    """Return what becomes of a message.

    Args:
        kind: how the run ended.
        rules: of the task in this cluster.
        deliveries: leases of the message so far, this one included.
        failures: failed runs before this one.
        crashes: crashed runs before this one.
        retryable: the task's own policy allows another run after this exception.
        chance: random number in [0, 1) for jitter.
        reason: why a message was rejected.
        delay: seconds after which the task asks to run again; None = it does not ask.

    """
    if kind is Kind.SUCCESS:
        return Decision(Action.ACK, State.SUCCESS)
    if kind is Kind.FAILURE or kind is Kind.TIMEOUT:
        if delay is None:
            return _failed(kind, rules, failures + 1, crashes, retryable=retryable, chance=chance)
        own = attrs.evolve(rules, ack_failures=False, retry=delay, backoff=None, jitter=False)
        return _failed(kind, own, failures + 1, crashes, retryable=True, chance=0.0)
    if kind is Kind.POSTPONED:
        if not rules.redelivers:
            return Decision(Action.ACK, State.FAILED, failures=failures, crashes=crashes)
        return release_after(delay or 0.0)
    if kind is Kind.CRASH:
        return _crashed(rules, failures, crashes + 1)
    if kind is Kind.UNKNOWN_KEY and deliveries < MAX_UNKNOWN_KEY:
        return Decision(Action.RETRY, None, rules.retry, "", failures, crashes)
    if kind is Kind.REJECTED or kind is Kind.UNKNOWN_KEY:
        return Decision(Action.DEAD_LETTER, None, 0.0, reason or kind.value, failures, crashes)
    if kind is Kind.INTERRUPTED:
        return Decision(Action.RELEASE)
    if kind is Kind.ALREADY_FAILED and not rules.ack_failures:
        return Decision(
            Action.DEAD_LETTER, None, 0.0, "it failed for good before it was redelivered", failures, crashes
        )
    if kind in _FINAL:
        return Decision(Action.ACK, State.FAILED)
    return Decision(Action.ACK)


def redelivery_limit_reason(rules: Rules, *, deliveries: int, failures: int, crashes: int) -> str:
    """Return why a message must not be run again, or an empty text."""
    if 0 < rules.max_crashes <= crashes:
        return f"crashed its worker {counted(crashes, 'time')} (max_crashes {rules.max_crashes})"
    unexplained = deliveries - 1 - failures - crashes
    if 0 < rules.max_deliveries <= unexplained:
        return f"delivered {counted(deliveries, 'time')} without ever ending"
    return ""


def _failed(
    kind: Kind, rules: Rules, failures: int, crashes: int, *, retryable: bool, chance: float
) -> Decision:
    if rules.ack_failures or not rules.redelivers:
        return Decision(Action.ACK, State.FAILED, failures=failures, crashes=crashes)
    used_up = 0 < rules.max_attempts <= failures
    if used_up or not retryable:
        why = f"{kind.value} in attempt {failures}" + ("" if retryable else ", not to be retried")
        return Decision(Action.DEAD_LETTER, State.FAILED, 0.0, why, failures, crashes)
    return Decision(
        Action.RETRY, State.RETRYING, _delay(rules, failures, chance), failures=failures, crashes=crashes
    )


def _crashed(rules: Rules, failures: int, crashes: int) -> Decision:
    if not rules.redelivers:
        return Decision(Action.ACK, State.FAILED, failures=failures, crashes=crashes)
    if 0 < rules.max_crashes <= crashes:
        why = f"crashed its worker {counted(crashes, 'time')}"
        return Decision(Action.DEAD_LETTER, State.FAILED, 0.0, why, failures, crashes)
    # The first crash is most often not the task's fault: the machine was short of memory, or somebody
    # killed the worker. So the task runs again at once.
    delay = 0.0 if crashes == 1 else min(MAX_CRASH_DELAY, 2.0 ** min(crashes - 1, 64))
    return Decision(Action.RETRY, State.RETRYING, delay, failures=failures, crashes=crashes)


def _delay(rules: Rules, failures: int, chance: float) -> float:
    if rules.backoff is None:
        delay = rules.retry
    else:
        # 2**64 seconds is beyond every maximum; a larger exponent would overflow a float.
        delay = min(rules.max_delay, rules.backoff * 2.0 ** min(failures - 1, 64))
    return delay * (0.5 + chance / 2) if rules.jitter else delay
