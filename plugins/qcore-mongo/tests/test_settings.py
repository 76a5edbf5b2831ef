"""The settings `mongo` and `mongo_db` and the addresses they name."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from pymongo import MongoClient, common

import qcore_mongo
from qcore import App, Cluster, Config
from qcore.errors import BackendRejected, BackendUnavailable, ConfigError
from qcore.model import Outgoing, Settlement
from qcore_mongo import MongoBroker, MongoSettings, address, plugin
from qcore_mongo.checks import check

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from qcore.interfaces import Settings

SECRET = "the key of these tests, not of anybody else"
#: the example of Django-Q, whole
EXAMPLE = {
    "name": "MongoDB",
    "workers": 8,
    "timeout": 60,
    "retry": 70,
    "queue_limit": 100,
    "mongo": {"host": "", "port": 27017},
}


def settings(value: Any, database: str | None = None) -> Settings:
    """Return the settings of a configuration with the keys `mongo` and `mongo_db`."""
    told = {"name": "q", "secret_key": SECRET, "mongo": value}
    return Config.from_dict(told | ({"mongo_db": database} if database else {})).settings()


@pytest.mark.parametrize(
    ("value", "database", "where"),
    [
        ({}, None, "localhost:27017/qcore"),
        (EXAMPLE["mongo"], None, "localhost:27017/qcore"),
        ({"host": "127.0.0.1", "port": 27017}, None, "127.0.0.1:27017/qcore"),
        ({"host": "db", "port": 27018}, "orders", "db:27018/orders"),
        ({"host": "db:27018"}, None, "db:27018/qcore"),
        ({"host": ["a:1", "b:2"], "replicaSet": "rs0"}, None, "a:1,b:2/qcore"),
        ("mongodb://db", None, "db/qcore"),
        ("mongodb://user:pa%40ss@db:27018/orders", None, "db:27018/orders"),
        ({"host": "mongodb://user:pass@a:1,b:2/orders?replicaSet=rs0"}, None, "a:1,b:2/orders"),
        ({"host": "mongodb://db/orders"}, "other", "db/other"),
        ({"host": "mongodb://user:p@ss/word@db:1/"}, None, "db:1/qcore"),
        ("mongodb+srv://user:pass@cluster.example.net/orders?w=majority", None, "cluster.example.net/orders"),
        # as Azure's Cosmos DB gives it
        ("mongodb://me:k%3D@me.example.net:10255/orders?appName=@me@", None, "me.example.net:10255/orders"),
        ("mongodb://db:1/orders?appName=a/b@me", None, "db:1/orders"),
        ("mongodb://user:pass@[::1]:1,b?appName=@me@", None, "[::1]:1,b/qcore"),
        # what the driver refuses: no part of a password is taken for a server
        ("mongodb://user:pa?ss@db:1/orders", None, "db:1/orders"),
        ("mongodb://user:12345?6@db:1/orders?w=1", None, "db:1/orders"),
        ("mongodb://us@er:pa?ss@db:1/orders", None, "db:1/orders"),
    ],
)
def test_a_table_or_a_uri_names_a_database(value: Any, database: str | None, where: str) -> None:
    """The database is `mongo_db`, else the URI's own, else `qcore`."""
    assert address.find(settings(value, database)).title == where


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ({}, False),
        ({"replicaSet": "rs0"}, True),
        ("mongodb://a,b/?replicaset=rs0", True),
        ("mongodb+srv://cluster.example.net/", True),
    ],
)
def test_a_named_replica_set_has_time_for_an_election(value: Any, named: bool) -> None:
    """A configuration that names a replica set is recognised, and has a longer timeout."""
    found = address.find(settings(value))

    assert found.replicated is named
    assert found.keywords["serverSelectionTimeoutMS"] == (15_000 if named else 5_000)


def test_a_uri_keeps_its_own_timeouts() -> None:
    """A default does not override an option of the URI."""
    found = address.find(settings("mongodb://db/?socketTimeoutMS=2000&serverSelectionTimeoutMS=7"))

    assert found.timeout == 2.0
    assert not found.keywords.keys() & {"socketTimeoutMS", "serverSelectionTimeoutMS"}


def test_a_misspelt_key_is_reported() -> None:
    """Keys are checked when the configuration is read."""
    with pytest.raises(ConfigError, match=r"mongo\.hots: unknown key.*host"):
        settings({"hots": "db"})


