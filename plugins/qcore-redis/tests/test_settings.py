"""What a user may write under `redis`, and where it leads."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from qcore import Config
from qcore.coordination import BarrierMember
from qcore.errors import BackendRejected, BackendUnavailable, ConfigError
from qcore.interfaces import Settings
from qcore.model import Outgoing
from qcore_redis import RedisBroker, RedisSettings, parse_settings, plugin
from qcore_redis.coordination import make_coordination

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SECRET = "the key of these tests, not of anybody else"


def section(value: Any) -> Any:
    """Return what a configuration makes of the key `redis`."""
    return Config.from_dict({"name": "q", "secret_key": SECRET, "redis": value}).settings().section("redis")


def title(value: Any) -> str:
    """Return where a section leads."""
    return parse_settings.find(section(value)).title


@pytest.mark.parametrize(
    ("value", "where"),
    [
        ({}, "localhost:6379/0"),
        ({"host": "", "port": 6379, "db": 0}, "localhost:6379/0"),
        (
            {
                "host": "localhost",
                "port": 6379,
                "db": 0,
                "password": None,
                "socket_timeout": None,
                "charset": "utf-8",
                "errors": "strict",
                "unix_socket_path": None,
            },
            "localhost:6379/0",
        ),
        ("redis://", "localhost:6379/0"),
        ("redis://db", "db:6379/0"),
        ("redis://user:pa%40ss@db:7000/3", "db:7000/3"),
        ("redis://db:7000?db=4", "db:7000/4"),
        ("redis://[::1]:7000/1", "::1:7000/1"),
        ("unix:///run/redis.sock?db=2", "/run/redis.sock/2"),
        ("rediss://db:7000/1?ssl_cert_reqs=none", "db:7000/1"),
        ("redis+sentinel://one:1,two/orders/2", "orders/2"),
        ("redis+cluster://one:7000,two", "one:7000,two:6379"),
        ({"url": "redis://db", "password": "x"}, "db:6379/0"),
        ({"unix_socket_path": "/run/redis.sock"}, "/run/redis.sock/0"),
        ({"host": "db", "ssl": True, "ssl_ca_certs": "/ca.pem"}, "db:6379/0"),
    ],
)
def test_a_table_or_a_url_leads_to_a_server(value: Any, where: str) -> None:
    """Django-Q's tables and every kind of URL are understood."""
    assert title(value) == where


def test_a_url_carries_its_keywords() -> None:
    """User, password and what stands behind the question mark are kept."""
    found = parse_settings.find("redis://me:pa%40ss@db?socket_timeout=1.5&client_name=x")

    assert found._keywords["username"] == "me"
    assert found._keywords["password"] == "pa@ss"
    assert found.timeout == 1.5


@pytest.mark.parametrize(
    "value", ["http://db", "redis+sentinel://one:1", "redis://:hidden@db:port", "redis://db?hots=1"]
)
def test_a_strange_url_is_refused_without_its_password(value: str) -> None:
    """The error names what is wrong; it never shows the URL whole."""
    with pytest.raises(BackendRejected, match="`redis`: ") as caught:
        parse_settings.find(value)
    assert "hidden" not in str(caught.value)


def test_a_mistyped_key_is_told() -> None:
    """Keys are checked when the configuration is read."""
    with pytest.raises(ConfigError, match=r"redis\.hots: unknown key.*host"):
        section({"hots": "db"})


def test_nobody_there_is_unavailable(free_ports: tuple[int, int]) -> None:
    """A server that does not listen may do so later."""
    made = Settings(name="q", sections={"redis": RedisSettings(port=free_ports[0])})
    with pytest.raises(BackendUnavailable, match=r"does not answer: .*; start it, or correct `redis`"):
        RedisBroker(made).ping()


def test_a_closed_broker_says_so(shared: Any) -> None:
    """A connection that was closed is not opened again."""
    sections = {"redis": RedisSettings(unix_socket_path=shared.path)}
    broker = RedisBroker(Settings(name="q", sections=sections))
    broker.close()
    with pytest.raises(BackendRejected, match="was closed"):
        broker.ping()


def test_the_plugin_offers_each_door_by_one_name(shared: Any) -> None:
    """The key `redis` selects broker, results and schedules alike."""
    made = Settings(name="q", sections={"redis": RedisSettings(unix_socket_path=shared.path)})
    broker = plugin.qcore_brokers()["redis"](made)
    store = plugin.qcore_result_stores()["redis"](made)
    schedules = plugin.qcore_schedule_stores()["redis"](made)

    assert broker.capabilities.transaction_domain == store.transaction_domain == schedules.transaction_domain
    assert re.match(r"Redis \d", broker.info())
    assert "not evicted" in plugin.qcore_checks()["redis"](made)


