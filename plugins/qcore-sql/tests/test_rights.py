"""The rights that the pages name are enough to look; `test_contract.py` has none but these."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from qcore import App, Cluster, Config
from tests.unit.command_line import typed

from .least_rights import least

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(params=["postgresql18", "mariadb"])
def server(request: pytest.FixtureRequest) -> Any:
    """Return each kind of server."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def user(server: Any, namespace: str) -> Iterator[str]:
    """Return the URL of a user who has the rights of the page and no others."""
    with least(server, namespace) as url:
        yield url


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
