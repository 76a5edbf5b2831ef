"""Every error qcore raises; a class's docstring is its default message."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class QcoreError(Exception):
    """Something went wrong in qcore."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").strip())


# -- configuration and plugins ------------------------------------------------------------


class ConfigError(QcoreError):
    """The configuration is not valid."""

    def __init__(self, faults: Sequence[str] = ()) -> None:
        #: one sentence for each fault, each beginning with the path of the setting
        self.faults = tuple(faults)
        lines = "".join(f"\n  - {fault}" for fault in self.faults)
        super().__init__(f"the configuration is not valid:{lines}" if faults else None)


class PluginError(QcoreError):
    """A plugin could not be used."""


class PluginNotFound(PluginError):
    """No installed plugin offers what was asked for."""


class PluginBroken(PluginError):
    """A plugin that was asked for could not be loaded."""


# -- brokers and stores -------------------------------------------------------------------


class BackendError(QcoreError):
    """A broker, result store or schedule store could not do what it was asked."""


class BackendUnavailable(BackendError):
    """The backend does not answer at the moment; the same call may work later."""


class BackendRejected(BackendError):
    """The backend will not do this however often it is asked."""


class PayloadTooLarge(BackendRejected):
    """The message is larger than the broker or the configuration allows."""


class NotSupported(BackendRejected):
    """The broker or store in use cannot do this."""


# -- bytes --------------------------------------------------------------------------------


class EncodeError(QcoreError):
    """A value cannot be written by the serializer."""


class DecodeError(QcoreError):
    """Bytes cannot be read by the serializer."""


class EnvelopeError(QcoreError):
    """A message is not one this cluster may execute."""


class MalformedMessage(EnvelopeError):
    """The message is not a qcore envelope of a known version."""


class UnknownKey(EnvelopeError):
    """The message was signed with a key that is not in this configuration's secret_key."""


class BadSignature(EnvelopeError):
    """The signature does not match: the message was altered or is for another queue."""


# -- tasks and results --------------------------------------------------------------------


class TaskNotFound(QcoreError):
    """The name of the task does not lead to something that can be called."""


class TaskNotAllowed(TaskNotFound):
    """The name of the task is not among tasks_allowed."""


class TaskNameError(QcoreError):
    """A worker process could not import this function by name."""


class TaskFailed(QcoreError):
    """The task failed; its Result is in the attribute `result`."""

    def __init__(self, message: str | None = None, result: object = None) -> None:
        #: the `qcore.Result` of the task that failed
        self.result = result
        super().__init__(message)


class ScheduleError(QcoreError):
    """The schedule is not one that can be kept or fired."""


class ResultNotReady(QcoreError):
    """The task has no final result yet."""


class SkipTask(QcoreError):
    """Raised by a pre_enqueue or pre_execute hook: leave this task out."""


class TaskTimeout(BaseException):
    """The task ran longer than its timeout."""

    # Not a QcoreError and not an Exception: `except Exception` in a task must not eat it.


class TaskCancelled(BaseException):
    """The task was called off."""

    # As above.


# -- processes ----------------------------------------------------------------------------


class ClusterError(QcoreError):
    """The cluster could not do what it was asked."""


class StartFailed(ClusterError):
    """The cluster did not start."""


class ImportedMainReached(BaseException):
    """A worker that imports the user's script has come to the line that starts or uses the cluster."""

    # Ends the import there: what stands above the line is defined, what it does is not done twice.
