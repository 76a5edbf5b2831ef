"""What the SDK records while a task runs."""

from __future__ import annotations

import time
from contextlib import ExitStack
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

import sentry_sdk
from sentry_sdk.consts import OP, SPANDATA
from sentry_sdk.scope import Scope
from sentry_sdk.tracing import TransactionSource
from sentry_sdk.tracing_utils import has_tracing_enabled

from qcore.model import Kind
from qcore_sentry import monitors
from qcore_sentry.producer import BAGGAGE, TRACE

if TYPE_CHECKING:
    from qcore.model import Outcome, TaskInfo

_ORIGIN: Final = "auto.queue.qcore"


def isolate() -> None:
    """Give this context scopes of its own, so that breadcrumbs and tags belong to one run.

    They stay in it: a worker drops the context after the run and its report.
    """
    Scope.set_current_scope(Scope.get_current_scope().fork())
    scope = Scope.get_isolation_scope().fork()
    scope.clear_breadcrumbs()
    Scope.set_isolation_scope(scope)


class Run:
    """The transaction and the check-in of one run."""

    def __init__(self, task: TaskInfo, cluster: str, *, check_ins: bool) -> None:
        self._task = task
        self._checks_in = check_ins and task.schedule is not None
        self._began = time.monotonic()
        self._open = ExitStack()
        #: kept for the report, which comes after the run
        self.span: Any = None
        if has_tracing_enabled(sentry_sdk.get_client().options):
            self._begin_transaction(task.destination(cluster))
        if self._checks_in:
            monitors.check_in(task, monitors.IN_PROGRESS)

    def _begin_transaction(self, destination: str) -> None:
        task = self._task
        headers = {name: task.headers[name] for name in (TRACE, BAGGAGE) if name in task.headers}
        transaction = sentry_sdk.continue_trace(
            headers, op="queue.task", name=task.name, source=TransactionSource.TASK, origin=_ORIGIN
        )
        self.span = self._open.enter_context(
            sentry_sdk.start_transaction(
                transaction, custom_sampling_context={"qcore": {"task": task.name, "id": task.id}}
            )
        )
        if not self.span.sampled:
            return
        inner = self._open.enter_context(
            sentry_sdk.start_span(op=OP.QUEUE_PROCESS, name=task.name, origin=_ORIGIN)
        )
        inner.set_data(SPANDATA.MESSAGING_SYSTEM, "qcore")
        inner.set_data(SPANDATA.MESSAGING_MESSAGE_ID, task.id)
        inner.set_data(SPANDATA.MESSAGING_DESTINATION_NAME, destination)
        inner.set_data(SPANDATA.MESSAGING_MESSAGE_RETRY_COUNT, max(0, task.attempt - 1))
        waited = max(0.0, (time.time() - task.enqueued) * 1000)
        inner.set_data(SPANDATA.MESSAGING_MESSAGE_RECEIVE_LATENCY, waited)

    def end(self, outcome: Outcome) -> None:
        """Finish what was begun."""
        done = outcome.kind is Kind.SUCCESS
        if self.span is not None and self.span.sampled:
            sentry_sdk.get_current_span().set_status("ok" if done else "internal_error")  # type: ignore[union-attr]  # begun above
            self.span.set_status("ok" if done else "internal_error")
        self._open.close()
        if self._checks_in:
            status = monitors.OK if done else monitors.ERROR
            monitors.check_in(self._task, status, time.monotonic() - self._began)


#: the run of this context
RUN: Final[ContextVar[Run | None]] = ContextVar("qcore_sentry_run", default=None)
