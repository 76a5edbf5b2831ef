"""A message that somebody enqueues again does not run again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from qcore.model import Outgoing
from tests.integration import tasks
from tests.integration.land import final, lines, until

if TYPE_CHECKING:
    from qcore import App
    from tests.integration.land import Land

pytestmark = pytest.mark.portable


def captured(app: App) -> bytes:
    """Return the bytes of the only message in the queue, which stays there."""
    with app.runtime.brokers.connection() as broker:
        (delivery,) = broker.lease(1, 1)
        broker.release_owner(b"")
        from qcore.model import Action, Settlement

        broker.settle([Settlement(delivery.receipt, Action.RELEASE)])
        return bytes(delivery.body)


def push(app: App, body: bytes, times: int) -> None:
    """Put captured bytes on the queue again."""
    with app.runtime.brokers.connection() as broker:
        for _ in range(times):
            broker.enqueue([Outgoing(body[26:42], body)])


def empty(app: App) -> bool:
    """Tell whether the queue has nothing left."""
    size = app.queue.size()
    return (size.ready, size.leased, size.delayed, size.dead_letters) == (0, 0, 0, 0)


@pytest.mark.parametrize(
    "settings", [{}, {"save_limit": -1, "replay_window": 3600}], ids=["stored", "not stored"]
)
def test_a_captured_message_does_not_run_again(land: Land, settings: dict[str, Any]) -> None:
    """Whether or not its success is stored, in this cluster and in the next one."""
    app = land.app(**settings)
    job = app.enqueue(tasks.pid, str(land.file()))
    body = captured(app)
    cluster = land.cluster(**settings)
    until(lambda: len(lines(land.file())) == 1, "its run")
    until(lambda: empty(app), "its settlement")

    push(app, body, 15)
    until(lambda: empty(app), "the copies")
    cluster.stop()
    push(app, body, 15)
    land.cluster(**settings)
    until(lambda: empty(app), "the copies")

    assert len(lines(land.file())) == 1
    assert settings or final(job).success
