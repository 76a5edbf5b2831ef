"""What the functions that read results become."""

# ruff: noqa: FBT001, FBT002 - signatures are Django-Q's, positional booleans and all

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from qcore_django import cached_results
from qcore_django.results import TaskResult
from qcore_django.shared import app

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from django.db.models import QuerySet

    from qcore import Result

#: seconds of one wait, if the caller waits without limit
_LONG: Final = 3600.0
#: characters of a task's id
_ID: Final = 32
#: seconds between two looks into a cache, which notifies nobody: from, to, doubling
_PAUSES: Final = (0.01, 0.25)


def result(task_id: str | UUID, wait: float = 0, cached: object = None) -> Any:  # noqa: ANN401 - whatever the task returned
    """Return what a task returned, its error as text if it failed, None if it has not ended."""
    found = fetch(task_id, wait, cached)
    return None if found is None else found.result


def result_cached(task_id: str | UUID, wait: float = 0, broker: object = None) -> Any:  # noqa: ANN401 - as above
    """Return what `result` does with `cached`."""
    del broker
    return result(task_id, wait, cached=True)


def fetch(task_id: str | UUID, wait: float = 0, cached: object = None) -> TaskResult | None:
    """Return the result of a task with everything known of its run, None if it has not ended.

    With `cached` it is read from the cache, and from the store if it is not there. A task may also be
    named: then the newest of that name is looked for in the store, which has no index of names.
    """
    key = _id(task_id)
    if not key:
        return _fetch_named(str(task_id), wait)
    if cached_results.asked(cached):
        return _fetch_cached(key, wait)
    for seconds in _waits(wait):
        found = app.results.fetch(key, seconds)
        if found is not None and found.state.final:
            return TaskResult(found)
    return None


def fetch_cached(task_id: str | UUID, wait: float = 0, broker: object = None) -> TaskResult | None:
    """Return what `fetch` does with `cached`."""
    del broker
    return fetch(task_id, wait, cached=True)


def _fetch_cached(key: str, wait: float) -> TaskResult | None:
    for _ in _looks(wait):
        found = cached_results.fetch(key) or app.results.fetch(key)
        if found is not None and found.state.final:
            return TaskResult(found)
    return None


def _fetch_named(name: str, wait: float) -> TaskResult | None:
    from qcore_django.models import Task  # noqa: PLC0415 - the apps of the site are loaded when it is called

    for _ in _looks(wait) if name else ():
        found = Task.get_task(name)
        if found is not None:
            return TaskResult(found.native)
    return None


def result_group(
    group_id: object,
    failures: bool = False,
    wait: float = 0,
    count: int | None = None,
    cached: object = None,
) -> list[Any] | None:
    """Return what the tasks of a result group returned, None if there are no results.

    With `count` it waits until so many have ended, failed or not, or `wait` is over.
    """
    found = _group(group_id, failures, wait, count, cached)
    return None if found is None else [one.result for one in found]


def result_group_cached(
    group_id: object,
    failures: bool = False,
    wait: float = 0,
    count: int | None = None,
    broker: object = None,
) -> list[Any] | None:
    """Return what `result_group` does with `cached`."""
    del broker
    return result_group(group_id, failures, wait, count, cached=True)


def fetch_group(
    group_id: object,
    failures: bool = True,
    wait: float = 0,
    count: int | None = None,
    cached: object = None,
) -> QuerySet[Any] | list[TaskResult] | None:
    """Return the results of a result group, None if there are none; see `result_group`.

    They are a QuerySet of the model `Task` in the order they finished, with `cached` a list.
    """
    found = _group(group_id, failures, wait, count, cached)
    if found is None or cached_results.asked(cached):
        return found
    from qcore_django.models import Task  # noqa: PLC0415 - the apps of the site are loaded when it is called

    return Task.get_task_group(str(group_id), failures).order_by("stopped", "id")


def fetch_group_cached(
    group_id: object,
    failures: bool = True,
    wait: float = 0,
    count: int | None = None,
    broker: object = None,
) -> list[TaskResult] | None:
    """Return what `fetch_group` does with `cached`, a list."""
    del broker
    return _group(group_id, failures, wait, count, cached=True)


