"""Where a project is found, and the errors of what cannot be right."""

from __future__ import annotations

import json
import os
import warnings
from typing import TYPE_CHECKING, Any

import pytest

from qcore import Config
from qcore.errors import BackendRejected, ConfigError
from qcore.interfaces import Settings
from qcore_ironmq import IronBroker, IronSettings, plugin
from qcore_ironmq.settings import ServerAddress

if TYPE_CHECKING:
    from pathlib import Path


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


def test_what_is_not_said_is_found_where_the_client_finds_it(
    nowhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Home, then the environment, then the working directory, then a file that is named, then the key."""
    (nowhere / "home" / ".iron.json").write_text(json.dumps({"token": "home", "project_id": "home"}))
    assert ServerAddress.of(IronSettings()).token == "home"
    monkeypatch.setenv("IRON_TOKEN", "all")
    assert ServerAddress.of(IronSettings()).token == "all"
    monkeypatch.setenv("IRON_MQ_TOKEN", "mq")
    assert ServerAddress.of(IronSettings()).token == "mq"
    (nowhere / "iron.json").write_text(json.dumps({"token": "x", "iron_mq": {"token": "here"}}))
    assert ServerAddress.of(IronSettings()).token == "here"
    (nowhere / "other.json").write_text(json.dumps({"token": "named"}))
    assert ServerAddress.of(IronSettings(config_file="other.json")).token == "named"
    found = ServerAddress.of(IronSettings(token="said", host=""))
    assert (found.token, found.project_id) == ("said", "home")
    assert found.url == "https://mq-aws-us-east-1-1.iron.io/3"


def test_what_is_missing_is_told(nowhere: Path) -> None:
    """With the three ways to say it; a file that is named must be there."""
    with pytest.raises(BackendRejected, match="token is missing; set it, or IRON_MQ_TOKEN, or write it"):
        ServerAddress.of(IronSettings(project_id="p"))
    with pytest.raises(BackendRejected, match="no file"):
        ServerAddress.of(IronSettings(config_file="none.json"))
    (nowhere / "iron.json").write_text("[")
    with pytest.raises(BackendRejected, match=r"iron\.json cannot be read"):
        ServerAddress.of(IronSettings())


def test_a_cloud_is_a_url_for_all_of_it(nowhere: Path) -> None:
    """Protocol, host, port and path in one."""
    found = ServerAddress.of(IronSettings(token="t", project_id="p", cloud="http://mq.internal:8080/iron/"))

    assert found.url == "http://mq.internal:8080/iron/3"


def test_a_url_names_host_project_and_token() -> None:
    """The URL of `qcore move` says what the key says."""
    read = plugin.qcore_urls()["ironmq"]

    assert read("ironmq://500f:s%40cret@mq.example:443") == {
        "iron_mq": {"host": "mq.example", "port": 443, "project_id": "500f", "token": "s@cret"}
    }


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({}, {}, True),
        ({"host": "MQ.example"}, {"cloud": "https://mq.example:443/"}, True),
        ({"protocol": "http", "port": 80}, {}, True),
        ({"token": "another"}, {}, True),
        ({"project_id": "another"}, {}, False),
        ({"host": "other.example"}, {}, False),
        ({"port": 8443}, {}, False),
        ({"path_prefix": "/iron"}, {}, False),
        ({"name": "others"}, {}, False),
    ],
)
def test_two_brokers_on_one_queue_are_known_to_be(
    one: dict[str, Any], other: dict[str, Any], *, same: bool
) -> None:
    """`qcore move` would go round in a circle; however the address is written, it is one queue."""
    usual = {"host": "mq.example", "project_id": "p", "token": "t", "name": "alone"}
    names = []
    for told in (one, other):
        section = {**usual, **told}
        name = section.pop("name")
        broker = IronBroker(Settings(name=name, sections={"iron_mq": IronSettings(**section)}, retry=30.0))
        names.append(broker.queue_id())

    assert all(names)
    assert (names[0] == names[1]) is same


# -- what cannot be right ---------------------------------------------------------------------

#: no part of it may be shown
SECRET = "s3cr3t"


@pytest.mark.parametrize(
    ("told", "wanted"),
    [
        ({"token": f"{SECRET}\n"}, "token: must be printable ASCII without whitespace"),
        ({"token": f"two {SECRET}"}, "token: must be printable ASCII without whitespace"),
        ({"token": f"{SECRET}-ä"}, "token: must be printable ASCII without whitespace"),
        ({"port": 0}, "port: got '0'; must be a whole number from 1 to 65535"),
        ({"port": 65_536}, "port: got '65536'; must be a whole number from 1 to 65535"),
        ({"port": -1}, "port: got '-1'; must be"),
        ({"protocol": "ftp"}, "protocol: got 'ftp'; must be https or http"),
        ({"cloud": "garbage"}, "cloud: must be a URL such as https://"),
        ({"cloud": f"ftp://u:{SECRET}@mq.example"}, "cloud: must be a URL such as https://"),
        ({"cloud": f"https://u:{SECRET}"}, "cloud: must be a URL such as https://"),
        ({"cloud": "https://mq.example:99999"}, "cloud: must be a URL such as https://"),
    ],
)
def test_a_setting_that_cannot_be_right_is_a_fault_of_the_configuration(
    told: dict[str, Any], wanted: str
) -> None:
    """It is reported before the first request, without the secret and without a warning of a library."""
    section = {"project_id": "p", "token": "t", **told}

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ConfigError, match=wanted) as raised:
            Config.from_dict({"secret_key": "a key of the tests of settings", "iron_mq": section})

    assert SECRET not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("IRON_MQ_PORT", "many", "IRON_MQ_PORT: got 'many'; must be a whole number from 1 to 65535"),
        ("IRON_PORT", "99999999999999999999", "IRON_PORT: got '99999999999999999999'; must be"),
        ("IRON_MQ_TOKEN", f"{SECRET}\r", "IRON_MQ_TOKEN: must be printable ASCII"),
        ("IRON_MQ_CLOUD", SECRET, "IRON_MQ_CLOUD: must be a URL"),
    ],
)
def test_a_variable_that_cannot_be_right_is_named(
    nowhere: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, wanted: str
) -> None:
    """Whoever set it learns which one it is; what is said above it would count instead."""
    (nowhere / "home" / ".iron.json").write_text(json.dumps({"token": "home", "project_id": "home"}))
    monkeypatch.setenv(name, value)

    with pytest.raises(ConfigError, match=wanted) as raised:
        ServerAddress.of(IronSettings())

    assert SECRET not in str(raised.value)


def test_a_file_that_cannot_be_right_is_named(nowhere: Path) -> None:
    """With the key in it; what is said above it counts instead."""
    (nowhere / "iron.json").write_text(json.dumps({"port": "x", "token": "t", "project_id": "p"}))

    with pytest.raises(ConfigError, match=r"iron\.json: port: got 'x'"):
        ServerAddress.of(IronSettings())

    assert ServerAddress.of(IronSettings(port=443)).url.endswith(":443/3")


@pytest.mark.parametrize(
    "rest", ["@mq.example:99999", "@mq.example:0", "@mq.example:x", "/more@mq.example", "#more@mq.example"]
)
def test_a_url_that_cannot_be_right_is_told_without_its_token(rest: str) -> None:
    """A token that is not quoted ends at its slash, and what is before it looks like a port."""
    read = plugin.qcore_urls()["ironmq"]

    for token in (SECRET, "5"):
        with pytest.raises(ConfigError, match="the port must be a whole number from 1 to 65535") as raised:
            read(f"ironmq://500f:{token}{rest}")

        assert SECRET not in str(raised.value)
