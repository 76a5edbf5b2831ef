"""How long a call waits for a database whose answers drip."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import pytest

from qcore.errors import BackendUnavailable
from qcore.interfaces import Settings
from qcore.model import State, StoredResult
from qcore_sql import SqlResults, SqlSettings
from qcore_testing.server_line import ServerLine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: server -> its socket, and the URL by which it is reached at a port
LINES: dict[str, tuple[str, str]] = {
    "postgresql18": (
        ".s.PGSQL.5432",
        "postgresql://qcore@127.0.0.1:{port}/postgres?options=-csearch_path%3D{name}",
    ),
    "mariadb": ("socket", "mariadb://root@127.0.0.1:{port}/{name}"),
}


@pytest.fixture(params=LINES)
def line(request: pytest.FixtureRequest) -> Iterator[tuple[ServerLine, Callable[..., SqlResults]]]:
    """Return a line to a server, and what makes a result store that uses it."""
    server: Any = request.getfixturevalue(request.param)
    socket, url = LINES[request.param]
    line = ServerLine(str(server.folder / socket))
    lent = server.lent()
    name = next(lent)

    def make(**fields: Any) -> SqlResults:
        section = SqlSettings(url=url.format(port=line.port, name=name), **fields)
        return SqlResults(Settings(name="q", sections={"sql": section}))

    yield line, make
    line.close()
    next(lent, None)


def test_an_answer_that_drips_is_given_up_in_time(
    line: tuple[ServerLine, Callable[..., SqlResults]],
) -> None:
    """The limit is for the whole answer and does not start anew with each byte."""
    leads, make = line
    store = make(timeout=1.0)
    store.save(
        [kept := StoredResult(os.urandom(16), State.SUCCESS, bytes(2000), "a.task", None, time.time())]
    )

    since = time.monotonic()
    with leads.dripping(), pytest.raises(BackendUnavailable, match="does not answer"):
        store.get([kept.id])
    # whole it would be here after two hundred seconds
    assert time.monotonic() - since < 20

    assert store.get([kept.id]) == [kept]
    store.close()


def test_a_greeting_that_drips_is_given_up_in_time(
    line: tuple[ServerLine, Callable[..., SqlResults]],
) -> None:
    """To connect has a limit too."""
    leads, make = line
    store = make(timeout=1.0, connect_timeout=1.0)

    since = time.monotonic()
    with leads.dripping(), pytest.raises(BackendUnavailable, match="does not answer"):
        store.get([bytes(16)])
    assert time.monotonic() - since < 20
    store.close()
