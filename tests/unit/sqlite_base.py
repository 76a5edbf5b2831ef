"""Settings, messages and child processes for the tests of the SQLite backend."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qcore.interfaces import Settings
from qcore.model import Action, Delivery, Outgoing, Settlement, State, StoredResult
from qcore_sqlite import SqliteSettings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from qcore_sqlite import SqliteBroker

#: seconds, longer than any test runs
LONG = 10_000.0


def settings_for(
    path: Path | None,
    *,
    name: str = "test",
    retry: float = LONG,
    poll: float = 0.2,
    busy_timeout: float = 10.0,
    create: bool = True,
) -> Settings:
    """Return the settings of a queue in the file `path`."""
    section = SqliteSettings(path=None if path is None else Path(path), busy_timeout=busy_timeout)
    return Settings(name=name, retry=retry, poll=poll, create=create, sections={"sqlite": section})


def fill(path: Path, there: list[tuple[str, dict[str, Any]]]) -> None:
    """Put rows into the tables, as anybody may who can write to the file."""
    connection = sqlite3.connect(path)
    for table, filled in there:
        names = ", ".join(filled)
        marks = ", ".join("cast(? as text)" if isinstance(one, list) else "?" for one in filled.values())
        plain = [one[0] if isinstance(one, list) else one for one in filled.values()]
        connection.execute(f"insert or replace into {table} ({names}) values ({marks})", plain)  # noqa: S608 - names of this file
    connection.commit()
    connection.close()


def outgoing(*bodies: bytes, delay: float = 0.0) -> list[Outgoing]:
    """Return messages with these bodies."""
    return [Outgoing(os.urandom(16), body, delay) for body in bodies]


def bodies(deliveries: Sequence[Delivery]) -> list[bytes]:
    """Return the bodies in the order in which they were leased."""
    return [delivery.body for delivery in deliveries]


def settle_all(broker: SqliteBroker, deliveries: Sequence[Delivery], action: Action = Action.ACK) -> None:
    """Settle these leases in one call."""
    broker.settle([Settlement(delivery.receipt, action) for delivery in deliveries])


def result(
    id_: bytes, state: State = State.SUCCESS, body: bytes = b"sealed", **fields: float | str
) -> StoredResult:
    """Return a result of the task with this id."""
    return StoredResult(id_, state, body, "tasks.add", **fields)  # type: ignore[arg-type]  # its fields


@contextlib.contextmanager
def python(script: str, *arguments: object) -> Iterator[Child]:
    """Run `script` in another process, which is killed at the end of the block."""
    with subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    ) as process:
        try:
            yield Child(process)
        finally:
            process.kill()


class Child:
    """Another process that runs a script."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def go(self) -> None:
        """Write the line that it waits for."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def ready(self) -> None:
        """Wait until it prints a line."""
        assert self.process.stdout is not None
        assert self.process.stdout.readline()

    def end(self) -> list[str]:
        """Wait until it ends and return the words it printed."""
        return self.process.communicate(timeout=60)[0].split()
