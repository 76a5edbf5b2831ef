"""Tasks are enqueued by the transactions of coroutines, by each driver of SQLAlchemy."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from qcore import App, Config
from qcore.errors import BackendRejected

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

KEY = "the key of these tests, not of anybody else"
#: server -> drivers
DRIVERS = {
    "postgresql18": ("postgresql+asyncpg", "postgresql+psycopg"),
    "mariadb": ("mysql+asyncmy",),
    "sqlite": ("sqlite+aiosqlite",),
}

pytestmark = pytest.mark.slow


@pytest.fixture(
    params=[
        pytest.param((server, driver), id=driver) for server, drivers in DRIVERS.items() for driver in drivers
    ]
)
def choice(request: pytest.FixtureRequest) -> tuple[str, str]:
    """Return the names of a server and of a driver."""
    found: tuple[str, str] = request.param
    return found


@pytest.fixture
def server(choice: tuple[str, str], request: pytest.FixtureRequest) -> Any:
    """Return the server."""
    return request.getfixturevalue(choice[0])


@pytest.fixture
def engine(choice: tuple[str, str], url: str) -> AsyncEngine:
    """Return an engine of the driver for the database of the queue."""
    made = make_url(url).set(drivername=choice[1])
    if choice[1] != "postgresql+asyncpg":
        return create_async_engine(made)
    # it takes options of the session as a table
    schema = str(made.query["options"]).partition("=")[2]
    made = made.difference_update_query(["options"])
    return create_async_engine(made, connect_args={"server_settings": {"search_path": schema}})


@pytest.fixture(params=["queue", "outbox"])
def app(request: pytest.FixtureRequest, url: str, tmp_path: Path) -> Iterator[App]:
    """Return an App whose queue, or whose outbox, is in the database."""
    config: dict[str, Any] = {"name": "q", "secret_key": KEY, "sql": url}
    # it makes the tables
    with contextlib.closing(App(Config.from_dict(config))) as another:
        another.enqueue("math.sqrt", 0)
    if request.param == "outbox":
        config |= {"outbox": "sql", "sqlite": {"path": str(tmp_path / "queue.db")}}
    with contextlib.closing(App(Config.from_dict(config))) as app:
        yield app


def waiting(look: Callable[..., list[Any]]) -> int:
    """Return how many messages are committed."""
    return int(look("SELECT count(*) FROM qcore_message")[0][0])


@pytest.mark.parametrize("kind", ["connection", "session"])
def test_what_is_enqueued_is_gone_with_the_rollback(
    app: App, engine: AsyncEngine, kind: str, look: Callable[..., list[Any]]
) -> None:
    """One task, and several; nothing is seen before the commit."""
    task = app.task(name="math.sqrt")(lambda number: number)
    before = waiting(look)

    async def main() -> None:
        async with engine.connect() as made, AsyncSession(engine) as session:
            connection: Any = made if kind == "connection" else session
            chosen = task.using(connection=connection)
            for end, seen in (("rollback", 0), ("commit", 3)):
                await connection.execute(text("SELECT 1"))
                await chosen.aenqueue(1)
                await app.aenqueue_many([chosen.bind(2), chosen.using(delay=60).bind(3)])
                await getattr(connection, end)()
                assert waiting(look) - before == seen
        await engine.dispose()

    asyncio.run(main())


def test_flows_are_enqueued_by_what_run_sync_gives(
    app: App, engine: AsyncEngine, look: Callable[..., list[Any]]
) -> None:
    """A chain and a group have no `await` of their own; by the connection itself they are refused."""
    task = app.task(name="math.sqrt")(lambda number: number)
    before = waiting(look)

    def chain(connection: Any) -> object:
        chosen = task.using(connection=connection)
        return app.chain([chosen.bind(1), chosen.bind(2)])

    def group(connection: Any) -> object:
        chosen = task.using(connection=connection)
        return app.group([chosen.bind(1), chosen.bind(2)]).enqueue()

    async def main() -> None:
        async with engine.connect() as connection:
            await connection.begin()
            for flow in (chain, group):
                with pytest.raises(BackendRejected, match="is asynchronous"):
                    flow(connection)
            for end, seen in (("rollback", 0), ("commit", 3)):
                await connection.run_sync(chain)
                await connection.run_sync(group)
                await getattr(connection, end)()
                assert waiting(look) - before == seen
        await engine.dispose()

    asyncio.run(main())