@pytest.mark.parametrize(
    "value",
    [
        "mongodb://user:hidden@word@db:1/",
        "mongodb://user:hidden@db:port/",
        "mongodb://user:hidden?word@db:1/",
        {"host": "mongodb://user:hidden@", "port": 1},
        {"host": "db", "username": "user", "password": "hidden", "authMechanism": "luck"},
        {"host": "db", "password": "hidden", "maxPoolSize": -1},
        {"host": "db", "password": "hidden", "w": 0},
    ],
)
def test_a_strange_value_is_refused_without_its_password(value: Any) -> None:
    """The error names what is wrong; it never shows a password."""
    made = settings(value)
    with pytest.raises(BackendRejected, match="mongo") as caught:
        MongoBroker(made).ping()

    shown: BaseException | None = caught.value
    while shown is not None:
        assert "hidden" not in str(shown)
        shown = None if shown.__suppress_context__ and shown.__cause__ is None else shown.__cause__


def test_a_password_is_not_shown() -> None:
    """Neither the settings nor the address show credentials."""
    made = settings({"host": "mongodb://user:hidden@db/orders", "password": "hidden"})
    found = address.find(made)

    assert "hidden" not in f"{made!r} {made.section('mongo')!r} {found!r} {found.title}"


def test_a_server_that_does_not_listen_is_unavailable() -> None:
    """A server that does not listen now may do so later."""
    made = settings({"host": "127.0.0.1", "port": 1, "serverSelectionTimeoutMS": 200})
    with pytest.raises(BackendUnavailable, match=r"127\.0\.0\.1:1/qcore: it does not answer") as told:
        MongoBroker(made).ping()

    assert "; start it, or correct `mongo`" in str(told.value)


def test_a_closed_broker_says_so(alone: Any) -> None:
    """A closed broker raises an error and does not connect again."""
    broker = MongoBroker(settings(alone.settings))
    broker.ping()
    broker.close()
    with pytest.raises(BackendRejected, match="was closed"):
        broker.ping()


def test_broker_and_stores_of_a_process_share_one_client(alone: Any, database: str) -> None:
    """Broker, results and schedules use the same connections; the last one closes them."""
    made = settings(alone.settings, database)
    one, other = MongoBroker(made), MongoBroker(made)
    one.ping()
    other.ping()
    shared = one._client.database.client

    assert shared is other._client.database.client
    one.close()
    other.ping()
    other.close()
    assert MongoBroker(made)._client.database.client is not shared


PRODUCER = """
import sys
from qcore import App, Config

table = dict(zip(("mongo", "secret_key", "mongo_db"), sys.argv[1:]))
app = App(Config.from_dict({"name": "q", **table}))
app.enqueue("time.time")
"""


def test_a_producer_that_ends_prints_nothing(alone: Any, database: str) -> None:
    """A script need not close its app: no warning is printed, and no client is left open."""
    uri = f"mongodb://127.0.0.1:{alone.nodes[0].port}"
    command = [sys.executable, "-W", "default", "-c", PRODUCER, uri, SECRET, database]

    ran = subprocess.run(command, capture_output=True, text=True, check=True)

    assert ran.stdout + ran.stderr == ""


def test_the_plugin_offers_broker_and_stores_by_one_name(alone: Any, database: str) -> None:
    """The key `mongo` selects broker, result store and schedule store."""
    made = settings(alone.settings, database)
    broker = plugin.qcore_brokers()["mongo"](made)
    store = plugin.qcore_result_stores()["mongo"](made)
    schedules = plugin.qcore_schedule_stores()["mongo"](made)

    assert broker.capabilities.transaction_domain == store.transaction_domain == schedules.transaction_domain
    assert database in (store.transaction_domain or "")
    for one in (broker, store, schedules):
        one.close()


def test_info_names_the_server(land: Any, database: str) -> None:
    """`info` names version, kind and address."""
    broker = MongoBroker(settings(land.settings, database))

    assert broker.info().startswith("MongoDB 6.0.")
    assert (land.set_name or "one server") in broker.info()
    assert broker.info().endswith(database)
    broker.close()


def test_the_check_returns_the_write_concern(land: Any, database: str) -> None:
    """`qcore doctor` shows the write concern, and what a standalone server lacks."""
    told = check(settings(land.settings, database))

    assert ("w=majority" if land.set_name else "standalone server") in told


