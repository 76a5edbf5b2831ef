"""What is posted to a collector, beside what the library `requests` would post."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import pytest
import requests

from qcore_otel.session import LeanSession
from qcore_testing.http_sink import HttpSink

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def sink(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HttpSink]:
    """Return a service; nothing of this machine says how it is reached."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with HttpSink(b"fine") as made:
        yield made


@pytest.fixture
def left(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return which requests are left to the library."""
    found: list[str] = []

    def request(_: object, method: str, url: str, **kwargs: Any) -> requests.Response:
        found.append(url)
        return requests.Response()

    monkeypatch.setattr(requests.Session, "request", request)
    return found


def test_a_request_is_that_of_the_library(sink: HttpSink) -> None:
    """Path, body and headers of the exporter; and the answer has status, headers and content."""
    answers = []
    for session in (LeanSession(), requests.Session()):
        session.headers["User-Agent"] = "exporter"
        url = f"http://{sink.host}/v1/traces?a=b"
        given = {"data": b"body", "headers": {"Content-Type": "application/x-protobuf"}, "timeout": 30}
        answers.append(session.request("POST", url, **given))

    ours, theirs = sink.posted
    assert (ours.path, ours.body) == (theirs.path, theirs.body) == ("/v1/traces?a=b", b"body")
    for name in ("User-Agent", "Content-Type", "Content-Length", "Host", "Accept"):
        assert ours.headers[name] == theirs.headers[name]
    lean, library = answers
    assert (lean.status_code, lean.reason, lean.content) == (200, library.reason, b"fine")
    assert lean.ok
    assert lean.headers.keys() == library.headers.keys()


@pytest.mark.parametrize("url", ["https://a.test/v1", "http://user:secret@a.test/v1", "http://known.test/v1"])
def test_what_is_special_is_left_to_the_library(
    url: str, sink: HttpSink, left: list[str], tmp_path: Path
) -> None:
    """Encryption, and credentials in the address or in a file."""
    del sink
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine known.test login me password secret\n")
    netrc.chmod(0o600)

    LeanSession().post(url, data=b"body")

    assert left == [url]


def test_a_proxy_is_left_to_the_library(
    sink: HttpSink, left: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless it is not to be used for this host."""
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.test:3128")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    LeanSession().post("http://away.test/v1", data=b"body")
    LeanSession().post(f"http://{sink.host}/v1", data=b"body")

    assert left == ["http://away.test/v1"]
    assert len(sink.posted) == 1


def test_a_rehearsal_reaches_nobody(sink: HttpSink, left: list[str]) -> None:
    """However the service is reached."""
    session = LeanSession()
    session.rehearses = True

    for url in (f"http://{sink.host}/v1", "https://a.test/v1"):
        assert session.post(url, data=b"body").ok

    assert (sink.posted, left) == ([], [])


def test_a_redirection_is_left_to_the_library(sink: HttpSink, left: list[str]) -> None:
    """Which knows what may be sent where."""
    sink.status, sink.headers = 307, {"Location": "http://elsewhere.test/"}
    url = f"http://{sink.host}/v1"

    LeanSession().post(url, data=b"body")

    assert left == [url]


def test_errors_are_those_of_the_library(sink: HttpSink) -> None:
    """By which an exporter knows what may be tried again."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        with pytest.raises(requests.ConnectionError):
            LeanSession().post(f"http://127.0.0.1:{free.getsockname()[1]}/", data=b"body")
    sink.holds.set()
    with pytest.raises(requests.Timeout):
        LeanSession().post(f"http://{sink.host}/", data=b"body", timeout=0.2)
