"""Coroutines that wait for results, where notifications are lost."""

from __future__ import annotations

import asyncio
import os
import time

import pytest

from qcore import App, Config
from qcore.model import State, StoredResult
from qcore_testing.memory.results import MemoryResults

pytestmark = pytest.mark.portable


def test_a_lost_notification_is_noticed_while_others_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls that come all the time do not put off the look for a result that nobody was notified of."""
    monkeypatch.setattr("qcore.async_api.result_waiter._LOOK", 0.1)
    monkeypatch.setattr(MemoryResults, "watch", lambda *_: lambda _: None)
    app = App(Config.from_dict({"name": "kit", "secret_key": "k" * 40, "memory": {}}))
    waiter, one = app.results._waiter, os.urandom(16)

    async def main() -> bool:
        waiting = asyncio.create_task(waiter.wait(one.hex(), 600.0, lambda: True))
        await asyncio.sleep(0)
        await waiter.wait(os.urandom(16).hex(), 0.0, lambda: None)
        with app.runtime.stores.connection() as store:
            store.save([StoredResult(one, State.SUCCESS, b"", "a.task")])
        end = time.monotonic() + 30.0
        while not waiting.done() and time.monotonic() < end:
            await waiter.wait(os.urandom(16).hex(), 0.0, lambda: None)
        return waiting.done()

    assert asyncio.run(main())
