"""Django-Q's own examples load unchanged, once their plugin is there."""

from __future__ import annotations

from typing import Any

import pytest

from qcore.config import Config
from qcore.errors import ConfigError
from qcore.hookspecs import hookimpl
from qcore.plugins import Plugins

KEY = {"secret_key": "an old song of the sea, sung twice"}

FIRST: dict[str, Any] = {
    "name": "myproject",
    "workers": 8,
    "recycle": 500,
    "timeout": 60,
    "compress": True,
    "save_limit": 250,
    "queue_limit": 500,
    "cpu_affinity": 1,
    "label": "Django Q",
}
EXAMPLES: list[tuple[str, dict[str, Any]]] = [
    ("redis", {**FIRST, "redis": {"host": "", "port": 6379, "db": 0}}),
    ("redis", {"redis": "redis://"}),
    ("django_redis", {"name": "DJRedis", "workers": 4, "timeout": 90, "django_redis": "default"}),
    (
        "disque_nodes",
        {"name": "DisqueBroker", "workers": 4, "timeout": 60, "retry": 60, "disque_nodes": ["", ""]},
    ),
    (
        "disque_nodes",
        {
            "name": "TyndBroker",
            "workers": 8,
            "timeout": 30,
            "retry": 60,
            "bulk": 10,
            "disque_nodes": ["a:7711", "b:7711"],
            "disque_auth": "password",
        },
    ),
    (
        "iron_mq",
        {
            "name": "IronBroker",
            "workers": 8,
            "timeout": 30,
            "retry": 60,
            "queue_limit": 50,
            "bulk": 10,
            "iron_mq": {"host": "", "token": "Et1En7.....0LuW39Q", "project_id": "500f7b....b0f302e9"},
        },
    ),
    (
        "sqs",
        {
            "name": "SQSExample",
            "workers": 4,
            "timeout": 60,
            "retry": 90,
            "queue_limit": 100,
            "bulk": 5,
            "sqs": {
                "aws_region": "us-east-1",
                "aws_access_key_id": "ac-Idr.....YwflZBaaxI",
                "aws_secret_access_key": "500f7b....b0f302e9",
            },
        },
    ),
    (
        "orm",
        {
            "name": "DjangORM",
            "workers": 4,
            "timeout": 90,
            "retry": 120,
            "queue_limit": 50,
            "bulk": 10,
            "orm": "default",
        },
    ),
    ("orm", {"retry": 5, "workers": 4, "orm": "default"}),
    ("orm", {"orm": "default", "has_replica": True}),
    (
        "mongo",
        {
            "name": "MongoDB",
            "workers": 8,
            "timeout": 60,
            "retry": 70,
            "queue_limit": 100,
            "mongo": {"host": "", "port": 27017},
            "mongo_db": "queues",
        },
    ),
]


class Everything:
    """Offer every key of Django-Q that belongs to a plugin."""

    @hookimpl
    def qcore_settings(self) -> dict[str, object]:
        """Offer the keys with any value."""
        keys = "redis django_redis disque_nodes disque_auth iron_mq sqs orm has_replica mongo mongo_db cache"
        return dict.fromkeys(keys.split(), Any)

    @hookimpl
    def qcore_brokers(self) -> dict[str, object]:
        """Offer the brokers those keys select."""
        return dict.fromkeys(
            ["redis", "django_redis", "disque_nodes", "iron_mq", "sqs", "orm", "mongo"], object
        )

    @hookimpl
    def qcore_error_reporters(self) -> dict[str, object]:
        """Offer the reporter of Django-Q's example."""
        return {"rollbar": object}


#: what comes with core
CORE: dict[str, object] = {
    one.name: one.module for one in Plugins.discover(env={}).listing() if one.distribution == "qcore"
}


@pytest.fixture(scope="module")
def plugins() -> Plugins:
    """Return the built-in plugin and one that offers everything else."""
    return Plugins.of({**CORE, "everything": Everything()})


@pytest.mark.parametrize(("broker", "example"), EXAMPLES)
def test_example_loads_unchanged(plugins: Plugins, broker: str, example: dict[str, Any]) -> None:
    """Whoever comes from Django-Q takes the configuration along."""
    config = Config.from_dict({**example, **KEY}, plugins)

    assert config.broker == broker
    assert {key: value for key, value in config.as_dict().items() if key in example} == example


def test_first_example_loads_without_its_broker(plugins: Plugins) -> None:
    """Without `redis` the embedded broker takes its place, and no key is needed."""
    assert Config.from_dict(FIRST, plugins).broker == "sqlite"


def test_example_of_a_reporter_loads_unchanged(plugins: Plugins) -> None:
    """A reporter is named with its settings."""
    reporters = {"rollbar": {"access_token": "32we33a92a5224jiww8982", "environment": "Django-Q"}}

    assert Config.from_dict({"error_reporter": reporters}, plugins).error_reporter == reporters


def test_example_of_a_class_loads_unchanged(plugins: Plugins) -> None:
    """A broker may be a class of the user's own."""
    example = {"name": "Custom", "workers": 8, "timeout": 60, "broker_class": "custom.broker.CustomBroker"}

    assert Config.from_dict({**example, **KEY}, plugins).broker == "custom.broker.CustomBroker"


@pytest.mark.parametrize(("broker", "example"), EXAMPLES)
def test_example_without_its_plugin_says_what_to_install(broker: str, example: dict[str, Any]) -> None:
    """Each missing key is answered with what to do, and nothing else is wrong."""
    with pytest.raises(ConfigError) as caught:
        Config.from_dict({**example, **KEY}, Plugins.of(CORE))

    assert f"{broker}: no installed plugin offers it; " in str(caught.value)
    assert all(
        "; the package qcore-" in fault or "not available yet" in fault for fault in caught.value.problems
    )
