"""Where tokens are Keystone's, and what is found where the official client finds it."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import iron_core
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qcore.errors import BackendError, BackendRejected, BackendUnavailable, ConfigError
from qcore.interfaces import Settings
from qcore.model import Outgoing
from qcore_ironmq import IronBroker, IronSettings
from qcore_ironmq.settings import ServerAddress

from .conftest import TOKEN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from .conftest import Server

PASSWORD = "s3cr3t"


class Handler(BaseHTTPRequestHandler):
    """One connection to Keystone."""

    def do_POST(self) -> None:
        """Give out a token, by the identity API 2.0."""
        made: Keystone = self.server  # type: ignore[assignment]  # who makes it
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        made.asked += 1
        status, answer = made.status, made.answer
        user = {"username": "user", "password": PASSWORD}
        if self.path != "/v2.0/tokens":
            status, answer = 404, {}
        elif body["auth"] != {"tenantName": "tenant", "passwordCredentials": user}:
            status, answer = 401, {"error": {"code": 401, "title": "Unauthorized"}}
        elif answer is None:
            token = {"id": made.tokens.pop(0) if len(made.tokens) > 1 else made.tokens[0]}
            times = {"issued_at": "2014-01-30T15:30:58.819584", "expires": made.expires}
            answer = {"access": {"token": {**token, **times}}}
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Keystone(ThreadingHTTPServer):
    """A stand-in for Keystone: gives out the tokens it is told to, one after the other."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked = 0
        self.tokens = [TOKEN]
        #: a day after it is issued
        self.expires = "2014-01-31T15:30:58Z"
        self.status = 200
        self.answer: Any = None
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def table(self) -> dict[str, str]:
        """Return the settings that lead to it."""
        server = f"http://127.0.0.1:{self.server_address[1]}/v2.0"
        return {"server": server, "tenant": "tenant", "username": "user", "password": PASSWORD}


@pytest.fixture
def keystone() -> Iterator[Keystone]:
    """Return a Keystone."""
    made = Keystone()
    yield made
    made.shutdown()
    made.server_close()


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return a working directory and a home without any settings."""
    for name in list(os.environ):
        if name.startswith("IRON_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def broker_on(server: Server, keystone: dict[str, str] | None = None) -> IronBroker:
    """Return a broker on a server, without a token of its own."""
    place = {key: value for key, value in server.settings.items() if key != "token"}
    sections = {"iron_mq": IronSettings(**place, keystone=keystone)}
    return IronBroker(Settings(name="alone", sections=sections, retry=30.0))


def enqueue(broker: IronBroker) -> None:
    """Enqueue a message."""
    broker.enqueue([Outgoing(os.urandom(16), b"work")])


# -- tokens -----------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["setting", "iron.json", "variable"])
def test_tokens_are_asked_of_keystone(
    start: Callable[..., Server],
    keystone: Keystone,
    nowhere: Path,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
) -> None:
    """Named in the setting or where the official client finds it; one is used as long as it lasts."""
    if where == "iron.json":
        (nowhere / "iron.json").write_text(json.dumps({"iron_mq": {"keystone": keystone.table}}))
    if where == "variable":
        monkeypatch.setenv("IRON_MQ_KEYSTONE", json.dumps(keystone.table))
    broker = broker_on(start(), keystone.table if where == "setting" else None)

    for _ in range(3):
        enqueue(broker)

    assert (broker.size().ready, keystone.asked) == (3, 1)


def test_a_token_is_asked_anew_before_its_end(start: Callable[..., Server], keystone: Keystone) -> None:
    """By Keystone's own clock, which may differ from ours by years."""
    keystone.expires = "2014-01-30T15:31:20Z"
    broker = broker_on(start(), keystone.table)
    broker.ping()

    broker.ping()

    assert keystone.asked == 2


def test_a_token_that_ended_before_its_time_is_replaced(
    start: Callable[..., Server], keystone: Keystone
) -> None:
    """The request is sent again, because nothing was done for a token that was refused."""
    keystone.tokens = ["ended", TOKEN]
    broker = broker_on(start(), keystone.table)

    enqueue(broker)

    assert (broker.size().ready, keystone.asked) == (1, 2)


def test_tokens_that_ironmq_does_not_take_are_told(start: Callable[..., Server], keystone: Keystone) -> None:
    """After one more try."""
    keystone.tokens = ["wrong"]

    with pytest.raises(BackendRejected, match="Invalid project/token combination"):
        broker_on(start(), keystone.table).ping()

    assert keystone.asked == 2


def test_a_user_that_keystone_refuses_is_told(start: Callable[..., Server], keystone: Keystone) -> None:
    """With tenant and user, and never the password."""
    broker = broker_on(start(), {**keystone.table, "tenant": "another"})

    with pytest.raises(
        BackendRejected, match=r"refuses tenant 'another' and user 'user'.*iron_mq\.keystone"
    ) as raised:
        broker.ping()

    assert PASSWORD not in f"{raised.value}{broker._address}"


