"""Sends failures, traces and check-ins to Sentry."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, Final

import sentry_sdk
from sentry_sdk.integrations.logging import ignore_logger
from sentry_sdk.tracing_utils import has_tracing_enabled
from sentry_sdk.transport import HttpTransport

from qcore.errors import ReportLost
from qcore.interfaces import ErrorReporter
from qcore.model import Kind
from qcore_sentry import monitors, options, scopes
from qcore_sentry.events import make_event
from qcore_sentry.runs import RUN, Run, isolate

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from qcore.hookspecs import ExecuteEvent, WorkerEvent
    from qcore.interfaces import ErrorReport

#: Loggers whose errors are reported here already.
_OURS: Final = (
    "qcore.cluster",
    "qcore.maintenance",
    "qcore.reporting",
    "qcore.reports",
    "qcore.scheduler",
    "qcore.task",
    "qcore.worker",
)
#: Seconds for which nothing is sent after the service could not be reached.
_REST: Final = 30.0
#: What the SDK is given each time before it sends.
_BEFORE: Final = ("before_send", "before_send_transaction", "before_send_log")
#: Ends of a run that its worker does not see.
_UNSEEN: Final = frozenset({Kind.CRASH.value, Kind.TIMEOUT.value, Kind.INTERRUPTED.value})


class SentryReporter(ErrorReporter):
    """Reports through the SDK: its own client, or the one that the program has set up."""

    def __init__(self, *, check_ins: bool = False, **settings: Any) -> None:
        """Check the settings.

        Args:
            check_ins: check in the runs of schedules.
            settings: options of `sentry_sdk.init`; without a `dsn` the program's client is used.

        Raises:
            ConfigError: a setting is not valid.

        """
        self._options = options.read(settings)
        self._check_ins = check_ins
        #: the transport whose losses are watched
        self._transport: object = None
        self._down = ("", 0.0)
        #: whether a run needs nothing but scopes of its own, and whether it gets them when it uses one
        self._only_scopes = self._shares = False
        self.qcore_post_execute = self._finish

    def preload(self) -> None:
        """Set up the SDK, which imports much, before the fork; its threads are started after it."""
        if self._options.get("dsn") or not sentry_sdk.is_initialized():
            # Before this process ends it is flushed, so nothing is left for the SDK to wait for.
            defaults = {"include_local_variables": self.send_arguments, "shutdown_timeout": 0}
            sentry_sdk.init(**{**defaults, **self._options})

    def start(self) -> None:
        """Use what was set up before the fork; in a supervisor, which runs no task, set up less."""
        for name in _OURS:
            ignore_logger(name)
        dsn = self._options.get("dsn")
        if not sentry_sdk.is_initialized() or (dsn and sentry_sdk.get_client().dsn != dsn):
            self._options.setdefault("auto_enabling_integrations", False)
            self.preload()
        self._adopt()
        if dsn and not self._check_ins and not has_tracing_enabled(sentry_sdk.get_client().options):
            # There is nothing to finish after a run, and every task would pay for it.
            del self.qcore_post_execute
            self._only_scopes = True

    def qcore_worker_start(self, event: WorkerEvent) -> None:  # noqa: ARG002 - the signature of the hook
        """Have runs get scopes of their own when they use one, if they need nothing else."""
        if self._only_scopes:
            scopes.share()
            self._shares = True

    def wants_run(self, headers: Mapping[str, str]) -> bool:  # noqa: ARG002 - all runs are alike
        """Return whether something has to be done before a run."""
        return not self._shares

    def qcore_pre_execute(self, event: ExecuteEvent) -> None:
        """Give the task scopes of its own, and a transaction."""
        isolate()
        client = sentry_sdk.get_client()
        if self._check_ins or has_tracing_enabled(client.options):
            RUN.set(Run(event.task, self.cluster, check_ins=self._check_ins))

    def _finish(self, event: ExecuteEvent) -> None:
        """Finish the transaction."""
        run = RUN.get()
        if run is not None and event.outcome is not None:
            run.end(event.outcome)

    def report(self, report: ErrorReport) -> None:
        """Hand the failure over to the SDK, which sends it in a thread.

        Raises:
            ReportLost: the service cannot be reached, or wants no more, so nothing was handed over.

        """
        scopes.settle(report.task.id, report.task.attempt)
        self._check_health()
        client = sentry_sdk.get_client()
        run = RUN.get()
        with sentry_sdk.new_scope() as scope:
            if run is not None and run.span is not None:
                scope.span = run.span
            event, hint = make_event(report, client.options, send_arguments=self.send_arguments)
            sentry_sdk.capture_event(event, hint, scope=scope)  # type: ignore[arg-type]  # a dict
        if self._check_ins and report.task.schedule and report.error is None and report.kind in _UNSEEN:
            monitors.check_in(report.task, monitors.ERROR)

    def waits(self) -> bool:
        """Return whether something may wait: the SDK's transport sends, and gathers, in threads."""
        transport = sentry_sdk.get_client().transport
        return threading.active_count() > 1 or not isinstance(transport, HttpTransport | None)

    def flush(self, seconds: float) -> None:
        """Send what waits, transactions and check-ins too."""
        sentry_sdk.get_client().flush(timeout=seconds)

    def _check_health(self) -> None:
        """Raise if there is no use in making an event, which takes a thousand times as long as this."""
        transport = self._adopt()
        if transport is None:
            raise ReportLost("it has no dsn; set error_reporter.sentry.dsn or SENTRY_DSN")
        why, until = self._down
        if why and time.monotonic() < until:
            raise ReportLost(why)
        self._down = ("", 0.0)
        if not transport.is_healthy():
            raise ReportLost("Sentry takes no more for now (rate limit), or events wait for the network")

    def _adopt(self) -> Any:  # noqa: ANN401 - a transport of the SDK's or of the user's
        """Watch the client of this process, and hide secrets in what it sends; return its transport.

        A program may set up its client when its module is imported, which is after the start.
        """
        client = sentry_sdk.get_client()
        transport = client.transport
        if transport is not None and transport is not self._transport:
            self._transport = transport
            for name in _BEFORE:
                client.options[name] = self._hiding(client.options.get(name))
            if isinstance(transport, HttpTransport):
                transport.on_dropped_event = self._lost  # type: ignore[method-assign, assignment]  # it is there to be replaced
        return transport

    def _hiding(self, before: Callable[..., Any] | None) -> Callable[..., Any]:
        """Return what is called before something is sent: the user's function, then ours."""

        def hide(event: Any, hint: Any) -> Any:  # noqa: ANN401 - the SDK's own types
            event = before(event, hint) if before is not None else event
            return event and self.redact(event)

        return hide

    def _lost(self, reason: str) -> None:
        """Take note that the SDK could not send something; called in its thread."""
        why = "Sentry cannot be reached" if reason == "network" else f"Sentry refused a report: {reason}"
        self._down = (why, time.monotonic() + _REST)
