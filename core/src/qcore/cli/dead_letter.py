"""What is shown of a dead letter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from qcore.errors import EnvelopeError
from qcore.messages.envelope import task_id
from qcore.messages.head import read_head
from qcore_queues.view import opened_arguments

if TYPE_CHECKING:
    from qcore.model import DeadLetter
    from qcore.runtime import Runtime


@attrs.frozen(kw_only=True)
class DeadLetterView:
    """A dead letter, without its arguments."""

    #: given by the broker
    id: str
    #: as the message has it, unverified if there is a fault
    task_id: str
    #: empty if there is a fault
    task: str
    #: why it cannot be read
    fault: str
    reason: str
    #: epoch seconds
    dead_since: float
    failures: int
    crashes: int
    #: bytes of the message
    size: int
    group: str | None = None
    label: str | None = None
    #: epoch seconds
    enqueued: float | None = None

    @property
    def called(self) -> str:
        """Return the task's name, or why it cannot be read."""
        return self.task or f"({self.fault})"

    def record(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return attrs.asdict(self)


def read(runtime: Runtime, dead_letter: DeadLetter) -> DeadLetterView:
    """Verify a dead letter and read its head; the arguments are not decoded."""
    common: dict[str, Any] = {
        "id": dead_letter.id,
        "reason": dead_letter.reason,
        "dead_since": dead_letter.dead_since,
        "failures": dead_letter.failures,
        "crashes": dead_letter.crashes,
        "size": len(dead_letter.body),
    }
    try:
        opened = runtime.envelope.open(dead_letter.body)
        head = read_head(opened.head)
    except EnvelopeError as exc:
        return DeadLetterView(
            **common, task_id=task_id(dead_letter.body), task="", fault=f"unreadable: {exc}"
        )
    return DeadLetterView(
        **common,
        task_id=opened.id.hex(),
        task=head.name,
        fault="",
        group=head.group,
        label=head.label,
        enqueued=opened.created / 1000,
    )


def read_arguments(runtime: Runtime, dead_letter: DeadLetter) -> tuple[list[Any], dict[str, Any]]:
    """Decode the arguments of a dead letter.

    Raises:
        EnvelopeError: it is not signed with a key of ours; nothing is decoded.
        DecodeError: its serializer is not accepted here, or reading it could run code.

    """
    return opened_arguments(runtime, runtime.envelope.open(dead_letter.body))
