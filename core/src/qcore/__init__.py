"""Exports the public names, and imports each when it is used."""

from typing import TYPE_CHECKING

from qcore.lazy import on_demand

if TYPE_CHECKING:
    from qcore.app import App
    from qcore.cluster import Cluster
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
    from qcore.model import QueueSize, Result, State
    from qcore.settle import Retry
    from qcore.status import ClusterStatus, Progress, TaskStatus
    from qcore.tasks.call import Call, Options
    from qcore.tasks.current import CurrentTask, current
    from qcore.tasks.task import Job, Task
    from qcore.tasks.transaction import transaction
    from qcore_calendar.schedule import Schedule
    from qcore_calendar.when import When, cron, every
else:
    # Plugins and the packages beside this one import modules of `qcore`, and a program that only
    # enqueues does not need those that start workers.
    __getattr__ = on_demand(
        __name__,
        App=".app",
        Cluster=".cluster",
        UNSET=".config",
        Config=".config",
        QcoreError=".errors",
        ResultGone=".errors",
        ResultNotReady=".errors",
        ScheduleError=".errors",
        SkipTask=".errors",
        TaskCancelled=".errors",
        TaskFailed=".errors",
        TaskTimeout=".errors",
        Chain=".flows.app_api",
        Group=".flows.app_api",
        CallbackJob=".flows.handles",
        ChainJob=".flows.handles",
        GroupJob=".flows.handles",
        progress=".journal.progress",
        QueueSize=".model",
        Result=".model",
        Schedule="qcore_calendar.schedule",
        State=".model",
        Retry=".settle",
        ClusterStatus=".status",
        Progress=".status",
        TaskStatus=".status",
        Call=".tasks.call",
        Options=".tasks.call",
        CurrentTask=".tasks.current",
        current=".tasks.current",
        Job=".tasks.task",
        Task=".tasks.task",
        transaction=".tasks.transaction",
        When="qcore_calendar.when",
        cron="qcore_calendar.when",
        every="qcore_calendar.when",
    )


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
    "CurrentTask",
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
    "current",
    "every",
    "progress",
    "transaction",
]


def __dir__() -> list[str]:
    """Return the public names, which consoles complete."""
    return __all__
