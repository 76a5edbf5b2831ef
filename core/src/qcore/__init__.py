"""The face: hands on names, `Cluster` when it is asked for."""

from typing import TYPE_CHECKING

from qcore.app import App
from qcore.call import Call, Options
from qcore.config import UNSET, Config
from qcore.errors import (
    QcoreError,
    ResultNotReady,
    ScheduleError,
    SkipTask,
    TaskCancelled,
    TaskFailed,
    TaskTimeout,
)
from qcore.flow import Chain, Group
from qcore.handles import CallbackJob, ChainJob, GroupJob
from qcore.model import QueueSize, Result, Schedule, State
from qcore.progress import progress
from qcore.settle import Retry
from qcore.status import ClusterStatus, Progress, TaskStatus
from qcore.task import Job, Task
from qcore.when import When, cron, every

if TYPE_CHECKING:
    from qcore.cluster import Cluster
else:

    def __getattr__(name: str) -> object:
        """Import what a program needs that starts workers; one that only enqueues does without."""
        if name == "Cluster":
            from qcore.cluster import Cluster  # noqa: PLC0415 - as said above

            return Cluster
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)


__all__ = [
    "UNSET",
    "App",
    "Call",
    "CallbackJob",
    "Chain",
    "ChainJob",
    "Cluster",
    "ClusterStatus",
    "Config",
    "Group",
    "GroupJob",
    "Job",
    "Options",
    "Progress",
    "QcoreError",
    "QueueSize",
    "Result",
    "ResultNotReady",
    "Retry",
    "Schedule",
    "ScheduleError",
    "SkipTask",
    "State",
    "Task",
    "TaskCancelled",
    "TaskFailed",
    "TaskStatus",
    "TaskTimeout",
    "When",
    "cron",
    "every",
    "progress",
]
