"""The rights that the pages of the databases name are enough, for work and for looking at it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from qcore import App, Cluster, Config
from qcore.interfaces import Settings
from qcore_sql import SqlBroker, SqlSettings
from tests.unit.command_line import typed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PAGES: Final = Path(__file__).parents[3] / "docs" / "how-to"


def granting(page: str) -> str:
    """Return the SQL of a page that gives the user `orders` the rights."""
    text = (PAGES / page).read_text(encoding="utf-8")
    (found,) = (block for block in text.split("```text\n") if block.startswith("GRANT "))
    return found.partition("```")[0]


@pytest.fixture(params=["postgresql18", "mariadb"])
def server(request: pytest.FixtureRequest) -> Any:
    """Return each kind of server."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def user(server: Any, namespace: str, url: str, look: Callable[..., list[Any]]) -> Iterator[str]:
    """Return the URL of a user who has the rights of the page and no others, once there are tables."""
    broker = SqlBroker(Settings(name="q", sections={"sql": SqlSettings(url=url)}))
    broker.ping()
    broker.close()
    postgresql = url.startswith("postgresql")
    if postgresql:
        look(f"CREATE ROLE {namespace} LOGIN")
        look(f"GRANT USAGE ON SCHEMA {namespace} TO {namespace}")
        look(granting("use-postgresql.md").replace("orders", namespace))
    else:
        look(f"CREATE USER {namespace}@localhost")
        rights = granting("use-mariadb.md").replace("shop.", f"{namespace}.")
        look(rights.replace("orders", f"{namespace}@localhost"))
    yield server.url(namespace, namespace)
    if not postgresql:
        look(f"DROP USER {namespace}@localhost")


def test_what_an_operator_looks_at_needs_no_more_rights_than_work(
    user: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the rights by which tasks run, `info`, `health` and `doctor` work as well."""
    secret = "the key of these tests, not of anybody else"
    settings = {"name": "rights", "secret_key": secret, "workers": 1, "sql": user}
    file = tmp_path / "qcore.toml"
    file.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in settings.items()))
    file.chmod(0o600)
    monkeypatch.chdir(tmp_path)
    config = Config.from_dict(settings)
    app = App(config)
    with Cluster(config):
        app.schedules.create("operator.add", 1, 1, name="sums", every=3600)
        assert app.enqueue("operator.add", 2, 3).result(wait=100) == 5
        for command in ("info --json", "health", "doctor", "dead-letters list", "schedule list"):
            ran = typed(capsys, *command.split())
            assert ran.code == 0, (command, ran)
    app.close()
