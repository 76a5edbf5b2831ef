"""Decides which headers carry a trace from a producer to a worker."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import sentry_sdk
from sentry_sdk.consts import OP, SPANDATA

from qcore_sentry.monitors import HEADER, monitor_config

if TYPE_CHECKING:
    from qcore.hookspecs import EnqueueEvent

#: names of the headers, those of HTTP
TRACE: Final = "sentry-trace"
BAGGAGE: Final = "baggage"


def publish(event: EnqueueEvent) -> None:
    """Add a span for the publishing of a task, and the headers by which its worker continues the trace.

    Without a span there is no trace to continue, and then the message stays as it is.
    """
    if not sentry_sdk.is_initialized():
        return
    task = event.task
    if event.schedule is not None:
        # Where the schedules are fired their rules are known, and a worker checks in.
        event.headers[HEADER] = json.dumps(monitor_config(event.schedule))
    if sentry_sdk.get_current_span() is None:
        return
    with sentry_sdk.start_span(op=OP.QUEUE_PUBLISH, name=task.name, origin="auto.queue.qcore") as span:
        span.set_data(SPANDATA.MESSAGING_SYSTEM, "qcore")
        span.set_data(SPANDATA.MESSAGING_MESSAGE_ID, task.id)
        span.set_data(SPANDATA.MESSAGING_DESTINATION_NAME, task.destination(event.cluster))
        if trace := sentry_sdk.get_traceparent():
            event.headers[TRACE] = trace
        if baggage := sentry_sdk.get_baggage():
            event.headers[BAGGAGE] = baggage
