"""Each example of Q_CLUSTER in Django-Q's documentation, in a site."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import redis
from django.core.checks import run_checks
from django.test import override_settings

from qcore_django import app
from qcore_django.checks import TAG
from tests.unit.test_config_specification import EXAMPLES, FIRST

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .conftest import Site

PLUGINS = Path(__file__).parents[2]
KEY = "a-long-key-of-a-site-in-production-0123456789"
#: broker -> its package
PACKAGES = {
    "redis": "qcore_redis",
    "django_redis": "qcore_redis",
    "disque_nodes": "qcore_disque",
    "iron_mq": "qcore_ironmq",
    "sqs": "qcore_sqs",
    "mongo": "qcore_mongo",
}
CACHE = "django.core.cache.backends.redis.RedisCache"
CUSTOM = """
from qcore_sqlite.broker import SqliteBroker


class CustomBroker(SqliteBroker):
    \"\"\"A broker of the site's own.\"\"\"
"""


def named(examples: list[tuple[str, dict[str, Any]]]) -> list[Any]:
    """Return parameters with readable names."""
    return [
        pytest.param(*one, id=f"{one[0]}-{one[1].get('name', number)}") for number, one in enumerate(examples)
    ]


def with_host(broker: str, example: dict[str, Any]) -> dict[str, Any]:
    """Return an example with the addresses that its text has lost."""
    if broker == "disque_nodes":
        return {
            **example,
            broker: [one or f"127.0.0.1:771{number}" for number, one in enumerate(example[broker])],
        }
    table = example.get(broker)
    if isinstance(table, dict) and table.get("host") == "":
        return {**example, broker: {**table, "host": "127.0.0.1"}}
    return {**example, "redis": "redis://127.0.0.1:6379"} if table == "redis://" else example


def needs_package(broker: str) -> None:
    """Skip what needs a package that is not installed."""
    if broker in PACKAGES:
        pytest.importorskip(PACKAGES[broker])


@pytest.mark.parametrize(("broker", "example"), named(EXAMPLES))
def test_a_site_reads_each_example(broker: str, example: dict[str, Any]) -> None:
    """Nothing in it is unknown, refused or without effect, and each value counts."""
    needs_package(broker)
    told = with_host(broker, example)
    caches = {"default": {"BACKEND": CACHE, "LOCATION": "redis://127.0.0.1:6379/2"}}

    with override_settings(Q_CLUSTER=told, SECRET_KEY=KEY, CACHES=caches):
        assert run_checks(tags=[TAG]) == []
        config = app.config
        assert config.broker == ("redis" if broker == "django_redis" else broker)
        found = config.as_dict()
        assert {key: found[key] for key in told if key in found} == {
            key: value for key, value in told.items() if key in found
        }
        assert set(told) - set(found) <= {"django_redis", "has_replica"}


@pytest.mark.parametrize(
    "reporter", [{"rollbar": {"access_token": "32we33a92a5224jiww8982", "environment": "Django-Q"}}]
)
def test_a_site_reads_the_example_of_a_reporter(reporter: dict[str, Any]) -> None:
    """Once its package is there."""
    pytest.importorskip("qcore_rollbar")

    with override_settings(Q_CLUSTER={**FIRST, "error_reporter": reporter}, SECRET_KEY=KEY):
        assert run_checks(tags=[TAG]) == []
        assert app.config.error_reporter == reporter


# -- a task runs ----------------------------------------------------------------------------------


def servers_of(package: str) -> Any:
    """Return the module of a package's tests that starts its server."""
    path = PLUGINS / package / "tests" / "conftest.py"
    spec = importlib.util.spec_from_file_location(f"{package.replace('-', '_')}_servers", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def redis_server() -> Iterator[int]:
    """Start a server; yield its port."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("there is no redis-server; apt install redis-server")
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = int(one.getsockname()[1])
    process = subprocess.Popen([program, "--port", str(port), "--save", ""], stdout=subprocess.DEVNULL)
    try:
        with redis.Redis(
            port=port, retry=redis.retry.Retry(redis.backoff.ConstantBackoff(0.05), 200)
        ) as client:
            client.ping()
        yield port
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def served(broker: str, example: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str, dict[str, str]]]:
    """Start what an example needs; yield it with the address, further settings and an environment."""
    with contextlib.ExitStack() as stack:
        if broker in {"redis", "django_redis"}:
            port = stack.enter_context(redis_server())
            if broker == "django_redis":
                cache = {"BACKEND": CACHE, "LOCATION": f"redis://127.0.0.1:{port}/1"}
                yield example, f"CACHES = {{'default': {cache!r}}}", {}
                return
            given = example["redis"]
            address = (
                f"redis://127.0.0.1:{port}"
                if isinstance(given, str)
                else {**given, "host": "127.0.0.1", "port": port}
            )
            yield {**example, "redis": address}, "", {}
        elif broker == "disque_nodes":
            server = servers_of("qcore-disque").Server(2, password=example.get("disque_auth", ""))
            stack.callback(server.kill)
            yield {**example, broker: server.nodes}, "", {}
        elif broker == "iron_mq":
            server = servers_of("qcore-ironmq").Server()
            stack.callback(server.kill)
            yield {**example, broker: server.settings}, "", {"no_proxy": "127.0.0.1"}
        elif broker == "sqs":
            pytest.importorskip("moto")
            server = servers_of("qcore-sqs").Sqs()
            stack.callback(server.kill)
            yield example, "", {"AWS_ENDPOINT_URL": server.url, "no_proxy": "127.0.0.1"}
        elif broker == "mongo":
            module = servers_of("qcore-mongo")
            program = module.binary()
            if program is None:
                pytest.skip("there is no mongod")
            node = module.Node(program, Path(stack.enter_context(tempfile.TemporaryDirectory())))
            stack.callback(node.kill)
            yield {**example, broker: {**example[broker], "host": "127.0.0.1", "port": node.port}}, "", {}
        else:
            yield example, "", {}


@pytest.mark.slow
@pytest.mark.further
@pytest.mark.parametrize(("broker", "example"), named(EXAMPLES))
def test_a_task_runs_with_each_example(site: Site, broker: str, example: dict[str, Any]) -> None:
    """With a server of the kind, a site runs its first task, which has an object of a model."""
    needs_package(broker)
    with served(broker, example) as (told, more, env):
        table = json.loads(json.dumps(told))
        with (site.folder / "mysite" / "settings.py").open("a") as file:
            file.write(f"\nQ_CLUSTER = {table!r}\n{more}\n")
        site.env.update(env)
        site.manage("migrate", "-v", "0")
        with site.running():
            found = site.ask(
                "from qcore_django.tasks import async_task, result\n"
                "order = Order.objects.create(title='a book')\n"
                "first = pay.enqueue(order.pk).result(wait=60)\n"
                "second = result(async_task('shop.tasks.nightly', group='g'), wait=60_000)\n"
                "order.refresh_from_db()\n"
                "answer = [first[0], order.paid, second]"
            )
    assert found == ["a book", True, "night"]


@pytest.mark.slow
@pytest.mark.further
def test_a_task_runs_with_a_broker_of_the_site(site: Site) -> None:
    """The example `broker_class`, whose class is a module of the site."""
    (site.folder / "shop" / "broker.py").write_text(CUSTOM)
    table = {"name": "Custom", "workers": 8, "timeout": 60, "broker_class": "shop.broker.CustomBroker"}
    with (site.folder / "mysite" / "settings.py").open("a") as file:
        file.write(f"\nQ_CLUSTER = {table!r}\n")

    with site.running():
        assert site.ask("answer = nightly.enqueue().result(wait=60)") == "night"
