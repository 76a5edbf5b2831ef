"""The names that the messaging conventions of OpenTelemetry give to things."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from qcore.model import TaskInfo

#: what traces and metrics of this package are called by
SCOPE: Final = "qcore"
SYSTEM: Final = "messaging.system"
OPERATION: Final = "messaging.operation.name"
OPERATION_TYPE: Final = "messaging.operation.type"
DESTINATION: Final = "messaging.destination.name"
MESSAGE_ID: Final = "messaging.message.id"
ERROR_TYPE: Final = "error.type"
TASK: Final = "qcore.task.name"
OUTCOME: Final = "qcore.outcome"
#: the type of errors whose class is not known
OTHER_ERROR: Final = "_OTHER"

#: The header of a message whose trace is not recorded. It is the same for all of them: a header of its
#: own would have the worker plan each message anew.
UNSAMPLED: Final = "otel-sampled"
NO: Final = "0"
#: the header with the spans of the messages that this one follows, each as the W3C writes it
LINKS: Final = "otel-links"


def encodable(text: str) -> str:
    """Return a text that can be written as UTF-8: one that cannot takes its whole batch along."""
    return text.encode("utf-8", "replace").decode("utf-8")


def describe(task: TaskInfo, cluster: str, operation: str) -> dict[str, str | int]:
    """Return the attributes of a span about a task."""
    found: dict[str, str | int] = {
        SYSTEM: "qcore",
        OPERATION: operation,
        OPERATION_TYPE: operation,
        DESTINATION: task.destination(cluster),
        MESSAGE_ID: task.id,
        TASK: encodable(task.name),
    }
    if task.attempt:
        found["qcore.attempt"] = task.attempt
    if task.group:
        found["qcore.group"] = encodable(task.group)
    if task.schedule:
        found["qcore.schedule"] = encodable(task.schedule)
    return found
