"""Who only looks creates no queue."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import attrs
import pytest
import urllib3

from qcore.errors import QueueMissing
from qcore.interfaces import Settings
from qcore.model import Outgoing
from qcore_ironmq import IronBroker, IronSettings
from qcore_testing.looking import LOOKS, check_looking_creates_nothing

from .conftest import PROJECT, TOKEN

if TYPE_CHECKING:
    from pathlib import Path

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


def queues(server: Server) -> object:
    """Return the names of the queues."""
    url = f"http://127.0.0.1:{server.port}/3/projects/{PROJECT}/queues?per_page=100"
    answer = urllib3.request("GET", url, headers={"Authorization": f"OAuth {TOKEN}"}, timeout=10)
    assert answer.status == 200
    return answer.json()


@pytest.mark.parametrize("look", LOOKS)
def test_a_look_at_a_misspelt_name_creates_nothing(ironmq: Server, look: str, tmp_path: Path) -> None:
    """Whatever the command, the backend holds what it held."""
    check_looking_creates_nothing(look, {"iron_mq": ironmq.settings}, lambda: queues(ironmq), tmp_path)
