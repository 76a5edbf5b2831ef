"""The face: hands on names, defines nothing."""

from qcore.app import App, Call, Job, Options, Task
from qcore.cluster import Cluster
from qcore.config import UNSET, Config
from qcore.errors import QcoreError, ResultNotReady, SkipTask, TaskFailed, TaskTimeout
from qcore.model import ClusterStatus, QueueSize, Result, State
from qcore.settle import Retry

__all__ = [
    "UNSET",
    "App",
    "Call",
    "Cluster",
    "ClusterStatus",
    "Config",
    "Job",
    "Options",
    "QcoreError",
    "QueueSize",
    "Result",
    "ResultNotReady",
    "Retry",
    "SkipTask",
    "State",
    "Task",
    "TaskFailed",
    "TaskTimeout",
]
