"""Tasks are enqueued by the transactions of coroutines, by each kind of connection."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg.rows import dict_row
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, async_scoped_session, async_sessionmaker
from sqlalchemy.ext.asyncio import create_async_engine as create_engine

from qcore import App, Config
from qcore.errors import BackendRejected

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from qcore import Job

pytestmark = pytest.mark.slow

KEY = "the key of these tests, not of anybody else"
KINDS = ("driver", "driver-autocommit", "connection", "session")


@pytest.fixture(params=["queue", "outbox"])
def app(request: pytest.FixtureRequest, url: str, tmp_path: Path) -> Iterator[App]:
    """Return an App whose queue, or whose outbox, is in the database."""
    config: dict[str, Any] = {"name": "q", "secret_key": KEY, "sql": url}
    if request.param == "outbox":
        config |= {"outbox": "sql", "sqlite": {"path": str(tmp_path / "queue.db")}}
    with contextlib.closing(App(Config.from_dict(config))) as app:
        yield app


def engine_url(url: str) -> str:
    """Return what a program gives to SQLAlchemy."""
    return url.replace("postgresql:", "postgresql+psycopg:", 1)


@contextlib.asynccontextmanager
async def connected(kind: str, url: str) -> AsyncIterator[Any]:
    """Lend a connection of a kind, or a session."""
    if kind.startswith("driver"):
        autocommit = kind == "driver-autocommit"
        connection = await psycopg.AsyncConnection.connect(url, autocommit=autocommit, row_factory=dict_row)
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(connection.close)
            yield connection
        return
    engine = create_engine(engine_url(url))
    try:
        if kind == "connection":
            async with engine.connect() as made:
                yield made
        else:
            async with AsyncSession(engine) as session:
                yield session
    finally:
        await engine.dispose()


async def begin(connection: Any) -> None:
    """Begin a transaction."""
    if isinstance(connection, psycopg.AsyncConnection):
        await connection.execute("BEGIN") if connection.autocommit else None
    elif isinstance(connection, AsyncConnection):
        await connection.begin()
    else:
        await connection.execute(text("SELECT 1"))


def waiting(look: Callable[..., list[Any]]) -> int:
    """Return how many messages are committed."""
    return int(look("SELECT count(*) FROM qcore_message")[0][0])


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_enqueued_is_gone_with_the_rollback(
    app: App, url: str, kind: str, look: Callable[..., list[Any]]
) -> None:
    """One task, and several; nothing is seen before the commit."""
    task = app.task(name="math.sqrt")(lambda number: number)

    async def enqueue(connection: Any) -> list[Job[Any]]:
        chosen = task.using(connection=connection)
        one = await chosen.aenqueue(1)
        return [one, *await app.aenqueue_many([chosen.bind(2), chosen.using(delay=60).bind(3)])]

    async def main() -> None:
        async with connected(kind, url) as connection:
            await begin(connection)
            await enqueue(connection)
            await connection.rollback()
            assert waiting(look) == 0
            await begin(connection)
            assert len({job.id for job in await enqueue(connection)}) == 3
            assert waiting(look) == 0
            await connection.commit()
            assert waiting(look) == 3

    asyncio.run(main())


def test_the_loop_goes_on_while_the_database_does_not(
    app: App, url: str, look: Callable[..., list[Any]]
) -> None:
    """Others run until the row of a table is free; who is cancelled has the connection to himself again."""
    task = app.task(name="math.sqrt")(lambda number: number)

    async def main() -> None:
        async with connected("connection", url) as connection:
            await begin(connection)
            await task.using(connection=connection).aenqueue(0)
            await connection.rollback()
            look("BEGIN")
            look("LOCK TABLE qcore_message IN EXCLUSIVE MODE")
            await begin(connection)
            waits = asyncio.ensure_future(task.using(connection=connection).aenqueue(1))
            while not await blocked(url):
                assert not waits.done()
            waits.cancel()
            await asyncio.wait([waits], timeout=0)
            assert not waits.done()
            look("COMMIT")
            with pytest.raises(asyncio.CancelledError):
                await waits
            await connection.rollback()
            await begin(connection)
            await task.using(connection=connection).aenqueue(2)
            await connection.commit()

    asyncio.run(main())
    assert waiting(look) == 1


async def blocked(url: str) -> bool:
    """Return whether a statement waits for a lock."""
    async with await psycopg.AsyncConnection.connect(url) as other:
        found = await other.execute("SELECT 1 FROM pg_locks WHERE NOT granted")
        return await found.fetchone() is not None


def test_each_error_says_what_is_wrong(app: App, url: str, look: Callable[..., list[Any]]) -> None:
    """Nothing is enqueued, and the loop's own errors are those of connections for threads."""
    task = app.task(name="math.sqrt")(lambda number: number)

    async def refused(connection: Any, said: str) -> None:
        with pytest.raises(BackendRejected, match=said):
            await task.using(connection=connection).aenqueue(1)

    async def main() -> None:
        async with connected("driver", url) as connection:
            with pytest.raises(BackendRejected, match=r"is asynchronous, so enqueue by `await .*aenqueue"):
                task.using(connection=connection).enqueue(1)
            with pytest.raises(BackendRejected, match="is asynchronous"):
                await asyncio.to_thread(task.using(connection=connection).enqueue, 1)
            with contextlib.suppress(psycopg.Error):
                await connection.execute("nonsense")
            await refused(connection, "its transaction has failed; roll it back first")
        await refused(connection, "it is closed")
        async with connected("driver-autocommit", url) as connection:
            await refused(connection, "in autocommit mode and has no transaction")
        async with connected("session", url) as session:
            await refused(session, "the session has no transaction")
            scoped = async_scoped_session(async_sessionmaker(), scopefunc=asyncio.current_task)
            await refused(scoped, r"pass `scoped\(\)`")
        engine = create_engine(engine_url(url), isolation_level="AUTOCOMMIT")
        async with engine.connect() as loose:
            await refused(loose, "its isolation level is AUTOCOMMIT")
        await engine.dispose()
        await refused(contextlib.AsyncExitStack(), "takes a Connection or Session of SQLAlchemy, or")
        async with await psycopg.AsyncConnection.connect(f"{url}&application_name=x") as elsewhere:
            await elsewhere.execute("SET search_path = public")
            await refused(elsewhere, "it leads to another database than `sql`")

    asyncio.run(main())
    assert waiting(look) == 0


def test_a_connection_for_threads_joins_too(app: App, url: str, look: Callable[..., list[Any]]) -> None:
    """`aenqueue` takes it in the thread of the loop, which waits for the one statement."""
    task = app.task(name="math.sqrt")(lambda number: number)

    async def main() -> None:
        for end in ("rollback", "commit"):
            with contextlib.closing(psycopg.connect(url)) as connection:
                await task.using(connection=connection).aenqueue(1)
                getattr(connection, end)()

    asyncio.run(main())
    assert waiting(look) == 1
