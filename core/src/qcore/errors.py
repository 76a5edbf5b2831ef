"""Defines every error of qcore; its docstring is the default message."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence


class QcoreError(Exception):
    """Something went wrong in qcore."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").strip())


# -- configuration and plugins ------------------------------------------------------------


class ConfigError(QcoreError):
    """The configuration is not valid."""

    def __init__(self, problems: Sequence[str] = ()) -> None:
        #: one sentence for each problem, which begins with the path of the setting
        self.problems = tuple(problems)
        # A single one has one line: the last line of a traceback is what is read.
        before = "\n  - " if len(self.problems) > 1 else " "
        lines = "".join(f"{before}{problem}" for problem in self.problems)
        super().__init__(f"the configuration is not valid:{lines}" if problems else None)


class PluginError(QcoreError):
    """A plugin could not be used."""


class PluginNotFound(PluginError):
    """No installed plugin has the requested name."""


class PluginBroken(PluginError):
    """The requested plugin could not be loaded."""


class ModuleFailed(QcoreError):
    """A module of the user's raised an error while it was imported."""

    def __init__(self, message: str | None = None, trace: str = "") -> None:
        #: its traceback, from the first line of the user's
        self.trace = trace
        super().__init__(message)


# -- brokers and stores -------------------------------------------------------------------


class BackendError(QcoreError):
    """A broker or store failed."""

    #: ids of the messages that a failed `enqueue` put into the queue all the same
    accepted: Sequence[bytes] = ()


class BackendUnavailable(BackendError):
    """The backend does not answer; the same call may work later."""


class QueueMissing(BackendUnavailable):
    """There is no queue yet, or its file is gone."""


class BackendRejected(BackendError):
    """The backend rejects the call; repeating it will not help."""


class PluginFailed(BackendRejected):
    """A plugin raised an error that its interface does not allow."""


class ReportLost(QcoreError):
    """An error reporter could not send a report."""


class PartlyEnqueued(BackendError):
    """Some of the tasks were enqueued, the others were not."""

    def __init__(self, message: str | None = None, jobs: Sequence[Any] = ()) -> None:
        #: in the order of the calls: the `Job` of each that was enqueued, None for each that was not
        self.jobs = tuple(jobs)
        super().__init__(message)


class PayloadTooLarge(BackendRejected):
    """The message is larger than the broker or the configuration allows."""


class NotSupported(BackendRejected):
    """The broker or store in use cannot do this."""


# -- bytes --------------------------------------------------------------------------------


class EncodeError(QcoreError):
    """The serializer cannot write a value."""


class DecodeError(QcoreError):
    """The serializer cannot read the bytes."""


class EnvelopeError(QcoreError):
    """This cluster must not execute the message."""


class MalformedMessage(EnvelopeError):
    """The message is not a qcore envelope of a known version."""


class UnknownKey(EnvelopeError):
    """The message was signed with a key that is not in secret_key."""


class BadSignature(EnvelopeError):
    """The signature does not match: the message was altered or is for another queue."""


# -- tasks and results --------------------------------------------------------------------


class TaskNotFound(QcoreError):
    """The name of the task is not that of a callable."""


class TaskNotAllowed(TaskNotFound):
    """The name of the task does not match tasks_allowed."""


class TaskNameError(QcoreError):
    """A worker process cannot import this function by name."""


class TaskFailed(QcoreError):
    """The task failed; its Result is in the attribute `result`."""

    def __init__(self, message: str | None = None, result: object = None) -> None:
        #: the `qcore.Result` of the task that failed
        self.result = result
        super().__init__(message)


class ScheduleError(QcoreError):
    """The schedule is not valid."""


class ResultNotReady(QcoreError):
    """The task has no final result yet."""


class ResultGone(ResultNotReady):
    """The task has no result any more, or there never was such a task."""


class RunLater(QcoreError):
    """A task asks to run again later; see `Retry.later`."""

    def __init__(self, delay: float, reason: str = "", *, counted: bool = True) -> None:
        super().__init__(reason or f"run again in {delay:g} s")
        #: seconds
        self.delay = delay
        #: whether this run counts as a failed attempt
        self.counted = counted


class SkipTask(QcoreError):
    """A pre_enqueue or pre_execute hook skips this task."""


class Interrupted(BaseException):
    """Raised by handlers of signals in whatever code runs at that moment, so it is not that code's fault."""

    # Not an Exception, because `except Exception` in a task must not catch it.


class TaskTimeout(Interrupted):
    """The task ran longer than its timeout."""


class TaskCancelled(Interrupted):
    """The task was cancelled."""


#: What gets out of whatever code it is raised in, a plugin's too.
INTERRUPTS: Final = (KeyboardInterrupt, Interrupted)


# -- processes ----------------------------------------------------------------------------


class ClusterError(QcoreError):
    """The cluster failed."""


class StartFailed(ClusterError):
    """The cluster did not start."""


class ImportedMainReached(BaseException):
    """A worker that imports the user's script reached the line that starts or uses the cluster."""

    # It ends the import there: everything above the line is defined, and nothing below runs twice.
