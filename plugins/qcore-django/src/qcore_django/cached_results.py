"""Keeps results with the option `cached` in a cache of the site."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import math
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
from django.core.cache import caches
from django.core.cache.backends.dummy import DummyCache
from django.core.cache.backends.filebased import FileBasedCache
from django.core.cache.backends.locmem import LocMemCache
from django.core.files import locks
from django.db import connections

from qcore.errors import BackendUnavailable
from qcore.model import Kind, State, StoredResult
from qcore.tasks.current import RUNNER
from qcore_django import settings
from qcore_django.plugin import CACHED
from qcore_django.shared import app

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from django.core.cache.backends.base import BaseCache

    from qcore import Result
    from qcore.hookspecs import ExecuteEvent
    from qcore.runtime import Runtime

_log = logging.getLogger("qcore.django")
_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(StoredResult).decode
#: members of a result group that are read at once
_BLOCK: Final = 1000


def seconds_of(cached: object) -> float | None:
    """Return for how many seconds the option `cached` keeps a result, 0 = for ever; None = it is not set.

    None too where the site's cache is one of each process, which nobody else could read.
    """
    if cached is None or isinstance(cached, str) or not cached or shared_cache() is None:
        return None
    # Another type is refused by the options.
    return 0.0 if cached is True or not isinstance(cached, int | float) else max(0.0, float(cached))


def asked(cached: object = None) -> bool:
    """Return whether a call reads from the cache: it says so, or the setting `cached` does."""
    return seconds_of(app.config.cached if cached is None else cached) is not None


def shared_cache() -> BaseCache | None:
    """Return the cache of the setting `cache`, None if each process has one of its own."""
    cache = caches[settings.cache_alias()]
    return None if isinstance(cache, LocMemCache | DummyCache) else cache


def keep(event: ExecuteEvent) -> None:
    """Write what a task returned to the cache; where that fails, store it with the queue.

    What a failed task raised is stored with the queue, like that of every task.
    """
    outcome, runner = event.outcome, RUNNER.get()
    if outcome is None or outcome.kind is not Kind.SUCCESS or runner is None:
        return
    if (running := runner[0].running) is None:
        return
    message, plan, attempt, _ = running
    runtime = app.for_cluster(runner[1]).runtime
    outcome, value = runtime.results.dump(outcome, plan.declared)
    state = State.SUCCESS if outcome.kind is Kind.SUCCESS else State.FAILED
    stored = runtime.results.seal(
        message.id, plan.head, state, outcome, value,
        created=message.created, attempts=attempt, crashes=0, message=message,
    )  # fmt: skip
    try:
        _save(runtime, stored, float(event.task.headers[CACHED]))
    except BackendUnavailable as exc:
        _log.error(
            "the result of task %s (%s) is stored with the queue, because %s",
            event.task.id,
            event.task.name,
            exc,
        )
        with runtime.stores.connection(create=True) as store:
            store.save([stored])


def _save(runtime: Runtime, stored: StoredResult, seconds: float) -> None:
    """Write to the cache; of a task on an event loop in a thread, since Django refuses a database there."""
    # the public function raises if none runs
    if asyncio._get_running_loop() is None:  # noqa: SLF001 - see above
        of_site(runtime).save(stored, seconds)
        return

    def save() -> None:
        try:
            of_site(runtime).save(stored, seconds)
        finally:
            connections.close_all()

    # Not that of `sync_to_async`, which may wait for this loop.
    with ThreadPoolExecutor(1) as executor:
        executor.submit(save).result()


def fetch(id: str) -> Result | None:
    """Return a result that the cache has.

    Raises:
        BackendUnavailable: the cache does not answer.
        BadSignature: what it has was not signed with a key of this site.

    """
    found = of_site(app.runtime).get([bytes.fromhex(id)])
    return _read(found[0]) if found else None


def fetch_group(group: str) -> list[Result]:
    """Return the results of a result group that the cache has."""
    return [_read(one) for one in of_site(app.runtime).group(group)]


def _read(stored: StoredResult) -> Result:
    return app.results._read(stored)  # noqa: SLF001 - as one of the store's


def of_site(runtime: Runtime) -> CachedResults:
    """Return the results of a queue in the cache of the site."""
    alias = settings.cache_alias()
    return CachedResults(caches[alias], alias, runtime.config.name)


class CachedResults:
    """The results of one queue in a cache.

    Each member of a result group has a number, under which its id is kept: what two processes add at
    once is kept, which is not so of a list that each reads and writes.
    """

    def __init__(self, cache: BaseCache, alias: str, queue: str) -> None:
        self._cache: Any = cache
        self._alias = alias
        self._prefix = f"qcore:{queue}:result"

    def save(self, stored: StoredResult, seconds: float) -> None:
        """Keep a result, for ever if `seconds` are 0.

        Raises:
            BackendUnavailable: the cache does not answer, or does not take it.

        """
        timeout = math.ceil(seconds) or None
        key = self._key(stored.id)
        with self._answering():
            self._cache.set(key, _encode(stored), timeout)
            # Memcached drops what is too large, and some caches are told to hide that their server is away.
            kept = self._cache.has_key(key)
            if kept and stored.group:
                self._join(self._group(stored.group), stored.id, timeout)
        if not kept:
            msg = (
                f"the cache {self._alias!r} did not keep it ({len(stored.body)} bytes): see whether its "
                "server answers, and how large a value it takes"
            )
            raise BackendUnavailable(msg)

    def get(self, ids: Sequence[bytes]) -> list[StoredResult]:
        """Return the results that are there."""
        keys = [self._key(one) for one in ids]
        with self._answering():
            found = self._cache.get_many(keys)
        return [_decode(found[key]) for key in keys if key in found]

    def group(self, group: str) -> list[StoredResult]:
        """Return the results of a group in the order they finished."""
        with self._answering():
            members = self._members(self._group(group))
        return sorted(self.get(list(members)), key=lambda one: one.finished)

    def delete(self, ids: Sequence[bytes]) -> int:
        """Forget results; return how many there were."""
        there = self.get(ids)
        with self._answering():
            self._cache.delete_many([self._key(one.id) for one in there])
        return len(there)

    def delete_group(self, group: str) -> int:
        """Forget the results of a group; return how many there were."""
        prefix = self._group(group)
        with self._answering():
            members = self._members(prefix)
            self._cache.delete_many([f"{prefix}:{number}" for number in members.values()])
            self._cache.delete(prefix)
        return self.delete(list(members))

    def _join(self, prefix: str, id: bytes, timeout: int | None) -> None:
        """Take the first free number."""
        with self._alone():
            number = int(self._cache.get(prefix) or 0)
            while not self._cache.add(f"{prefix}:{number}", id, timeout):
                number += 1
            self._cache.set(prefix, number + 1, timeout)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep others out where `add` of the cache takes two steps: of two, both may have had a number."""
        if not isinstance(self._cache, FileBasedCache):
            yield
            return
        # its own files, which it counts and deletes, have another ending
        path = Path(self._cache._dir) / "qcore.lock"  # noqa: SLF001 - nothing else tells
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with path.open("ab") as file:
            locks.lock(file, locks.LOCK_EX)
            yield

    def _members(self, prefix: str) -> dict[bytes, int]:
        """Return the ids of a group with their numbers; what has expired leaves gaps."""
        known, found, start = int(self._cache.get(prefix) or 0), {}, 0
        while True:
            keys = {f"{prefix}:{number}": number for number in range(start, start + _BLOCK)}
            there = self._cache.get_many(list(keys))
            found.update({bytes(one): keys[key] for key, one in there.items()})
            start += _BLOCK
            # Who took a number may not have said so yet.
            if start > known and len(there) < _BLOCK:
                return found

    def _key(self, id: bytes) -> str:
        return f"{self._prefix}:{id.hex()}"

    def _group(self, group: str) -> str:
        # A group may have any name, and the key of a cache may not.
        return f"{self._prefix}-group:{hashlib.sha256(group.encode()).hexdigest()[:32]}"

    @contextmanager
    def _answering(self) -> Iterator[None]:
        try:
            yield
        except Exception as exc:
            msg = (
                f"the cache {self._alias!r} cannot be used: {type(exc).__name__}: {exc}; see whether its "
                "server answers, and CACHES in the settings"
            )
            raise BackendUnavailable(msg) from exc
