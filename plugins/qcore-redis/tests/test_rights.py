"""The rights that the page names are those that are needed; `test_contract.py` has none but these."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any, Final

import pytest

import qcore_redis
from qcore import App, Cluster, Config
from tests.unit.command_line import typed

from .least_rights import line

SOURCE: Final = Path(qcore_redis.__file__).parent
#: what only some configurations send
SOME: Final = {"cluster|slots", "asking", "client|setname", "select", "wait"}


def sent() -> set[str]:
    """Return each command that the sources name."""
    scripts = "".join(path.read_text() for path in (SOURCE / "lua").glob("*.lua"))
    python = "".join(path.read_text() for path in SOURCE.glob("*.py"))
    words = set(re.findall(r"(?:call|raw)\('([A-Z]+)'", scripts))
    words |= set(re.findall(r'\bb"([A-Z]{2,})"', python)) - {
        "LEFT",
        "RIGHT",
        "LOAD",
        "SLOTS",
        "SCRIPT",
        "CLUSTER",
        "MATCH",
        "COUNT",
    }
    # asked for, and done without where it is refused
    words -= {"CONFIG"}
    return {word.lower() for word in words} | {"script|load"} | SOME


def test_the_page_names_the_least_rights() -> None:
    """Each command that is sent, and no other; keys of the queue only, and no channels."""
    words = line("q")

    assert {word[1:] for word in words if word.startswith("+")} == sent()
    assert "-@all" in words
    assert "resetchannels" in words
    assert [word for word in words if word.startswith(("~", "%", "&", "allkeys"))] == ["~{qcore:q}:*"]


RIGHTS: Final = {
    "least": line,
    # what an administrator gives who wants to name no command
    "usual": lambda queue: (
        f"ACL SETUSER orders on >secret ~{{qcore:{queue}}}:* +@all -@dangerous -@admin".split()
    ),
}


@pytest.mark.parametrize("rights", RIGHTS)
def test_what_an_operator_looks_at_needs_no_more_rights_than_work(
    any_server: Any,
    tmp_path: Path,
    rights: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With the rights by which tasks run, `info`, `health` and `doctor` work as well."""
    name = f"q{os.urandom(4).hex()}"
    words = RIGHTS[rights](name)
    (password,) = (word[1:] for word in words if word.startswith(">"))
    with any_server.client() as client:
        client.execute_command(*words)
    table = {"unix_socket_path": any_server.path, "username": "orders", "password": password}
    secret = "the key of these tests, not of anybody else"
    config = Config.from_dict({"name": name, "secret_key": secret, "workers": 1, "redis": table})
    file = tmp_path / "qcore.toml"
    written = "\n".join(f"{key} = {json.dumps(value)}" for key, value in table.items())
    file.write_text(f'name = "{name}"\nsecret_key = "{secret}"\n[redis]\n{written}\n')
    file.chmod(0o600)
    monkeypatch.chdir(tmp_path)
    app = App(config)
    with Cluster(config):
        assert app.enqueue("operator.add", 2, 3).result(wait=100) == 5
        told = {}
        for command in (["info", "--json"], ["health"], ["doctor"]):
            ran = typed(capsys, *command)
            assert ran.code == 0, (command, ran)
            told[command[0]] = ran.out
    app.close()

    assert re.search(r"(Redis|Valkey) \d+\.\d", told["info"]), told["info"]
    assert "maxmemory-policy" in told["doctor"]
