"""What a node of Disque's refuses, and which node is spoken to then."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
import redis

from qcore.errors import BackendUnavailable
from qcore.interfaces import Settings
from qcore.model import Outgoing
from qcore_disque import DisqueBroker

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Server

OOM = "OOM command not allowed when used memory > 'maxmemory'."


def broker_on(*nodes: str) -> DisqueBroker:
    """Return a broker on these nodes."""
    return DisqueBroker(Settings(name="alone", retry=60.0, sections={"disque_nodes": list(nodes)}))


def message() -> Outgoing:
    """Return a message."""
    return Outgoing(os.urandom(16), b"work")


def fail(server: Server, command: str, error: str) -> None:
    """Let the next such command be answered with an error."""
    client: Any = redis.Redis(port=server.port, protocol=2)
    client.execute_command("DEBUG", "FAIL", command, error)


def test_a_node_at_its_memory_limit_is_an_obstacle_that_passes(start: Callable[..., Server]) -> None:
    """The workers drain it: nobody has to give up."""
    server = start()
    broker = broker_on(server.node)
    fail(server, "ADDJOB", OOM)

    with pytest.raises(BackendUnavailable, match="at its memory limit"):
        broker.enqueue([message()])

    broker.enqueue([message()])
