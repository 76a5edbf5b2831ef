"""IronMQ is reached through a proxy where the setting or the environment says so."""

from __future__ import annotations

import os
import re
import threading
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import iron_mq
import pytest

from qcore import Config
from qcore.errors import BackendRejected, BackendUnavailable, ConfigError
from qcore.interfaces import Settings
from qcore.model import Action, Outgoing, Settlement
from qcore_ironmq import IronBroker, IronSettings
from qcore_ironmq.proxy import Proxy

from .conftest import PROJECT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .conftest import Server

#: no part of it may be shown
SECRET = "s3cr3t"


class Handler(BaseHTTPRequestHandler):
    """One connection to the proxy."""

    protocol_version = "HTTP/1.1"
    # head and body are two writes
    disable_nagle_algorithm = True

    def answer(self) -> None:
        """Send a request on to a server on this machine, or answer as the test says."""
        made: ProxyServer = self.server  # type: ignore[assignment]  # who makes it
        made.lines.append(f"{self.command} {self.path.partition('?')[0]}")
        made.credentials.append(self.headers.get("Proxy-Authorization", ""))
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if made.status:
            self.reply(made.status, b"{}")
            return
        parts = urlsplit(self.path)
        assert parts.hostname == "127.0.0.1"
        line = HTTPConnection(parts.hostname, parts.port or 80, timeout=10)
        headers = {key: value for key, value in self.headers.items() if key != "Proxy-Authorization"}
        line.request(self.command, parts.path + (parts.query and f"?{parts.query}"), body, headers)
        found = line.getresponse()
        self.reply(found.status, found.read())
        line.close()

    def __getattr__(self, name: str) -> Any:
        """Answer every method in the same way."""
        if name.startswith("do_"):
            return self.answer
        raise AttributeError(name)

    def reply(self, status: int, data: bytes) -> None:
        """Send an answer."""
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class ProxyServer(ThreadingHTTPServer):
    """A proxy, and what came by it."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.lines: list[str] = []
        self.credentials: list[str] = []
        #: answered instead of sending on, 0 = sends on
        self.status = 0
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, daemon=True).start()


@pytest.fixture
def proxy() -> Iterator[ProxyServer]:
    """Return a proxy."""
    made = ProxyServer()
    yield made
    made.shutdown()
    made.server_close()


def broker_on(place: dict[str, Any], **more: Any) -> IronBroker:
    """Return a broker on a server."""
    sections = {"iron_mq": IronSettings(**{**place, **more})}
    return IronBroker(Settings(name="alone", sections=sections, retry=30.0))


def work(broker: IronBroker) -> None:
    """Enqueue a message and lease it."""
    broker.enqueue([Outgoing(bytes(16), b"work")])
    assert [one.body for one in broker.lease(1, 0)] == [b"work"]


def test_the_setting_names_a_proxy(start: Callable[..., Server], proxy: ProxyServer) -> None:
    """Every request goes by it, whatever the environment says of hosts without one."""
    server = start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_PROXY", "*")
        work(broker_on(server.settings, proxy=proxy.url))

    assert server.requests() == len(proxy.lines)
    assert all(f" http://127.0.0.1:{server.port}/3/projects/" in line for line in proxy.lines)


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy"])
@pytest.mark.parametrize("scheme", ["http://", ""])
def test_the_environment_names_a_proxy(
    start: Callable[..., Server], proxy: ProxyServer, monkeypatch: pytest.MonkeyPatch, name: str, scheme: str
) -> None:
    """Written either way, with or without its scheme."""
    server = start()
    monkeypatch.setenv(name, proxy.url.replace("http://", scheme))

    work(broker_on(server.settings))

    assert server.requests() == len(proxy.lines) > 0


@pytest.mark.parametrize("hosts", ["127.0.0.1", "example.com, 127.0.0.1", "*"])
def test_no_proxy_is_obeyed(
    start: Callable[..., Server], proxy: ProxyServer, monkeypatch: pytest.MonkeyPatch, hosts: str
) -> None:
    """Hosts that are reached directly."""
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    monkeypatch.setenv("NO_PROXY", hosts)

    work(broker_on(start().settings))

    assert proxy.lines == []


def test_https_goes_by_a_tunnel(proxy: ProxyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTPS_PROXY is for it; the proxy learns the host, and neither token nor messages."""
    proxy.status = 502
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    broker = broker_on({"host": "mq.example", "project_id": "p", "token": SECRET})

    with pytest.raises(BackendUnavailable, match=r"mq\.example.*does not answer") as raised:
        broker.enqueue([Outgoing(bytes(16), b"work")])

    assert proxy.lines == ["CONNECT mq.example:443"]
    assert "nevertheless" not in str(raised.value)


