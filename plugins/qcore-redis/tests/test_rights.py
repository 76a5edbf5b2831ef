"""Everything works with the rights that the page names, and with none but these."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

import qcore_redis
from qcore import App, Cluster, Config
from qcore.interfaces import Settings
from qcore_redis import RedisBroker, RedisResults, RedisSchedules, RedisSettings
from qcore_testing import (
    BrokerContract,
    CommitContract,
    FireContract,
    ResultStoreContract,
    ScheduleStoreContract,
)

if TYPE_CHECKING:
    from collections.abc import Callable

PAGE: Final = Path(__file__).parents[3] / "docs" / "how-to" / "use-redis.md"
SOURCE: Final = Path(qcore_redis.__file__).parent
#: what only some configurations send
SOME: Final = {"cluster|slots", "asking", "client|setname", "select", "wait"}


def line(queue: str) -> list[str]:
    """Return the words of the page's command, for a queue."""
    found = re.search(r"ACL SETUSER orders (?:.*\\\n)*.*", PAGE.read_text(encoding="utf-8"))
    assert found, "the page names the rights"
    return shlex.split(found[0].replace("\\\n", " ").replace("qcore:orders", f"qcore:{queue}"))


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


def allow(server: Any, queue: str) -> dict[str, str]:
    """Make the user of the page, and return how to log in."""
    words = line(queue)
    (password,) = (word[1:] for word in words if word.startswith(">"))
    with server.client() as client:
        client.execute_command(*words)
    return {"username": "orders", "password": password}


class _Least:
    """A server that is empty at the start of each test, and lets us do no more than needed."""

    @pytest.fixture
    def settings(self, any_server: Any) -> Callable[..., Settings]:
        """Return a maker of settings of one queue."""
        with any_server.client() as client:
            client.flushall()
        section = RedisSettings(unix_socket_path=any_server.path, **allow(any_server, "kit"))

        def made(name: str = "kit", **fields: Any) -> Settings:
            with any_server.client() as client:
                client.execute_command("ACL", "SETUSER", "orders", f"~{{qcore:{name}}}:*")
            return Settings(name=name, sections={"redis": section}, **fields)

        return made


@pytest.mark.slow
class TestRedisBroker(_Least, BrokerContract):
    """RedisBroker keeps to Broker."""

    @pytest.fixture
    def make(self, settings: Callable[..., Settings]) -> Callable[..., RedisBroker]:
        """Return a maker of brokers of one queue."""
        return lambda **fields: RedisBroker(settings(**fields))


@pytest.mark.slow
class TestRedisResults(_Least, ResultStoreContract):
    """RedisResults keeps to ResultStore."""

    @pytest.fixture
    def make(self, settings: Callable[..., Settings]) -> Callable[..., RedisResults]:
        """Return a maker of stores of the same results."""
        return lambda **fields: RedisResults(settings(**fields))


@pytest.mark.slow
class TestRedisCommit(_Least, CommitContract):
    """Broker and store of one queue keep their order."""

    @pytest.fixture
    def make(self, settings: Callable[..., Settings]) -> Callable[..., tuple[RedisBroker, RedisResults]]:
        """Return a maker of pairs."""
        return lambda **fields: (RedisBroker(settings(**fields)), RedisResults(settings(**fields)))


@pytest.mark.slow
class TestRedisSchedules(_Least, ScheduleStoreContract):
    """RedisSchedules keeps to ScheduleStore."""

    @pytest.fixture
    def make(self, settings: Callable[..., Settings]) -> Callable[..., RedisSchedules]:
        """Return a maker of stores of the same schedules."""
        return lambda **fields: RedisSchedules(settings(**fields))


@pytest.mark.slow
class TestRedisFire(_Least, FireContract):
    """A slot's messages and its schedule are written together."""

    @pytest.fixture
    def make(self, settings: Callable[..., Settings]) -> Callable[..., tuple[RedisBroker, RedisSchedules]]:
        """Return a maker of pairs."""
        return lambda **fields: (RedisBroker(settings(**fields)), RedisSchedules(settings(**fields)))


RIGHTS: Final = {
    "least": line,
    # what an administrator gives who wants to name no command
    "usual": lambda queue: (
        f"ACL SETUSER orders on >secret ~{{qcore:{queue}}}:* +@all -@dangerous -@admin".split()
    ),
}


@pytest.mark.parametrize("rights", RIGHTS)
def test_what_an_operator_looks_at_needs_no_more_rights_than_work(
    any_server: Any, tmp_path: Path, rights: str
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
    app = App(config)
    with Cluster(config):
        assert app.enqueue("operator.add", 2, 3).result(wait=100) == 5
        told = {}
        for command in (["info", "--json"], ["health"], ["doctor"]):
            ran = subprocess.run(
                [sys.executable, "-m", "qcore", *command],
                capture_output=True, text=True, timeout=60, cwd=tmp_path, check=False,
            )  # fmt: skip
            assert ran.returncode == 0, (command, ran.stdout, ran.stderr)
            told[command[0]] = ran.stdout
    app.close()

    assert re.search(r"(Redis|Valkey) \d+\.\d", told["info"]), told["info"]
    assert "maxmemory-policy" in told["doctor"]
