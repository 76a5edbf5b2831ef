"""A private SQS server for the tests; `server.py` lists its differences from AWS."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import botocore.loaders
import botocore.session
import pytest

from qcore.interfaces import Settings
from qcore_sqs import SqsBroker, SqsSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: what moto needs to serve
NEEDED = ("moto", "flask", "flask_cors")


class Sqs:
    """A server of SQS's protocol that can produce errors."""

    def __init__(self, speed: float = 1.0) -> None:
        program = str(Path(__file__).with_name("server.py"))
        environment = {key: value for key, value in os.environ.items() if not key.startswith("AWS_")}
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", program, str(speed)],
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())
        self.url = f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Return the number of its process."""
        return self._process.pid

    def reset(self) -> None:
        """Delete every queue, count and planned error."""
        self._post("/reset", {})

    def tell(self, **wrongs: Any) -> None:
        """Plan errors, see `server.Wrongs`."""
        self._post("/state", wrongs)

    def pass_time(self, seconds: float) -> None:
        """Have the server's clock go forward; that of the tests stays as it is."""
        self._post("/pass", {"seconds": seconds})

    def asked(self) -> dict[str, int]:
        """Return how often each operation was requested."""
        told: dict[str, int] = self._post("/state", {})["asked"]
        return told

    def now(self) -> float:
        """Return epoch seconds by the server's clock."""
        told: float = self._post("/state", {})["now"]
        return told

    def left(self) -> dict[str, Any]:
        """Return the errors that are still planned."""
        told: dict[str, Any] = self._post("/state", {})["left"]
        return told

    def kill(self) -> None:
        """Stop the server."""
        self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _post(self, path: str, told: dict[str, Any]) -> dict[str, Any]:
        request = urllib.request.Request(self.url + path, json.dumps(told).encode())
        with urllib.request.urlopen(request, timeout=30) as answer:
            found: dict[str, Any] = json.loads(answer.read())
        return found


@pytest.fixture(scope="session", autouse=True)
def descriptions() -> Iterator[None]:
    """Read botocore's descriptions of services once: each session reads them anew, for most of its time."""
    loader = botocore.loaders.create_loader()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(botocore.session, "create_loader", lambda _: loader)
        yield


@pytest.fixture(scope="session")
def start() -> Iterator[Callable[..., Sqs]]:
    """Return a function that starts a server; all end with the session."""
    if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        said = f"{', '.join(missing)} not installed; pip install ./plugins/qcore-sqs[test]"
        if os.environ.get("CI"):
            pytest.fail(said)
        pytest.skip(said)
    started: list[Sqs] = []

    def start(speed: float = 1.0) -> Sqs:
        started.append(Sqs(speed))
        return started[-1]

    yield start
    for one in started:
        one.kill()


@pytest.fixture(scope="session")
def shared(start: Callable[..., Sqs]) -> Sqs:
    """Return the server most tests share."""
    return start()


@pytest.fixture
def sqs(shared: Sqs, monkeypatch: pytest.MonkeyPatch) -> Sqs:
    """Return the server, empty and without planned errors; the user's AWS settings are not used."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    shared.reset()
    return shared


@pytest.fixture
def section(sqs: Sqs) -> Callable[..., SqsSettings]:
    """Return a factory of the settings `sqs` for this server."""

    def make(**fields: Any) -> SqsSettings:
        told = {
            "aws_region": "eu-west-1",
            "aws_access_key_id": "id-of-these-tests",
            "aws_secret_access_key": "secret-of-these-tests",
            "endpoint_url": sqs.url,
        }
        return SqsSettings(**(told | fields))

    return make


@pytest.fixture
def new(section: Callable[..., SqsSettings]) -> Iterator[Callable[..., SqsBroker]]:
    """Return a factory of brokers of one queue, which are closed at the end."""
    made: list[SqsBroker] = []

    def make(*, name: str = "mail", retry: float = 60.0, poll: float = 0.2, **fields: Any) -> SqsBroker:
        settings = Settings(name=name, retry=retry, poll=poll, sections={"sqs": section(**fields)})
        made.append(SqsBroker(settings))
        return made[-1]

    yield make
    for broker in made:
        broker.close()


@pytest.fixture
def until() -> Callable[[Callable[[], Any]], Any]:
    """Return a function that repeats a question until its answer is true."""

    def ask(what: Callable[[], Any]) -> Any:
        # longer than a lease, after which a message whose delivery was lost is redelivered
        end = time.monotonic() + 120
        while not (found := what()):
            assert time.monotonic() < end, "it did not come true"
            time.sleep(0.02)
        return found

    return ask
