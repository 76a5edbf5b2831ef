"""Ended messages as flags, where the broker does not remember them."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from qcore import App, Config
from qcore.errors import BackendUnavailable
from qcore.flows.replays import Replays
from qcore.model import Action, Settlement
from qcore_process.connection_pool import ConnectionPool
from qcore_testing.memory.coordination import MemoryCoordination

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = pytest.mark.portable


class Clock:
    """A wall clock that stands until it is moved."""

    now = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


class Away(MemoryCoordination):
    """A store that does not answer."""

    def set_flag(self, key: str, value: bytes, ttl: float) -> None:
        """Raise."""
        raise BackendUnavailable("it is away")


@attrs.frozen
class Broker:
    """A broker as far as it is asked here."""

    capabilities: Any


def replays(store: MemoryCoordination, window: float = 60.0) -> Replays:
    """Return what is tried, with this store."""
    pool: ConnectionPool[Any] = ConnectionPool(lambda **_: store, 1)
    return Replays(pool, window)


def ended(action: Action, *ids: bytes) -> Sequence[Settlement]:
    """Return settlements."""
    return [Settlement(b"receipt", action, id=id_) for id_ in ids]


def test_what_was_acknowledged_is_remembered_for_the_window() -> None:
    """And not what will run again or was dead-lettered."""
    clock = Clock()
    tried = replays(MemoryCoordination(clock))
    one, two, three, four = ids = [os.urandom(16) for _ in range(4)]

    tried.remember(ended(Action.ACK, one, two))
    tried.remember([*ended(Action.RETRY, three), *ended(Action.DEAD_LETTER, four)])

    assert set(tried.ended(ids)) == {one, two}
    clock.now += 59.0
    assert set(tried.ended(ids)) == {one, two}
    clock.now += 2.0
    assert set(tried.ended(ids)) == set()


def test_a_message_without_an_id_is_not_remembered() -> None:
    """A foreign message has none, and the next such one is another message."""
    tried = replays(MemoryCoordination())
    tried.remember(ended(Action.ACK, b""))
    assert set(tried.ended([b""])) == set()


def test_a_store_that_is_away_does_not_stop_the_settlement(caplog: pytest.LogCaptureFixture) -> None:
    """The messages are acknowledged by then; the log says how many may run again."""
    with caplog.at_level(logging.WARNING, "qcore.flow"):
        replays(Away()).remember(ended(Action.ACK, os.urandom(16), os.urandom(16)))

    assert caplog.messages == ["copies of 2 messages that ended may run: it is away"]


@pytest.mark.parametrize(
    ("window", "remembers", "needed"),
    [(60.0, False, True), (60.0, True, False), (0.0, False, False), (None, False, False)],
)
def test_it_is_there_only_where_it_is_needed(window: float | None, remembers: bool, needed: bool) -> None:
    """The user asked for a window, and the broker does not remember by itself."""
    with App(Config.from_dict({"memory": {}})).runtime.brokers.connection() as memory:
        broker: Any = Broker(attrs.evolve(memory.capabilities, remembers_ended=remembers))
    pool: ConnectionPool[Any] = ConnectionPool(lambda **_: MemoryCoordination(), 1)

    assert (Replays.where_needed(broker, pool, window) is not None) is needed


def test_the_connection_is_given_back() -> None:
    """After a failure too."""
    app = App(Config.from_dict({"memory": {}}))
    pool = app.runtime.coordination_stores
    tried = Replays(pool, 60.0)

    for _ in range(3):
        tried.remember(ended(Action.ACK, os.urandom(16)))
        tried.ended([os.urandom(16)])

    assert len(pool._places) == len(pool._idle) == 1