def test_a_proxy_is_told_who_we_are(start: Callable[..., Server], proxy: ProxyServer) -> None:
    """By user and password of its URL, which are shown nowhere."""
    server = start()
    url = proxy.url.replace("http://", f"http://user:{SECRET}%40@")
    broker = broker_on(server.settings, proxy=url)

    work(broker)

    # user:s3cr3t@
    assert set(proxy.credentials) == {"Basic dXNlcjpzM2NyM3RA"}
    config = Config.from_dict({"secret_key": "a key of the tests of proxies", "iron_mq": {"proxy": url}})
    assert (
        SECRET
        not in f"{broker.info()}{broker._address}{config.redacted()}{Proxy.of(url, 'https://mq.example')}"
    )


def test_a_proxy_that_wants_a_password_is_told(start: Callable[..., Server], proxy: ProxyServer) -> None:
    """It will not be right a moment later."""
    proxy.status = 407

    with pytest.raises(BackendRejected, match=r"the proxy wants a user and a password; see iron_mq\.proxy"):
        broker_on(start().settings, proxy=proxy.url).ping()


def test_a_proxy_that_is_away_is_told(start: Callable[..., Server], proxy: ProxyServer) -> None:
    """Nothing has been sent, so the outcome is known; once it is back, the same connection works."""
    server = start()
    broker = broker_on(server.settings, proxy="http://127.0.0.1:1")

    with pytest.raises(BackendUnavailable, match="does not answer") as raised:
        broker.enqueue([Outgoing(bytes(16), b"work")])

    assert "nevertheless" not in str(raised.value)
    assert server.requests() == 0


@pytest.mark.parametrize(
    "wrong", ["socks5://proxy:1080", f"http://u:{SECRET}@proxy:99999", "http://", "http://[", ":0"]
)
def test_a_proxy_that_cannot_be_is_a_fault_of_the_configuration(
    monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    """In the setting, or in the variable that says it; its password is not shown."""
    told = "must be a URL such as http://proxy.example:3128"
    with pytest.raises(ConfigError, match=told) as raised:
        Config.from_dict({"secret_key": "a key of the tests of proxies", "iron_mq": {"proxy": wrong}})
    assert SECRET not in str(raised.value)
    monkeypatch.setenv("HTTPS_PROXY", wrong)

    with pytest.raises(ConfigError, match=f"HTTPS_PROXY: {told}") as raised:
        broker_on({"host": "mq.example", "project_id": "p", "token": "t"})

    assert SECRET not in str(raised.value)


def test_no_more_is_asked_than_the_page_says(start: Callable[..., Server], proxy: ProxyServer) -> None:
    """Who lets only some requests through can rely on the table."""
    server = start()
    broker = broker_on(server.settings, proxy=proxy.url)
    server.fail("DELETE messages", 403, text='{"msg": "Reservation timed out"}')
    broker.enqueue([Outgoing(os.urandom(16), b"work") for _ in range(2)])
    leased = broker.lease(100, 0)
    broker.extend([one.receipt for one in leased[:1]], 60.0)
    broker.settle([Settlement(one.receipt, Action.DEAD_LETTER, reason="no") for one in leased])
    client = iron_mq.IronMQ(**server.settings)
    client.create_queue("alone", {"message_expiration": 86_400})
    broker_on(server.settings, proxy=proxy.url).enqueue([Outgoing(os.urandom(16), b"work")])
    # more than the service shows, and few enough to go on with
    client.queue("alone.dead_letters").post(*["letter"] * 99)
    ids = [letter.id for letter in broker.dead_letters(2)]
    broker.requeue(ids)
    broker.dead_letters()
    broker.purge()

    before = rf"http://127\.0\.0\.1:{server.port}/3/projects/{PROJECT}"
    queue = rf"{before}/queues/alone(\.dead_letters)?"
    asked = {re.sub(queue, "/queues/QUEUE", line) for line in proxy.lines}
    plain = {re.sub(r"/messages/[0-9]+", "/messages/ID", line) for line in asked}
    page = Path(__file__).resolve().parents[3] / "docs" / "how-to" / "use-ironmq.md"
    assert plain == set(re.findall(r"^\| `([A-Z]+ /queues/[^`]+)` \|", page.read_text(), re.MULTILINE))