def _group(
    group_id: object, failures: bool, wait: float, count: int | None, cached: object
) -> list[TaskResult] | None:
    group, end = str(group_id), time.monotonic() + wait / 1000
    read = _cached_group if cached_results.asked(cached) else _stored_group
    found = read(group, bool(count) or failures, wait, count)
    chosen = [TaskResult(one) for one in found if failures or one.success]
    if not chosen and count and time.monotonic() < end:
        return _group(group_id, failures, (end - time.monotonic()) * 1000, None, cached)
    return chosen or None


def _stored_group(group: str, failures: bool, wait: float, count: int | None) -> list[Result]:
    found: list[Result] = []
    for seconds in _waits(wait):
        found = app.results.fetch_group(group, failures=failures, wait=seconds, count=count)
        if wait >= 0 or len(found) >= (count or 1):
            break
    return found


def _cached_group(group: str, failures: bool, wait: float, count: int | None) -> list[Result]:
    found: list[Result] = []
    for _ in _looks(wait):
        found = [one for one in _members(group) if failures or one.success]
        if len(found) >= (count or 1):
            break
    return found


def _members(group: str) -> list[Result]:
    """Return the results of a group that the cache has, and those that the store has, as of failures."""
    both = {one.id: one for one in app.results.fetch_group(group)}
    both.update({one.id: one for one in cached_results.fetch_group(group)})
    return sorted(both.values(), key=lambda one: one.finished)


def count_group(group_id: object, failures: bool = False, cached: object = None) -> int:
    """Return how many tasks of a result group have ended, or with `failures` how many failed."""
    group = str(group_id)
    if not cached_results.asked(cached):
        return app.results.count_group(group, failures=failures)
    return sum(not (failures and one.success) for one in _members(group))


def count_group_cached(group_id: object, failures: bool = False, broker: object = None) -> int:
    """Return what `count_group` does with `cached`."""
    del broker
    return count_group(group_id, failures, cached=True)


def delete_group(group_id: object, tasks: bool = False, cached: object = None) -> int:
    """Dissolve a result group, or with `tasks` delete its results; return how many there were.

    With `cached` its results are deleted, those in the cache too.
    """
    group = str(group_id)
    if not cached_results.asked(cached):
        return app.results.delete_group(group, tasks=tasks or bool(cached))
    there = cached_results.of_site(app.runtime).delete_group(group)
    return there + app.results.delete_group(group, tasks=True)


def delete_group_cached(group_id: object, broker: object = None) -> int:
    """Delete the results of a result group; return how many there were."""
    del broker
    return delete_group(group_id, tasks=True, cached=True)


def delete_cached(task_id: str | UUID, broker: object = None) -> bool:
    """Delete a result; return whether there was one."""
    del broker
    key = _id(task_id)
    if not key:
        return False
    there = 0
    if cached_results.shared_cache() is not None:
        there = cached_results.of_site(app.runtime).delete([bytes.fromhex(key)])
    return app.results.delete(key) or bool(there)


def _id(task_id: object) -> str:
    """Return the id of a task, empty if no task can have it."""
    text = task_id.hex if isinstance(task_id, UUID) else str(task_id)
    is_one = len(text) == _ID and not set(text.lower()) - set("0123456789abcdef")
    return text if is_one else ""


def _waits(milliseconds: float) -> Iterable[float]:
    """Yield the seconds to wait, again and again if they are below zero."""
    yield max(0.0, milliseconds / 1000)
    while milliseconds < 0:
        yield _LONG


def _looks(milliseconds: float) -> Iterator[None]:
    """Yield until the time is over, with pauses in between; without end if it is below zero."""
    end, pause = time.monotonic() + milliseconds / 1000, _PAUSES[0]
    while True:
        yield
        left = end - time.monotonic()
        if milliseconds >= 0 and left <= 0:
            return
        time.sleep(pause if milliseconds < 0 else min(pause, left))
        pause = min(pause * 2, _PAUSES[1])
