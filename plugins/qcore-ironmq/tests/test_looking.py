"""Who only looks creates no queue."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import attrs
import pytest

from qcore.errors import QueueMissing
from qcore.interfaces import Settings
from qcore.model import Outgoing
from qcore_ironmq import IronBroker, IronSettings

if TYPE_CHECKING:
    from .conftest import Server


def test_a_missing_queue_is_an_error_and_is_not_created(ironmq: Server) -> None:
    """The error names the queue; a process of a cluster waits for it."""
    name = f"none{os.urandom(4).hex()}"
    settings = Settings(name=name, create=False, sections={"iron_mq": IronSettings(**ironmq.settings)})
    for _ in range(2):
        with pytest.raises(QueueMissing, match=f"there is no queue '{name}' at IronMQ"):
            IronBroker(settings)
    assert list(IronBroker(attrs.evolve(settings, owner=b"a worker")).lease(1, 0.0)) == []

    IronBroker(attrs.evolve(settings, create=True)).enqueue([Outgoing(os.urandom(16), b"one")])

    assert IronBroker(settings).size().ready == 1
