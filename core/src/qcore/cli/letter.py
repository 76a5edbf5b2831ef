"""What may be read of a dead letter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from qcore.errors import DecodeError, EnvelopeError
from qcore.messages.envelope import read_head, task_id

if TYPE_CHECKING:
    from qcore.model import Buried
    from qcore.runtime import Runtime


@attrs.frozen(kw_only=True)
class Letter:
    """A dead letter, without its arguments."""

    #: the broker's name for it
    id: str
    #: what the message claims, unverified where there is a fault
    task_id: str
    #: empty where there is a fault
    task: str
    #: why it cannot be read
    fault: str
    reason: str
    #: epoch seconds
    buried_at: float
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
        """Return the task's name, or why there is none."""
        return self.task or f"({self.fault})"

    def record(self) -> dict[str, Any]:
        """Return what a machine reads."""
        return attrs.asdict(self)


def read(runtime: Runtime, buried: Buried) -> Letter:
    """Verify a dead letter and read its head; the arguments are left alone."""
    common: dict[str, Any] = {
        "id": buried.id,
        "reason": buried.reason,
        "buried_at": buried.buried_at,
        "failures": buried.failures,
        "crashes": buried.crashes,
        "size": len(buried.body),
    }
    try:
        opened = runtime.envelope.open(buried.body)
        head = read_head(opened.head)
    except EnvelopeError as exc:
        return Letter(**common, task_id=task_id(buried.body), task="", fault=f"unreadable: {exc}")
    return Letter(
        **common,
        task_id=opened.id.hex(),
        task=head.name,
        fault="",
        group=head.group,
        label=head.label,
        enqueued=opened.created / 1000,
    )


def read_arguments(runtime: Runtime, buried: Buried) -> tuple[list[Any], dict[str, Any]]:
    """Decode the arguments of a dead letter.

    Raises:
        EnvelopeError: it is not signed by us; nothing is decoded.
        DecodeError: its serializer is not accepted here, or reading it could run code.

    """
    opened = runtime.envelope.open(buried.body)
    if not opened.arguments:
        return [], {}
    serializer = runtime.serializers.get(opened.serializer)
    if serializer is None:
        msg = f"the arguments were written by serializer {opened.serializer}, which `accept` does not list"
        raise DecodeError(msg)
    if serializer.unsafe:
        msg = "the arguments are not shown: reading what this serializer wrote can run code"
        raise DecodeError(msg)
    found = serializer.loads(opened.arguments)
    args, kwargs = found if opened.named else (found, {})
    return list(args), dict(kwargs)
