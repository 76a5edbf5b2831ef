"""Users who have the rights that the pages of the databases name, and no others."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from qcore.interfaces import Settings
from qcore_sql import SqlBroker, SqlSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGES: Final = Path(__file__).parents[3] / "docs" / "how-to"


def granting(page: str) -> str:
    """Return the SQL of a page that gives the user `orders` the rights."""
    text = (PAGES / page).read_text(encoding="utf-8")
    (found,) = (block for block in text.split("```text\n") if block.startswith("GRANT "))
    return found.partition("```")[0]


@contextlib.contextmanager
def least(server: Any, namespace: str) -> Iterator[str]:
    """Make the tables, and a user who may do what the page says; return the user's URL."""
    url = server.url(namespace)
    broker = SqlBroker(Settings(name="q", sections={"sql": SqlSettings(url=url)}))
    broker.ping()
    broker.close()
    if url.startswith("postgresql"):
        rights = granting("use-postgresql.md").replace("orders", namespace)
        given = [
            f"CREATE ROLE {namespace} LOGIN",
            f"GRANT USAGE ON SCHEMA {namespace} TO {namespace}",
            rights,
        ]
        taken = []
    else:
        user = f"{namespace}@localhost"
        rights = granting("use-mariadb.md").replace("shop.", f"{namespace}.").replace("orders", user)
        given, taken = [f"CREATE USER {user}", rights], [f"DROP USER {user}"]
    _execute(server, namespace, given)
    yield server.url(namespace, namespace)
    _execute(server, namespace, taken)


def _execute(server: Any, namespace: str, statements: list[str]) -> None:
    with contextlib.closing(server.connect(namespace)) as connection:
        for statement in statements:
            connection.cursor().execute(statement)
