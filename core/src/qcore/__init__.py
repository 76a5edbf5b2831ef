"""Exports the public names, and imports `Cluster` when it is used."""

from typing import TYPE_CHECKING

from qcore.app import App
from qcore.config import UNSET, Config
from qcore.errors import (
    QcoreError,
    ResultGone,
    ResultNotReady,
    ScheduleError,
    SkipTask,
    TaskCancelled,
    TaskFailed,
    TaskTimeout,
)
from qcore.flows.app_api import Chain, Group
from qcore.flows.handles import CallbackJob, ChainJob, GroupJob
from qcore.journal.progress import progress
from qcore.lazy import on_demand
from qcore.model import QueueSize, Result, Schedule, State
from qcore.settle import Retry
from qcore.status import ClusterStatus, Progress, TaskStatus
from qcore.tasks.call import Call, Options
from qcore.tasks.task import Job, Task
from qcore_calendar.when import When, cron, every

if TYPE_CHECKING:
    from qcore.cluster import Cluster
else:
    # a program that only enqueues does not need the modules that start workers
    __getattr__ = on_demand(__name__, Cluster="cluster")


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
    "ResultGone",
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