def test_keystone_may_be_away_for_a_while(start: Callable[..., Server], keystone: Keystone) -> None:
    """It is asked again with the next request."""
    broker = broker_on(start(), keystone.table)
    keystone.status = 503
    with pytest.raises(BackendUnavailable, match=r"Keystone at .* asks to come again"):
        broker.ping()
    keystone.status = 200

    broker.ping()

    with pytest.raises(BackendUnavailable, match=r"Keystone at http://127\.0\.0\.1:1/tokens does not answer"):
        broker_on(start(), {**keystone.table, "server": "http://127.0.0.1:1"}).ping()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    answer=st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just("2014-01-31T15:30:58Z"),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["access", "token", "id", "issued_at", "expires"]), inner)
        ),
        max_leaves=10,
    )
)
def test_any_answer_of_keystone_is_taken_or_refused(keystone: Keystone, answer: Any) -> None:
    """By the errors that a worker knows how to take, and by no other."""
    keystone.answer = answer if answer is not None else {}
    place = {"host": "127.0.0.1", "port": 1, "protocol": "http", "project_id": "p"}
    sections = {"iron_mq": IronSettings(**place, keystone=keystone.table)}
    broker = IronBroker(Settings(name="alone", sections=sections, retry=30.0))

    with contextlib.suppress(BackendError):
        broker.ping()


@pytest.mark.parametrize("left_out", ["server", "tenant", "username", "password"])
def test_a_keystone_that_lacks_something_is_a_fault_of_the_configuration(
    keystone: Keystone, nowhere: Path, left_out: str
) -> None:
    """In the setting or in a file, which is named."""
    table = {key: value for key, value in keystone.table.items() if key != left_out}
    told = "keystone: must have server .a URL., tenant, username and password"
    with pytest.raises(ValueError, match=told):
        IronSettings(keystone=table)
    (nowhere / "iron.json").write_text(json.dumps({"project_id": "p", "keystone": table}))

    with pytest.raises(ConfigError, match=rf"iron\.json: {told}") as raised:
        ServerAddress.of(IronSettings())

    assert PASSWORD not in str(raised.value)


@pytest.mark.parametrize("text", ["not JSON", "[1]", '"x"'])
def test_a_variable_that_is_no_keystone_is_named(
    nowhere: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """The official client takes the text, and fails on it later."""
    monkeypatch.setenv("IRON_MQ_KEYSTONE", text)

    with pytest.raises((BackendRejected, ConfigError), match="IRON_MQ_KEYSTONE"):
        ServerAddress.of(IronSettings(project_id="p"))


# -- the same as the official client ----------------------------------------------------------

#: where a layer of settings is written
LAYERS = ("home", "all", "mq", "here", "named", "given")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    told=st.dictionaries(
        st.sampled_from(LAYERS),
        st.fixed_dictionaries(
            {},
            optional={
                "host": st.sampled_from(["one.example", "two.example"]),
                "token": st.sampled_from(["token1", "token2"]),
                "project_id": st.sampled_from(["p1", "p2"]),
                "port": st.sampled_from([8080, 9090]),
                "protocol": st.sampled_from(["http", "https"]),
                "api_version": st.sampled_from([3, 4]),
                "path_prefix": st.sampled_from(["/iron"]),
                "cloud": st.sampled_from(["https://cloud.example:8443", "http://cloud.example:81/mq"]),
            },
        ),
    )
)
def test_settings_are_found_as_the_official_client_finds_them(
    nowhere: Path, told: dict[str, dict[str, Any]]
) -> None:
    """Whatever is said in whichever place, both mean the same project at the same address."""
    # without a port the client takes that of https, whatever the protocol
    base = {"token": "token0", "project_id": "p0", "path_prefix": "", "port": 8443}
    (nowhere / "home" / ".iron.json").write_text(json.dumps({**base, "iron_mq": told.get("home", {})}))
    (nowhere / "iron.json").write_text(json.dumps(told.get("here", {})))
    (nowhere / "named.json").write_text(json.dumps({"iron_mq": told.get("named", {})}))
    given_ = told.get("given", {})

    with pytest.MonkeyPatch.context() as patch:
        for prefix, layer in (("IRON_", "all"), ("IRON_MQ_", "mq")):
            for key, value in told.get(layer, {}).items():
                patch.setenv(prefix + key.upper(), str(value))
        place = ServerAddress.of(IronSettings(**given_, config_file="named.json"))
        theirs = iron_core.IronClient(
            "x", "1", "iron_mq", config_file="named.json", **{"path_prefix": None, **given_}
        )

    assert (place.token, place.project_id) == (theirs.token, theirs.project_id)
    assert _plain(f"{place.url}/projects/{place.project_id}/") == _plain(theirs.base_url)


def _plain(url: str) -> str:
    """Return a URL without the port that its scheme has anyway."""
    return url.replace(":443/", "/") if url.startswith("https") else url
