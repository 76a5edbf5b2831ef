"""Whoever waits for a result on PostgreSQL is notified of it; who does not costs nothing."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from qcore import App, Config
from qcore.interfaces import Settings
from qcore.model import State, StoredResult
from qcore_sql import SqlResults, results
from qcore_sql.notices import PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: seconds any one condition is given
TIMEOUT = 60.0
#: seconds of a wait, and between two looks: who is not notified finds nothing in time
LONG = 3600.0


@pytest.fixture
def store(url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[SqlResults]:
    """Return a store that looks for results once an hour only, so that it has to be notified."""
    monkeypatch.setattr(results, "_LOOK", LONG)
    with contextlib.closing(SqlResults(Settings(name="q", sections={"sql": url}))) as store:
        yield store


def result(id_: bytes, state: State = State.SUCCESS) -> StoredResult:
    """Return a result."""
    return StoredResult(id_, state, b"body", "a.task")


def until(condition: Callable[[], Any], what: str) -> Any:
    """Return the value of `condition` as soon as it is true."""
    end = time.monotonic() + TIMEOUT
    while not (found := condition()):
        assert time.monotonic() < end, f"still waiting after {TIMEOUT:g} seconds for {what}"
        time.sleep(0.01)
    return found


def flags(look: Callable[..., list[Any]]) -> int:
    """Return how many results are waited for, as far as the database knows."""
    count: int = look("SELECT count(*) FROM qcore_flag WHERE item LIKE %s", f"{PREFIX}%")[0][0]
    return count


def test_whoever_waits_is_notified_of_the_final_result(
    store: SqlResults, url: str, look: Callable[..., list[Any]]
) -> None:
    """Two threads and another process's store wait for one result, which is not seen by looking."""
    one, two = os.urandom(16), os.urandom(16)
    found: list[Any] = []
    assert store.get([one]) == [None]
    threads = [
        threading.Thread(target=lambda id_: found.append(store.wait(id_, LONG)), args=(id_,), daemon=True)
        for id_ in (one, one, two)
    ]
    for thread in threads:
        thread.start()
    until(lambda: flags(look) == 2, "flags of those who wait")

    store.save([result(one, State.RETRYING), result(os.urandom(16))])
    store.save([result(one), result(two)])
    for thread in threads:
        thread.join(TIMEOUT)

    assert found.count(result(one)) == 2
    assert result(two) in found
    until(lambda: flags(look) == 0, "the end of the flags")


def test_what_was_saved_before_it_was_waited_for_is_found(store: SqlResults) -> None:
    """A result is there at once, and a wait that is over leaves nothing."""
    one = os.urandom(16)
    store.save([result(one)])

    assert store.wait(one, TIMEOUT) == result(one)
    assert store.wait(os.urandom(16), 0.01) is None


def test_a_lost_connection_is_made_anew(
    store: SqlResults, look: Callable[..., list[Any]], server: Any
) -> None:
    """Who waits while the server restarts is notified afterwards."""
    one = os.urandom(16)
    found: list[Any] = []
    store.get([one])
    thread = threading.Thread(target=lambda: found.append(store.wait(one, LONG)), daemon=True)
    thread.start()
    until(lambda: flags(look) == 1, "a flag")
    listening = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'LISTEN qcore_result_%'"
    (old,) = look(listening)[0]
    look(f"SELECT pg_terminate_backend({old})")
    until(lambda: any(pid != old for (pid,) in look(listening)), "another connection")

    store.save([result(one)])
    thread.join(TIMEOUT)

    assert found == [result(one)]


def test_coroutines_are_notified(
    url: str, look: Callable[..., list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many wait by one thread; each gets its own result, and one that is cancelled leaves nothing."""
    monkeypatch.setattr("qcore.async_api.result_waiter._LOOK", LONG)
    config = {"name": "q", "secret_key": "the key of these tests, not of anybody else", "sql": url}
    ids = [os.urandom(16) for _ in range(20)]
    with contextlib.closing(App(Config.from_dict(config))) as app:
        waiter = app.results._waiter
        app.enqueue("math.sqrt", 1)

        async def wait() -> list[Any]:
            calls = [waiter.wait(one.hex(), LONG, lambda one=one: one) for one in ids]  # type: ignore[misc]  # as above
            waiting = [asyncio.create_task(call) for call in calls]
            await asyncio.to_thread(until, lambda: flags(look) == len(ids), "flags of those who wait")
            waiting.pop().cancel()
            with app.runtime.stores.connection() as store:
                for one in ids[:-1]:
                    store.save([result(one)])
            return await asyncio.wait_for(asyncio.gather(*waiting), TIMEOUT)

        assert asyncio.run(wait()) == ids[:-1]
        until(lambda: flags(look) == 0, "the end of the flags")
