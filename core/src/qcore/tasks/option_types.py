"""Tells type checkers which options a task has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qcore.settle import Retry
    from qcore_calendar.when import When


class TaskOptions(TypedDict, total=False):
    """The fields of `Options` as keyword arguments, for type checkers."""

    delay: float
    timeout: float | None
    retry: Retry | None
    max_crashes: int | None
    at_most_once: bool | None
    ack_failure: bool | None
    save: bool | None
    result_ttl: float | None
    group: str | None
    label: str | None
    expires: float
    sync: bool | None
    hook: Callable[..., Any] | str | None
    cluster: str | None
    queue: str | None
    priority: int | None
    unique: bool | str
    unique_for: float | None
    concurrency: int | None
    rate: tuple[int, float] | str | None
    limit_key: str | None
    continue_on_failure: bool
    strict: bool | None
    connection: Any


class Declared(TaskOptions, total=False):
    """What `App.task` takes."""

    name: str | None
    schedule: When | Sequence[When] | None
    alone: bool