def test_a_server_that_evicts_is_told(start: Callable[..., Any]) -> None:
    """The doctor refuses a policy that throws messages away."""
    server = start("redis7", "--maxmemory-policy", "allkeys-lru")
    made = Settings(name="q", sections={"redis": RedisSettings(unix_socket_path=server.path)})
    with pytest.raises(BackendRejected, match="allkeys-lru"):
        plugin.qcore_checks()["redis"](made)


def there_and_back(url: str) -> list[bytes]:
    """Return what a queue gives back that was put in."""
    broker = RedisBroker(Settings(name="q", sections={"redis": url}))
    broker.enqueue([Outgoing(bytes(16), b"small"), Outgoing(bytes(16), bytes(20_000))])
    found = [*broker.lease(10, 0.0)]
    found += broker.commit_and_lease(None, (), [], 10)
    found += broker.lease(1, 0.05)
    broker.close()
    return [one.body for one in found]


def test_a_cluster_is_used(start: Callable[..., Any], free_ports: tuple[int, int]) -> None:
    """All keys of a queue lie on one node, which is found."""
    port, bus = map(str, free_ports)
    server = start("redis7", "--port", port, "--cluster-enabled", "yes", "--cluster-port", bus)
    with server.client() as client:
        client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        end = time.monotonic() + 100
        while b"cluster_state:ok" not in bytes(client.execute_command("CLUSTER", "INFO")):
            assert time.monotonic() < end
            threading.Event().wait(0.02)

    url = f"redis+cluster://127.0.0.1:{port}"
    assert there_and_back(url) == [b"small", bytes(20_000)]
    made = Settings(name="q", sections={"redis": url})
    broker, notes = RedisBroker(made), make_coordination(made)
    broker.commit_and_lease(
        None, (), (), 0, [Outgoing(bytes(16), bytes(20_000)), Outgoing(bytes(16), bytes(99))]
    )
    assert list(broker.remove_messages([bytes(16)])) == [bytes(99), bytes(20_000)]
    notes.set_flag("{a}", b"x", 60.0)
    notes.set_flag("{b}", b"y", 60.0)
    assert list(notes.get_flags(["{a}", "{b}"])) == [b"x", b"y"]
    assert notes.acquire("{c}", b"a", 1, 60.0) is None
    assert list(notes.join_barrier([BarrierMember("{d}", 0), BarrierMember("{e}", 0)], 60.0)) == [1, 1]
    assert notes.reserve("{f}", b"a", 1.0, 1) == 0.0
    notes.delete_barriers(["{d}", "{e}"])


def test_a_server_is_reached_by_tls(
    start: Callable[..., Any], free_ports: tuple[int, int], tmp_path: Path
) -> None:
    """The server's certificate is checked against the authority named, and refused without one."""
    openssl = shutil.which("openssl")
    if openssl is None and not os.environ.get("CI"):
        pytest.skip("openssl, which makes the certificate, is not installed; apt install openssl")
    assert openssl, "the package openssl makes the certificate"
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    port = free_ports[0]
    start(
        "redis7", "--tls-port", str(port), "--tls-cert-file", str(certificate), "--tls-key-file", str(key),
        "--tls-ca-cert-file", str(certificate), "--tls-auth-clients", "no",
    )  # fmt: skip

    assert there_and_back(f"rediss://localhost:{port}?ssl_ca_certs={certificate}") == [
        b"small",
        bytes(20_000),
    ]
    with pytest.raises(BackendUnavailable, match=r"(?i)certificate"):
        there_and_back(f"rediss://localhost:{port}")


def test_a_primary_is_found_by_its_sentinels(
    start: Callable[..., Any], free_ports: tuple[int, int], tmp_path: Path, program: str
) -> None:
    """The sentinels are asked who the primary is; until they know, it is unavailable."""
    port, watch = free_ports
    start("redis7", "--port", str(port))
    settings = tmp_path / "sentinel.conf"
    settings.write_text(f"port {watch}\ndir {tmp_path}\nsentinel monitor orders 127.0.0.1 {port} 1\n")
    sentinel = subprocess.Popen([program, str(settings), "--sentinel"], stdout=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 100
        while True:
            try:
                found = there_and_back(f"redis+sentinel://127.0.0.1:{watch}/orders/3")
                break
            except BackendUnavailable:
                assert time.monotonic() < end
                threading.Event().wait(0.02)
    finally:
        sentinel.terminate()
        sentinel.wait(10)

    assert found == [b"small", bytes(20_000)]


def test_the_command_line_says_what_to_do_when_it_does_not_answer(tmp_path: Path) -> None:
    """The commonest reason is a server that was not started, or an address of another machine."""
    file = tmp_path / "qcore.toml"
    file.write_text(f'name = "q"\nsecret_key = "{SECRET}"\nredis = "redis://127.0.0.1:1"\n')

    ended = subprocess.run(
        [sys.executable, "-m", "qcore", "--config", str(file), "info"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )

    assert ended.returncode == 69
    assert "does not answer: " in ended.stderr
    assert "start it, or correct `redis`; `qcore doctor` names the file that has it" in ended.stderr
