"""Exports the calls of Django-Q; milliseconds here, seconds everywhere else."""

from qcore_django.tasks.calls import async_chain, async_iter, async_task, queue_size, schedule
from qcore_django.tasks.classes import AsyncTask, Chain, Iter
from qcore_django.tasks.reading import (
    count_group,
    count_group_cached,
    delete_cached,
    delete_group,
    delete_group_cached,
    fetch,
    fetch_cached,
    fetch_group,
    fetch_group_cached,
    result,
    result_cached,
    result_group,
    result_group_cached,
)

__all__ = [
    "AsyncTask",
    "Chain",
    "Iter",
    "async_chain",
    "async_iter",
    "async_task",
    "count_group",
    "count_group_cached",
    "delete_cached",
    "delete_group",
    "delete_group_cached",
    "fetch",
    "fetch_cached",
    "fetch_group",
    "fetch_group_cached",
    "queue_size",
    "result",
    "result_cached",
    "result_group",
    "result_group_cached",
    "schedule",
]
