"""Sends failures to Rollbar."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any, Final

import rollbar

from qcore.errors import ConfigError, ReportLost
from qcore.interfaces import ErrorReporter
from qcore_rollbar import items

if TYPE_CHECKING:
    from qcore.interfaces import ErrorReport

_log: Final = logging.getLogger("qcore_rollbar")

#: Handlers of the SDK that need nothing of the program; the others need an event loop.
_HANDLERS: Final = ("blocking", "thread", "thread_pool", "agent")
#: Most characters of what the SDK says.
_COMPLAINT: Final = 300
#: Arguments of `rollbar.init` that are not in its table of settings.
_ARGUMENTS: Final = frozenset({"access_token", "environment", "scrub_fields", "url_fields"})


class RollbarReporter(ErrorReporter):
    """Reports through the SDK, or through what the program has set up of it."""

    def __init__(self, access_token: str = "", environment: str = "production", **settings: Any) -> None:
        """Check the settings.

        Args:
            access_token: of a project, with the right to post.
            environment: as Rollbar shows it.
            settings: keyword arguments of `rollbar.init`.

        Raises:
            ConfigError: a setting is not valid.

        """
        self._token = access_token
        self._environment = environment
        # This thread waits for the answer, so that a failure is known.
        self._settings = {"handler": "blocking", **settings}
        self._complaints = _Complaints()
        self._is_set_up = False
        wrong = [
            f"error_reporter.rollbar.{key}: the SDK has no such setting; its documentation lists them"
            for key in settings
            if key not in rollbar.SETTINGS and key not in _ARGUMENTS
        ]
        handler = self._settings["handler"]
        if handler not in _HANDLERS:
            listed = ", ".join(_HANDLERS)
            wrong.append(f"error_reporter.rollbar.handler: got {handler!r}; in a worker it must be {listed}")
        if not access_token and handler != "agent" and not rollbar.SETTINGS["access_token"]:
            wrong.append("error_reporter.rollbar.access_token: missing; it is in the settings of the project")
        if wrong:
            raise ConfigError(wrong)

    def preload(self) -> None:
        """Set up the SDK before the fork, unless the program has done so."""
        self._is_set_up = True
        self._set_up()
        rollbar.events.add_payload_handler(self._finish)
        # The SDK logs what it cannot send, each time, and raises nothing. Whatever level the program logs.
        logger = logging.getLogger("rollbar")
        logger.setLevel(logging.WARNING)
        logger.addFilter(self._complaints)

    def _set_up(self) -> None:
        there = rollbar.SETTINGS["access_token"]
        if there:
            if self._token and there != self._token:
                _log.warning(
                    "Rollbar is set up by the program already, with another access token: that one is used"
                )
            return
        defaults: dict[str, Any] = {
            "allow_logging_basic_config": False,
            # The payload has the access token.
            "log_payload_on_error": False,
            "locals": {"enabled": self.send_arguments},
        }
        rollbar.init(self._token, self._environment, **{**defaults, **self._settings})

    def start(self) -> None:
        """Use what was set up before the fork."""
        if not self._is_set_up:
            self.preload()

    def report(self, report: ErrorReport) -> None:
        """Send an item.

        Raises:
            ReportLost: Rollbar cannot be reached, or takes no more; or so it was with an item before.

        """
        error = report.error if _can_be_shown(report.error) else None
        payload: dict[str, Any] = {
            "fingerprint": items.fingerprint(report),
            "context": report.task.name or report.kind,
        }
        extra = items.custom(report, send_arguments=self.send_arguments)
        if error is not None:
            # A filter of the user's for this exception comes first.
            level = rollbar._filtered_level(error) or items.level(report)  # noqa: SLF001 - there is no public way
            info = (type(error), error, error.__traceback__)
            rollbar.report_exc_info(info, extra_data=extra, payload_data=payload, level=level)
        else:
            payload |= {"title": items.title(report), "body": items.body(report)}
            level = items.level(report)
            rollbar.report_message(report.summary, level, extra_data=extra, payload_data=payload)
        if complaint := self._complaints.take():
            raise ReportLost(complaint)

    def flush(self, seconds: float) -> None:
        """Wait for the threads of the SDK, if its handler has some."""
        if self._settings["handler"] != "thread":
            return
        # The SDK waits without end.
        waiting = threading.Thread(target=rollbar.wait, name="qcore-rollbar-flush", daemon=True)
        waiting.start()
        waiting.join(seconds)

    def _finish(self, payload: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Hide secrets in a payload; a body that was given takes the place of the SDK's own."""
        data = payload["data"]
        body = data["body"]
        if "trace" in body and "message" in body:
            del body["message"]
        return {**payload, "data": self.redact(data)}


class _Complaints(logging.Filter):
    """Takes what the SDK logs about items that it could not send."""

    def __init__(self) -> None:
        super().__init__()
        self._text = ""

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep a warning instead of logging it: whoever reports next is told."""
        if record.levelno < logging.WARNING:
            return True
        self._text = record.getMessage().partition("\n")[0][:_COMPLAINT]
        return False

    def take(self) -> str:
        """Return the last text, once."""
        text, self._text = self._text, ""
        return text


def _can_be_shown(error: BaseException | None) -> bool:
    """Return whether an exception has a text; the SDK asks for it and does not expect an error."""
    try:
        str(error)
    except BaseException:  # noqa: BLE001 - a user's __str__ may raise anything; it is reported by its summary
        return False
    return True
