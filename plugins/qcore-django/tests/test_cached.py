"""Results with `cached`, in a cache of the site."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import site_tasks
from django.conf import settings
from django.core.cache import caches
from django.core.cache.backends.filebased import FileBasedCache
from django.core.cache.backends.locmem import LocMemCache
from django.core.management import call_command
from django.db import connections
from django.test import override_settings
from site_caches import Watched

from qcore import Cluster, Config
from qcore.errors import BackendUnavailable, BadSignature, ConfigError
from qcore.model import State, StoredResult
from qcore_django import app, cached_results
from qcore_django.tasks import (
    AsyncTask,
    Chain,
    Iter,
    async_iter,
    async_task,
    count_group,
    count_group_cached,
    delete_cached,
    delete_group_cached,
    fetch,
    fetch_cached,
    fetch_group_cached,
    result,
    result_cached,
    result_group_cached,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return where the cache is."""
    return tmp_path / "cache"


@pytest.fixture(autouse=True)
def site(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Give the site a queue and a cache of the test's own, and its workers the same settings."""
    table = {"name": "cached", "cache": "shared", "sqlite": {"path": str(tmp_path / "queue.db")}}
    named = {
        "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
        "shared": {"BACKEND": "site_caches.Watched", "LOCATION": str(folder)},
    }
    monkeypatch.setenv("SITE_Q_CLUSTER", json.dumps(table))
    monkeypatch.setenv("SITE_CACHES", json.dumps(named))
    Watched.kept.clear()
    with override_settings(Q_CLUSTER=table, CACHES=named):
        app.runtime.make_broker().close()
        yield
    app.close()


def stored() -> int:
    """Return how many results the store has."""
    with app.runtime.stores.connection() as store:
        return sum(store.counts().values())


@pytest.mark.parametrize(("cached", "seconds"), [(True, None), (60, 60), (0.5, 1)])
def test_a_cached_result_is_in_the_cache_alone(cached: float, seconds: int | None) -> None:
    """For as long as it was asked; it is found by whoever asks the cache, as in Django-Q."""
    task_id = async_task(site_tasks.add, 1, b=2, sync=True, cached=cached, task_name="sum")

    assert (stored(), set(Watched.kept.values())) == (0, {seconds})
    assert (fetch(task_id), result(task_id)) == (None, None)
    assert result(task_id, cached=True) == result_cached(task_id) == 3
    found = fetch_cached(task_id)
    assert found is not None
    assert (found.id, found.name, found.func, found.args, found.kwargs, found.attempt_count) == (
        task_id, "sum", "site_tasks.add", (1,), {"b": 2}, 1,
    )  # fmt: skip
    assert delete_cached(task_id)
    assert not delete_cached(task_id)
    assert fetch_cached(task_id) is None


def test_the_setting_has_all_functions_use_the_cache() -> None:
    """A call may still say that it does not."""
    with override_settings(Q_CLUSTER={**settings.Q_CLUSTER, "cache": "shared", "cached": 60}):
        task_id = async_task(site_tasks.add, 1, 2, sync=True, group="g")
        task = AsyncTask(site_tasks.add, 2, 2, sync=True)
        task.run()
        plain = async_task(site_tasks.add, 3, 2, sync=True, cached=False)

        assert stored() == 1
        assert (result(task_id), task.result(), task.fetch().result) == (3, 4, 4)
        assert (count_group("g"), result(plain, cached=False), result(plain)) == (1, 5, 5)


def test_groups_are_in_the_cache() -> None:
    """In the order they finished; deleting one deletes its results."""
    ids = [async_task(site_tasks.add, 1, n, sync=True, cached=60, group="a group: ü") for n in range(3)]

    assert result_group_cached("a group: ü", count=3, wait=20_000) == [1, 2, 3]
    assert [one.id for one in fetch_group_cached("a group: ü") or ()] == ids
    assert (count_group_cached("a group: ü"), count_group_cached("a group: ü", failures=True)) == (3, 0)
    assert count_group("a group: ü") == 0
    assert delete_group_cached("a group: ü") == 3
    assert (result_group_cached("a group: ü"), result_cached(ids[0])) == (None, None)
    assert caches["shared"].get("qcore:cached:result-group") is None


def test_flows_are_in_the_cache() -> None:
    """The results of all links of a chain, and the list of an iter, of which no part is kept."""
    chain = Chain(cached=60, sync=True)
    chain.append(site_tasks.add, 1, 2)
    chain.append(site_tasks.add, 3, 4)
    chain.run()
    assert (chain.result(wait=20_000), chain.current(), stored()) == ([3, 7], 2, 0)

    Watched.kept.clear()
    several = Iter(site_tasks.add, [(1, 2), (3, 4)], cached=60, sync=True)
    several.run()
    assert (sorted(several.result(wait=20_000)), len(Watched.kept), stored()) == ([3, 7], 1, 0)
    one = async_task(
        site_tasks.add, 1, 1, sync=True, cached=60, chain=[("site_tasks.add", (5, 5))], group="c"
    )
    assert (result_cached(one), result_group_cached("c"), stored()) == (2, [2, 10], 0)
    plain = async_iter(site_tasks.add, [(1, 2)], sync=True)
    assert (result(plain), stored()) == ([3], 1)


def test_what_a_cached_task_enqueues_is_not_cached_for_that() -> None:
    """Though it runs within the call that enqueued the first."""
    outer = async_task(site_tasks.enqueue_another, sync=True, cached=60)

    inner = result_cached(outer)
    assert result(inner) == 3
    assert (fetch(outer), stored()) == (None, 1)


def test_a_worker_writes_to_the_cache_and_failures_stay_with_the_queue(start_site_cluster: Any) -> None:
    """Whoever waits has either, and a failure is in the store, where the admin has it."""
    ids = [async_task(site_tasks.add, 1, n, cached=True, group="g") for n in range(2)]
    failed = async_task(site_tasks.fail, "no luck", cached=60, group="g", ack_failure=True)
    whole = async_iter(site_tasks.add, [(1, 2), (3, 4)], cached=60)

    start_site_cluster()

    assert sorted(result_group_cached("g", wait=100_000, count=3) or ()) == [1, 2]
    assert sorted(result_cached(whole, wait=100_000)) == [3, 7]
    assert "no luck" in result_cached(failed, wait=100_000)
    assert (count_group_cached("g"), count_group_cached("g", failures=True)) == (3, 1)
    assert [fetch(one) for one in ids] == [None, None]
    assert fetch(failed) == fetch_cached(failed)
    assert stored() == 1


@pytest.mark.parametrize(
    ("mark", "why"), [("away", "ConnectionError: connection refused"), ("full", "did not keep it")]
)
def test_what_a_cache_does_not_take_is_stored_with_the_queue(
    folder: Path, caplog: pytest.LogCaptureFixture, mark: str, why: str
) -> None:
    """And the log says why; it is found when the cache answers again."""
    broken = Path(f"{folder}.{mark}")
    broken.touch()
    with caplog.at_level(logging.ERROR, "qcore.django"):
        task_id = async_task(site_tasks.add, 1, 2, sync=True, cached=60)

    (said,) = [one.getMessage() for one in caplog.records]
    assert said.startswith(
        f"the result of task {task_id} (site_tasks.add) is stored with the queue, because the cache"
    )
    assert why in said
    broken.unlink()
    assert (result(task_id), result_cached(task_id)) == (3, 3)


def test_a_cache_that_does_not_answer_is_one_error(folder: Path) -> None:
    """For whoever reads from it."""
    Path(f"{folder}.away").touch()

    for read in (result_cached, result_group_cached, count_group_cached, delete_group_cached, delete_cached):
        with pytest.raises(
            BackendUnavailable, match="the cache 'shared' cannot be used: ConnectionError"
        ) as caught:
            read("f" * 32)
        assert "CACHES in the settings" in str(caught.value)


def test_a_cache_of_each_process_is_not_used() -> None:
    """Nobody else could read it, so what is cached is stored with the queue."""
    with override_settings(Q_CLUSTER={**settings.Q_CLUSTER, "cache": "default"}):
        task_id = async_task(site_tasks.add, 1, 2, sync=True, cached=60)

        assert (result(task_id), result_cached(task_id), stored()) == (3, 3, 1)


def test_a_cache_that_is_not_there_is_one_error() -> None:
    """With the names that there are."""
    with (
        override_settings(Q_CLUSTER={"cache": "shred"}),
        pytest.raises(
            ConfigError, match=r"cache: got 'shred'; there is no cache of this name; did you mean 'shared'"
        ),
    ):
        async_task(site_tasks.add, 1, 2, sync=True)


def test_what_somebody_else_has_written_is_refused() -> None:
    """A cache is shared with all that have its address."""
    task_id = async_task(site_tasks.add, 1, 2, sync=True, cached=60)
    other = async_task(site_tasks.add, 1, 5, sync=True, cached=60)
    (key,) = [one for one in Watched.kept if task_id in one]
    cache, alien = caches["shared"], cached_results.of_site(app.runtime).get([bytes.fromhex(other)])[0]

    cache.set(
        key, cached_results._encode(StoredResult(bytes.fromhex(task_id), State.SUCCESS, alien.body, "name"))
    )

    with pytest.raises(BadSignature):
        result_cached(task_id)


def test_members_that_are_added_at_once_are_all_kept() -> None:
    """Where the cache adds a key in one step, as Redis, memcached and databases do."""
    cache = LocMemCache("members", {})
    results = cached_results.CachedResults(cache, "default", "q")
    ids = [bytes([number]) * 16 for number in range(80)]

    def add(some: list[bytes]) -> None:
        for one in some:
            results.save(StoredResult(one, State.SUCCESS, b"", "name", "g", time.time()), 0)

    threads = [threading.Thread(target=add, args=(ids[start::4],)) for start in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()

    assert sorted(one.id for one in results.group("g")) == ids
    # one that has gone leaves a gap, and one that is added again is one member
    results.delete([ids[3]])
    add(ids[:1])
    assert len(results.group("g")) == 79


class BothAtOnce(FileBasedCache):
    """Has each of two writers look for a key before either writes it, if it can."""

    both = threading.Barrier(2)

    def has_key(self, key: str, version: int | None = None) -> bool:
        """Return whether a key is there, once both have looked."""
        found = super().has_key(key, version)
        if key.endswith(":0"):
            with contextlib.suppress(threading.BrokenBarrierError):
                self.both.wait(1)
        return found


def test_members_that_are_added_at_once_to_files_are_all_kept(tmp_path: Path) -> None:
    """`add` of a cache in files looks first and writes then, so one adds at a time."""
    results = cached_results.CachedResults(BothAtOnce(str(tmp_path / "files"), {}), "default", "q")
    ids = [bytes([number]) * 16 for number in range(2)]

    def add(one: bytes) -> None:
        results.save(StoredResult(one, State.SUCCESS, b"", "name", "g", time.time()), 0)

    threads = [threading.Thread(target=add, args=(one,)) for one in ids]
    for one in threads:
        one.start()
    for one in threads:
        one.join()

    assert sorted(one.id for one in results.group("g")) == ids


def test_coroutines_write_to_a_cache_in_a_database(tmp_path: Path) -> None:
    """Several at once, with threads beside them; Django refuses its database on their loop."""
    file = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(tmp_path / "cache.db")}
    options = {"init_command": "PRAGMA journal_mode = WAL", "transaction_mode": "IMMEDIATE", "timeout": 60}
    connections.settings["caching"] = {**connections.settings["default"], **file, "OPTIONS": options}
    cache = {"BACKEND": "django.core.cache.backends.db.DatabaseCache", "LOCATION": "a_cache"}
    ids = [bytes([number]) * 16 for number in range(1, 21)]
    stored = [StoredResult(one, State.SUCCESS, b"", "name", "g", time.time()) for one in ids]

    async def save(one: StoredResult) -> None:
        cached_results._save(app.runtime, one, 60.0)

    def in_a_loop(some: list[StoredResult]) -> None:
        async def main() -> None:
            await asyncio.gather(*map(save, some))

        asyncio.run(main())

    try:
        with override_settings(CACHES={"default": cache, "shared": cache}, DATABASE_ROUTERS=[ToTheCache()]):
            call_command("createcachetable", database="caching")
            with ThreadPoolExecutor(2) as threads:
                list(threads.map(in_a_loop, [stored[:10], stored[10:]]))

            found = cached_results.of_site(app.runtime).group("g")
            assert sorted(one.id for one in found) == ids
    finally:
        connections["caching"].close()
        del connections["caching"], connections.settings["caching"]


class ToTheCache:
    """Routes the table of the cache to a database of its own."""

    def db_for_read(self, model: Any, **_: Any) -> str | None:
        """Return the database of the cache for its table."""
        return "caching" if model._meta.app_label == "django_cache" else None

    db_for_write = db_for_read


@pytest.fixture
def start_site_cluster() -> Iterator[Any]:
    """Return what starts a cluster of the site."""
    clusters = []

    def started() -> None:
        table = {**app.config.as_dict(), "workers": 1, "preload": ["site_tasks"], "log_level": "ERROR"}
        clusters.append(Cluster(Config.from_dict(table)).start())

    yield started
    for cluster in clusters:
        cluster.stop(timeout=0)
