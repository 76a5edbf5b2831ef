"""What the tests of the SQLite backend do over and over."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

from qcore.builtin.sqlite import SqliteSettings
from qcore.interfaces import Settings
from qcore.model import Action, Delivery, Outgoing, Settlement, State, StoredResult

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from qcore.builtin.sqlite import SqliteBroker

#: seconds no test lives to see
LONG = 10_000.0


def settings_for(
    path: Path | None, *, retry: float = LONG, poll: float = 0.2, busy_timeout: float = 10.0
) -> Settings:
    """Return the settings of a queue in the file `path`."""
    own = SqliteSettings(path=None if path is None else str(path), busy_timeout=busy_timeout)
    return Settings(name="test", retry=retry, poll=poll, sections={"sqlite": own})


def outgoing(*bodies: bytes, delay: float = 0.0) -> list[Outgoing]:
    """Return messages with these bodies."""
    return [Outgoing(os.urandom(16), body, delay) for body in bodies]


def bodies(deliveries: Sequence[Delivery]) -> list[bytes]:
    """Return the bodies in the order they were handed out."""
    return [delivery.body for delivery in deliveries]


def settle_all(broker: SqliteBroker, deliveries: Sequence[Delivery], action: Action = Action.ACK) -> None:
    """End these leases in one call."""
    broker.settle([Settlement(delivery.receipt, action) for delivery in deliveries])


def result(
    id_: bytes, state: State = State.SUCCESS, body: bytes = b"sealed", **fields: float | str
) -> StoredResult:
    """Return a result of this task."""
    return StoredResult(id_, state, body, "tasks.add", **fields)  # type: ignore[arg-type]  # its fields


def python(script: str, *arguments: object) -> subprocess.Popen[str]:
    """Start another process that runs `script`."""
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