def test_the_database_of_a_uri_is_used(alone: Any, look: Callable[..., Any], database: str) -> None:
    """Without `mongo_db` the queue is in the database that the URI names."""
    uri = f"mongodb://127.0.0.1:{alone.nodes[0].port}/{database}"
    broker = MongoBroker(settings(uri))
    broker.enqueue([Outgoing(bytes(16), b"here")])

    assert look(alone)["qcore.q.messages"].count_documents({}) == 1
    broker.close()


def test_the_example_of_django_q_runs(alone: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example of Django-Q's documentation loads unchanged, and a cluster with it runs tasks."""
    assert Config.from_dict({**EXAMPLE, "secret_key": SECRET}).broker == "mongo"
    (tmp_path / "example_tasks.py").write_text("def double(n):\n    return 2 * n\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    # somebody else's server may listen on the usual port
    here = {**EXAMPLE, "mongo": {"host": "", "port": alone.nodes[0].port}}
    config = Config.from_dict({**here, "secret_key": SECRET})
    app = App(config)

    with Cluster(config):
        assert [app.enqueue("example_tasks.double", n).result(wait=60) for n in range(10)] == [
            2 * n for n in range(10)
        ]
    app.close()
    with alone.client() as client:
        client.drop_database("qcore")


def test_every_parameter_of_the_client_may_be_written() -> None:
    """The table accepts each parameter of MongoClient."""
    known = {name.lower() for name in common.VALIDATORS} - {"readpreferencetags"}
    ours = {name.lower() for name in MongoSettings.__annotations__}
    # second names of what is there, and what the driver keeps for itself
    others = {
        "srv_host_validator", "read_preference", "max_adaptive_retries", "enable_overload_retargeting",
    }  # fmt: skip

    assert known - ours - others == set()


def test_a_queue_moves_by_its_uri(alone: Any, database: str, tmp_path: Path) -> None:
    """`qcore move` moves messages out of and into MongoDB."""
    uri = f"mongodb://127.0.0.1:{alone.nodes[0].port}/{database}"
    broker = MongoBroker(settings(uri))
    broker.enqueue([Outgoing(bytes([number]) * 16, b"x" * 26 + bytes([number]) * 74) for number in range(30)])
    elsewhere = f"sqlite:{tmp_path / 'q.db'}"
    command = [sys.executable, "-m", "qcore", "move", "--name", "q"]

    for source, target in ((uri, elsewhere), (elsewhere, uri)):
        told = [*command, "--from", source, "--to", target]
        ran = subprocess.run(told, capture_output=True, text=True, check=False, cwd=tmp_path)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        assert (broker.size().ready == 30) is (target == uri)

    assert len(broker.lease(100, 0.0)) == 30
    broker.close()


def test_a_user_of_the_one_database_is_enough(
    start: Callable[..., Any], tmp_path: Path, database: str
) -> None:
    """The role readWrite is enough, even for change streams; a wrong password is reported as one."""
    key = tmp_path / "key"
    key.write_text("a key that members of this set share")
    key.chmod(0o600)
    land = start(1, "--keyFile", str(key))
    port = land.nodes[0].port
    with land.nodes[0].client() as client:
        client.admin.command("createUser", "root", pwd="hidden", roles=["root"])
    uri = f"mongodb://root:hidden@127.0.0.1:{port}/?authSource=admin"
    with MongoClient[dict[str, Any]](uri, directConnection=True) as client:
        client[database].command("createUser", "queue", pwd="hi/dden", roles=["readWrite"])
    told = {**land.settings, "username": "queue", "authSource": database}
    broker = MongoBroker(settings({**told, "password": "hi/dden"}, database))

    broker.enqueue([Outgoing(bytes(16), b"one")])
    (one,) = broker.lease(1, 0.0)
    broker.settle([Settlement(one.receipt)])
    assert list(broker.lease(1, 0.3)) == []

    assert broker._waker._stream is not None
    assert broker.size().ready == 0
    broker.close()
    with pytest.raises(BackendRejected, match="does not accept this user name and password") as caught:
        MongoBroker(settings({**told, "password": "wrong"}, database)).ping()
    assert "wrong" not in str(caught.value)
    with pytest.raises(BackendRejected, match="has no permission for this; grant it the role readWrite"):
        MongoBroker(settings({**told, "password": "hi/dden"}, "other")).enqueue([Outgoing(bytes(16), b"one")])
    land.close()


def test_every_exported_name_can_be_imported() -> None:
    """The package imports its names when they are used, so a wrong module would be noticed late."""
    assert all(isinstance(getattr(qcore_mongo, name), type) for name in qcore_mongo.__all__)
