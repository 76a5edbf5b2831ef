"""Settings are read, get their defaults and are checked together."""

from __future__ import annotations

import json
import logging
from types import ModuleType
from typing import TYPE_CHECKING, Any

import attrs
import msgspec
import pytest

from qcore.config import Config
from qcore.errors import ConfigError
from qcore.hookspecs import hookimpl
from qcore.interfaces import Capabilities, Settings
from qcore.plugins import Plugins
from qcore.settings import options
from qcore_process import cpus

if TYPE_CHECKING:
    from collections.abc import Mapping

pytestmark = pytest.mark.portable

KEY = "an old song of the sea, sung twice"


@attrs.frozen(kw_only=True)
class Server:
    """The settings of a broker of this test."""

    host: str = "localhost"
    port: int = 6379
    password: str | None = None


def server_plugin() -> ModuleType:
    """Offer a broker `server`, a broker `bare` without settings, a store and a reporter."""
    made = ModuleType("server_plugin")
    answers: Mapping[str, dict[str, Any]] = {
        "qcore_settings": {"server": Server, "server_mode": str},
        "qcore_brokers": {"server": object, "bare": object},
        "qcore_result_stores": {"server": object},
        "qcore_error_reporters": {"tracker": object},
    }
    for hook, answer in answers.items():
        setattr(made, hook, hookimpl(lambda answer=answer: answer))
    return made


@pytest.fixture(scope="module")
def plugins() -> Plugins:
    """Return the built-in plugin and one of this test."""
    return Plugins.discover(extra={"server": server_plugin()}, env={})


def problems_of(plugins: Plugins, **settings: object) -> list[str]:
    """Return the problems of these settings."""
    with pytest.raises(ConfigError) as caught:
        Config.from_dict(settings, plugins)
    return list(caught.value.problems)


# -- every key --------------------------------------------------------------------------------


def test_defaults_are_the_documented_ones(plugins: Plugins) -> None:
    """Nothing has to be configured."""
    config = Config.from_dict({}, plugins)

    defaults = config.as_dict()
    assert defaults.pop("workers") == config.workers
    assert defaults.pop("queue_limit") is None
    assert defaults == {
        "name": "default",
        "daemonize_workers": True,
        "recycle": 500,
        "recycle_after": 1.0,
        "max_rss": None,
        "threads": 1,
        "coroutines": 10,
        "event_loop": "asyncio",
        "timeout": None,
        "ack_failures": False,
        "max_attempts": 0,
        "retry": 60.0,
        "compress": False,
        "save_limit": 250,
        "save_limit_per": None,
        "guard_cycle": 0.5,
        "sync": False,
        "queues": None,
        "label": "qcore",
        "catch_up": True,
        "catch_up_limit": 1000,
        "catch_up_window": None,
        "bulk": None,
        "poll": 0.2,
        "cached": False,
        "scheduler": True,
        "strict": False,
        "error_reporter": {},
        "cpu_affinity": 0,
        "broker_class": None,
        "log_level": "INFO",
        "log_format": "text",
        "log_tasks": False,
        "time_zone": "UTC",
        "secret_key": None,
        "serializer": "msgpack",
        "accept_serializers": ["msgpack"],
        "tasks_allowed": None,
        "max_crashes": 3,
        "unsigned_limit": 1000,
        "unsigned_ttl": 604_800.0,
        "unknown_key_limit": 1_000_000,
        "unknown_key_ttl": 7_776_000.0,
        "at_most_once": False,
        "renew_leases": True,
        "shutdown_timeout": 25.0,
        "preload": [],
        "result_store": None,
        "coordination_store": None,
        "outbox": None,
        "replay_window": None,
        "replay_limit": 100_000,
        "max_connections": 100,
        "max_message": 8 * 1024 * 1024,
        "max_result": 16 * 1024 * 1024,
        "keep_arguments": False,
    }  # fmt: skip
    assert config.workers == cpus.available()


@pytest.mark.parametrize(
    ("key", "given", "kept"),
    [
        ("name", "shop:mail.v2", "shop:mail.v2"),
        ("workers", 8, 8),
        ("workers", 8.0, 8),
        ("workers", None, cpus.available()),
        ("daemonize_workers", False, False),
        ("recycle", 0, 0),
        ("recycle", None, 0),
        ("max_rss", 100_000, 100_000),
        ("max_rss", 0, None),
        ("timeout", 0.5, 0.5),
        ("timeout", None, None),
        ("ack_failures", True, True),
        ("max_attempts", 1, 1),
        ("retry", 5, 5.0),
        ("compress", True, True),
        ("save_limit", -1, -1),
        ("save_limit_per", "Func", "func"),
        ("save_limit_per", None, None),
        ("guard_cycle", 59.9, 59.9),
        ("sync", True, True),
        ("queue_limit", 500, 500),
        ("label", "Django Q", "Django Q"),
        ("catch_up", False, False),
        ("catch_up_limit", 10, 10),
        ("catch_up_window", 3600, 3600.0),
        ("catch_up_window", None, None),
        ("bulk", 10, 10),
        ("poll", 1, 1.0),
        ("cached", True, True),
        ("cached", 60, 60.0),
        ("scheduler", False, False),
        ("strict", True, True),
        ("error_reporter", {"tracker": {"token": "x"}}, {"tracker": {"token": "x"}}),
        ("error_reporter", None, {}),
        ("cpu_affinity", 3, 3),
        ("log_level", "debug", "DEBUG"),
        ("log_format", "JSON", "json"),
        ("log_format", None, "text"),
        ("log_tasks", True, True),
        ("time_zone", "Europe/Paris", "Europe/Paris"),
        ("secret_key", KEY, (KEY,)),
        ("secret_key", [KEY, KEY * 2], (KEY, KEY * 2)),
        ("secret_key", "file:/run/key", ("file:/run/key",)),
        ("serializer", "json", "json"),
        ("accept_serializers", ["msgpack", "pickle"], ("msgpack", "pickle")),
        ("tasks_allowed", ["shop.*"], ("shop.*",)),
        ("max_crashes", 0, 0),
        ("renew_leases", False, False),
        ("keep_arguments", True, True),
        ("shutdown_timeout", 0, 0.0),
        ("preload", ["shop.tasks"], ("shop.tasks",)),
        ("result_store", "memory", "memory"),
        ("coordination_store", "memory", "memory"),
        ("outbox", "memory", "memory"),
        ("max_message", 1000, 1000),
        ("max_result", 1000, 1000),
    ],
)
def test_setting_is_kept(plugins: Plugins, key: str, given: object, kept: object) -> None:
    """Each key takes the values that Django-Q and the reference document."""
    value = getattr(Config.from_dict({key: given}, plugins), key)

    assert (value, type(value)) == (kept, type(kept))


def test_broker_class_is_kept(plugins: Plugins) -> None:
    """A class named by its path is the broker, whatever other brokers' sections there are."""
    config = Config.from_dict(
        {"broker_class": "shop.queues.Mine", "server": {}, "bare": {}, "secret_key": KEY}, plugins
    )

    assert config.broker == config.broker_class == "shop.queues.Mine"


def test_every_key_has_a_wrong_value_in_these_tests() -> None:
    """A new setting cannot be added without a test of its message."""
    assert {parameters[0] for parameters in WRONG} == set(options.every())


WHOLE = "must be a whole number of"
SECONDS = "must be a number of seconds"
TABLES = "must be a table with a table of settings for each reporter, such as {'log': {}}"
ZONE = "must be a time zone of the IANA database such as 'Europe/Paris' or 'UTC'"
PATTERNS = "must be a list of patterns such as 'myproject.tasks.*'; leave it out to allow all"
MODULES = "must be a list of modules such as 'myproject.tasks'"
LEVEL = "must be one of DEBUG, INFO, WARNING, ERROR, CRITICAL"
DOTTED = "must be the dotted path of a class, such as 'myproject.queues.MyBroker'"
EACH_CPU = "leave it out for one for each CPU"
MAKE = "make one with 'qcore keys new'"
FLAG = "must be true or false, without quotes"
WRONG = [
    ("name", "a/b", "got 'a/b'; must be 1 to 80 letters, digits or _ . : -"),
    ("name", "", "got ''; must be 1 to 80 letters, digits or _ . : -"),
    ("workers", 0, f"got 0; {WHOLE} 1 or more; {EACH_CPU}"),
    ("workers", True, f"got True; {WHOLE} 1 or more; {EACH_CPU}"),
    ("workers", "4", f"got '4'; {WHOLE} 1 or more, without quotes; {EACH_CPU}"),
    ("workers", 1.5, f"got 1.5; {WHOLE} 1 or more; {EACH_CPU}"),
    ("workers", 10**400, f"got a very large number; {WHOLE} 1 or more; {EACH_CPU}"),
    ("threads", 0, f"got 0; {WHOLE} 1 or more; 1 runs them one after the other"),
    ("coroutines", 0, f"got 0; {WHOLE} 1 or more; 1 runs them one after the other"),
    ("coroutines", 1001, "got 1001; must be at most 1000; 1 runs them one after the other"),
    (
        "event_loop",
        "trio",
        "got 'trio'; must be one of asyncio, uvloop; uvloop comes with the extra qcore[uvloop]",
    ),
    ("daemonize_workers", 1, f"got 1; {FLAG}"),
    ("recycle_after", -1, f"got -1; {SECONDS}, 0 or more; 0 counts tasks alone"),
    ("recycle", -1, f"got -1; {WHOLE} 0 or more; 0 never replaces a worker"),
    ("max_rss", -1, f"got -1; {WHOLE} 1 or more; leave it out for no limit"),
    ("timeout", 0, f"got 0; {SECONDS}, more than 0; leave it out for no limit"),
    ("timeout", -5, f"got -5; {SECONDS}, more than 0; leave it out for no limit"),
    ("timeout", "60", f"got '60'; {SECONDS}, without quotes, more than 0; leave it out for no limit"),
    ("timeout", float("nan"), f"got nan; {SECONDS}, more than 0; leave it out for no limit"),
    ("timeout", float("inf"), f"got inf; {SECONDS}, more than 0; leave it out for no limit"),
    ("ack_failures", "true", f"got 'true'; {FLAG}"),
    ("max_attempts", -1, f"got -1; {WHOLE} 0 or more; 0 means no limit"),
    ("max_attempts", None, f"got None; {WHOLE} 0 or more; 0 means no limit"),
    ("retry", -1, f"got -1; {SECONDS}, 0 or more; it is how long a broker waits for a task"),
    ("compress", None, f"got None; {FLAG}"),
    (
        "save_limit_per",
        "groop",
        (
            "got 'groop'; must be one of func, group, name; did you mean 'group'?; "
            "leave it out to count all successes together"
        ),
    ),
    ("save_limit", -2, f"got -2; {WHOLE} -1 or more; 0 keeps all successes, -1 none"),
    ("guard_cycle", 60, f"got 60; {SECONDS}, more than 0 and less than 60; 0.5 suits most"),
    ("guard_cycle", 0, f"got 0; {SECONDS}, more than 0 and less than 60; 0.5 suits most"),
    ("sync", "no", f"got 'no'; {FLAG}"),
    (
        "queues",
        {"mail": 0},
        (
            "got a table; each weight must be a whole number from 1 to 1000000; that of 'mail' is 0; "
            "leave a queue out that is not to be worked on"
        ),
    ),
    ("queue_limit", 0, f"got 0; {WHOLE} 1 or more; leave it out to adapt to the tasks"),
    ("label", "a\nb", "got 'a\\nb'; must be a text without control characters"),
    ("label", "\ud800", "got '\\ud800'; must be a text without control characters"),
    ("catch_up", 0, f"got 0; {FLAG}"),
    ("bulk", 0, f"got 0; {WHOLE} 1 or more; leave it out to adapt to the tasks"),
    ("poll", 0, f"got 0; {SECONDS}, more than 0; 0.2 suits most"),
    ("cached", 0, f"got 0; {SECONDS}, more than 0; or true or false, for as long as save_limit allows"),
    ("catch_up_limit", 0, f"got 0; {WHOLE} 1 or more; 1000 suits most"),
    ("catch_up_window", 0, f"got 0; {SECONDS}, more than 0; leave it out for no window"),
    ("scheduler", "on", f"got 'on'; {FLAG}"),
    ("strict", "on", f"got 'on'; {FLAG}"),
    ("error_reporter", "hunter2", f"got a text; {TABLES}"),
    (
        "error_reporter",
        {"tracker": "hunter2"},
        (f"got a table; {TABLES}; 'tracker' is a text"),
    ),
    ("cpu_affinity", -1, f"got -1; {WHOLE} 0 or more; 0 lets a worker use every CPU"),
    ("broker_class", "Mine()", f"got 'Mine()'; {DOTTED}"),
    ("log_level", "WARN", f"got 'WARN'; {LEVEL}; did you mean 'WARNING'?"),
    ("log_level", 10, f"got 10; {LEVEL}"),
    (
        "log_format",
        "jsn",
        "got 'jsn'; must be one of text, json; did you mean 'json'?; json writes one object a line",
    ),
    ("log_tasks", 3, "got 3; must be true or false, without quotes"),
    (
        "time_zone",
        "Europe/Pariss",
        (f"got 'Europe/Pariss'; {ZONE}; did you mean 'Europe/Paris'?"),
    ),
    ("time_zone", "../../etc/passwd", f"got '../../etc/passwd'; {ZONE}"),
    ("serializer", "", "got ''; must be the name of a serializer"),
    ("accept_serializers", "json", "got 'json'; must be a list; write ['json']"),
    ("accept_serializers", [], "got an empty list; must be a list of names of serializers"),
    ("tasks_allowed", [], f"got an empty list; {PATTERNS}"),
    (
        "tasks_allowed",
        ["shop.*", ""],
        f"got a list; {PATTERNS}; '' is not one",
    ),
    ("at_most_once", "maybe", f"got 'maybe'; {FLAG}"),
    ("max_crashes", -1, f"got -1; {WHOLE} 0 or more; 0 means no limit"),
    ("renew_leases", "off", f"got 'off'; {FLAG}"),
    ("keep_arguments", "off", f"got 'off'; {FLAG}"),
    ("shutdown_timeout", -1, f"got -1; {SECONDS}, 0 or more; 0 ends running tasks at once"),
    ("preload", ["shop tasks"], f"got a list; {MODULES}; 'shop tasks' is not one"),
    ("result_store", "", "got ''; must be the name of a result store"),
    ("outbox", "", "got ''; must be the name of a broker, such as 'sql'"),
    ("coordination_store", "", "got ''; must be the name of a coordination store"),
    ("unsigned_limit", -2, f"got -2; {WHOLE} -1 or more; 0 keeps none, -1 all"),
    ("unsigned_ttl", 0, f"got 0; {SECONDS}, more than 0; leave it out for a week"),
    ("unknown_key_limit", -2, f"got -2; {WHOLE} -1 or more; 0 keeps none, -1 all"),
    ("unknown_key_ttl", 0, f"got 0; {SECONDS}, more than 0; leave it out for 90 days"),
    (
        "replay_window",
        -1,
        f"got -1; {SECONDS}, 0 or more; leave it out for what the broker does at little cost",
    ),
    ("replay_limit", 0, f"got 0; {WHOLE} 1 or more; 100000 suits most"),
    ("max_connections", 1, f"got 1; {WHOLE} 2 or more; 100 suits most"),
    ("max_message", 0, f"got 0; {WHOLE} 1 or more; 8388608 is 8 MiB"),
    ("max_result", 0.5, f"got 0.5; {WHOLE} 1 or more; 16777216 is 16 MiB"),
    ("secret_key", 5, f"got ***; must be a text or a list of texts, the first signs, all verify; {MAKE}"),
    (
        "secret_key",
        "hunter2hunter2",
        f"got ***; it has 14 characters, 16 are needed and 32 are better; {MAKE}",
    ),
    (
        "secret_key",
        [KEY, "Change-me! change-me! change-me!"],
        f"got ***; key 2 of 2: it is a well-known placeholder; {MAKE}",
    ),
    ("secret_key", "file:", "got ***; it names no file; write 'file:PATH'"),
    ("secret_key", "\ud800" * 40, f"got ***; it contains characters that cannot be encoded; {MAKE}"),
]


@pytest.mark.parametrize(("key", "given", "message"), WRONG)
def test_wrong_value_is_reported(plugins: Plugins, key: str, given: object, message: str) -> None:
    """A message names the setting and the value, and says what is wrong and what to do."""
    assert problems_of(plugins, **{key: given}) == [f"{key}: {message}"]


# -- unknown keys -----------------------------------------------------------------------------


def test_misspelt_setting_is_reported_with_the_nearest_and_without_its_value(plugins: Plugins) -> None:
    """The value of an unknown key is not shown, because it may be a secret."""
    assert problems_of(plugins, wokers=4, secret_kye="hunter2") == [
        "wokers: unknown setting; did you mean 'workers'?",
        "secret_kye: unknown setting; did you mean 'secret_key'?",
    ]


def test_unknown_setting_is_reported(plugins: Plugins) -> None:
    """An unknown key that resembles no other is reported without a suggestion."""
    assert problems_of(plugins, frobnicate=True) == [
        "frobnicate: unknown setting; no installed plugin offers it"
    ]


@pytest.mark.parametrize(
    ("key", "remedy"),
    [
        (
            "redis",
            "the package qcore-redis offers it: in a clone of qcore, pip install ./plugins/qcore-redis",
        ),
        (
            "mongo_db",
            "the package qcore-mongo offers it: in a clone of qcore, pip install ./plugins/qcore-mongo",
        ),
        (
            "django_redis",
            (
                "the package qcore-django reads it, in Q_CLUSTER of a Django site: in a clone of qcore, "
                "pip install ./plugins/qcore-sql ./plugins/qcore-django"
            ),
        ),
        (
            "orm",
            (
                "the package qcore-django offers it: in a clone of qcore, "
                "pip install ./plugins/qcore-sql ./plugins/qcore-django"
            ),
        ),
    ],
)
def test_setting_of_a_plugin_that_is_not_installed_says_what_to_install(key: str, remedy: str) -> None:
    """Django-Q's own keys are known by name."""
    alone = Plugins.of({"server": server_plugin()})

    assert f"{key}: no installed plugin offers it; {remedy}" in problems_of(alone, **{key: {}})


def test_setting_of_a_broken_plugin_gives_its_reason() -> None:
    """The message says what the plugin could not import."""

    class Broken:
        @hookimpl
        def qcore_settings(self) -> dict[str, object]:
            raise ModuleNotFoundError("No module named 'redis'")

    broken = Plugins.discover(extra={"redis": Broken()}, env={})

    assert problems_of(broken, redis={}) == [
        "redis: the plugin redis could not be used: ModuleNotFoundError: No module named 'redis'"
    ]


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("cluster_name", "cluster_name: not a setting of qcore; a queue has one name: set name"),
        ("ALT_CLUSTERS", "ALT_CLUSTERS: not a setting of qcore; write a configuration for each queue"),
        ("testing", "testing: not a setting of qcore; use qcore.testing"),
    ],
)
def test_setting_of_another_version_says_what_to_do_instead(plugins: Plugins, key: str, message: str) -> None:
    """Settings of later versions of Django-Q are reported with the replacement."""
    assert problems_of(plugins, **{key: "x"}) == [message]


def test_setting_whose_name_is_not_a_text_is_reported(plugins: Plugins) -> None:
    """The keys of a table may be of any type, but settings have names."""
    with pytest.raises(ConfigError) as caught:
        Config.from_dict({7: "x"}, plugins)  # type: ignore[dict-item]  # what this test is about

    assert caught.value.problems == ("7: the name of a setting must be a text",)


def test_configuration_that_is_not_a_table_is_reported(plugins: Plugins) -> None:
    """A configuration of another type is reported like any other problem."""
    with pytest.raises(ConfigError) as caught:
        Config.from_dict(["name"], plugins)  # type: ignore[arg-type]  # what this test is about

    assert caught.value.problems == ("configuration: got a list; must be a table of settings",)


def test_endlessly_nested_table_is_reported(plugins: Plugins) -> None:
    """A table that contains itself is reported."""
    bottomless: dict[str, object] = {}
    bottomless["server"] = bottomless

    assert "configuration: its tables are nested too deeply; no setting needs that" in problems_of(
        plugins, **bottomless
    )


def test_all_problems_are_reported_at_once(plugins: Plugins) -> None:
    """One start of the cluster reports every problem of the configuration."""
    settings = {"workers": 0, "wokers": 1, "server": {"prt": 1}, "retry": "x", "secret_key": "short"}

    problems = problems_of(plugins, **settings, accept_serializers=["xml"])

    paths = {fault.partition(":")[0] for fault in problems}
    assert paths == {"workers", "wokers", "server.prt", "retry", "secret_key", "accept_serializers"}


# -- problems between settings ----------------------------------------------------------------


def test_broker_is_the_one_whose_key_is_there(plugins: Plugins) -> None:
    """A broker is selected by its key; without one the embedded broker is used."""
    assert Config.from_dict({"server": {}, "secret_key": KEY}, plugins).broker == "server"
    assert Config.from_dict({"server": None}, plugins).broker == "sqlite"


def test_two_brokers_are_an_error(plugins: Plugins) -> None:
    """Two brokers are an error, because qcore does not guess."""
    assert problems_of(plugins, server={}, memory={}, bare={}) == [
        (
            "bare: there are 3 brokers: bare, memory, server; keep one; name another that only stores "
            "in result_store, coordination_store or outbox"
        )
    ]


def test_key_of_the_result_store_is_not_taken_for_the_broker(plugins: Plugins) -> None:
    """Results may be stored in another backend than the queue."""
    config = Config.from_dict(
        {"server": {}, "sqlite": {"path": "q.db"}, "result_store": "server", "secret_key": KEY}, plugins
    )

    assert (config.broker, config.result_store) == ("sqlite", "server")


def test_key_of_the_coordination_store_is_not_taken_for_the_broker(plugins: Plugins) -> None:
    """Limits may be kept elsewhere than queue and results."""
    told = {"server": {}, "sqlite": {"path": "q.db"}, "memory": {}, "secret_key": KEY}
    config = Config.from_dict(told | {"result_store": "server", "coordination_store": "memory"}, plugins)

    assert (config.broker, config.result_store, config.coordination_store) == ("sqlite", "server", "memory")


def test_shared_broker_needs_a_key(plugins: Plugins) -> None:
    """Processes on other machines cannot read a key file on this one."""
    assert problems_of(plugins, server={}) == [
        (
            "secret_key: missing; every process that uses the broker 'server' must have the same key: "
            "make one with 'qcore keys new' and set secret_key or QCORE_SECRET_KEY"
        )
    ]


def test_broker_without_settings_takes_an_empty_table_only(plugins: Plugins) -> None:
    """A broker without settings accepts an empty table and nothing else."""
    assert Config.from_dict({"bare": True, "secret_key": KEY}, plugins).broker == "bare"
    assert problems_of(plugins, bare={"host": "x"}, secret_key=KEY) == [
        "bare: got a table; this broker has no settings; write an empty table"
    ]


def test_timeout_must_be_less_than_retry_without_renewal(plugins: Plugins) -> None:
    """Otherwise the broker redelivers a task while it runs."""
    assert problems_of(plugins, timeout=60, renew_leases=False) == [
        (
            "timeout: got 60; with renew_leases off it must be less than retry (60), or a long task runs "
            "twice: set renew_leases = true, or raise retry above 60"
        )
    ]
    assert Config.from_dict({"timeout": 60, "retry": 60}, plugins).timeout == 60
    assert Config.from_dict({"retry": 5, "workers": 4, "renew_leases": False}, plugins).retry == 5


def test_wrong_value_causes_no_further_problems(plugins: Plugins) -> None:
    """Problems that follow from an invalid value are not reported."""
    assert len(problems_of(plugins, timeout=70, retry="x", renew_leases=False)) == 1
    assert len(problems_of(plugins, server={}, secret_key="short")) == 1
    assert len(problems_of(plugins, serializer=1, accept_serializers=["json"])) == 1


def test_unknown_reporter_is_reported(plugins: Plugins) -> None:
    """A reporter that is not installed is an error."""
    problems = problems_of(plugins, error_reporter={"traker": {}, "sentry": {}})

    assert problems[0].startswith("error_reporter.traker: no error reporter named 'traker'; installed: ")
    assert "did you mean 'tracker'?" in problems[0]


def test_unknown_coordination_store_is_reported(plugins: Plugins) -> None:
    """A coordination store that is not installed is an error."""
    [problem] = problems_of(plugins, coordination_store="servr")

    assert problem.startswith("coordination_store: got 'servr'; no coordination store named 'servr'; ")


def test_unknown_result_store_is_reported(plugins: Plugins) -> None:
    """A result store that is not installed is an error."""
    [problems] = problems_of(plugins, result_store="servr")

    assert problems.startswith("result_store: got 'servr'; no result store named 'servr'; installed: ")


def test_unknown_serializer_is_reported(plugins: Plugins) -> None:
    """A serializer that is not installed is an error."""
    [problems] = problems_of(plugins, serializer="msgpck")

    assert problems.startswith("serializer: got 'msgpck'; no serializer named 'msgpck'; installed: ")


def test_accept_serializers_must_contain_the_serializer(plugins: Plugins) -> None:
    """A cluster must be able to read what it enqueues."""
    assert problems_of(plugins, accept_serializers=["json"]) == [
        (
            "accept_serializers: got ['json']; it must contain the serializer, or no worker can read "
            "what is enqueued here: add 'msgpack', or change serializer"
        )
    ]


def test_unsafe_serializer_must_be_accepted_by_name(plugins: Plugins) -> None:
    """Writing pickle does not imply reading it from others."""
    assert problems_of(plugins, serializer="pickle") == [
        (
            "accept_serializers: missing; 'pickle' can run any code when it reads a message: choose another "
            "serializer, or trust everyone who has the key and set accept_serializers = ['pickle']"
        )
    ]
    assert Config.from_dict(
        {"serializer": "pickle", "accept_serializers": ["pickle"]}, plugins
    ).accept_serializers == ("pickle",)


def test_serializer_that_cannot_be_created_is_reported() -> None:
    """A factory that raises is reported and not raised."""

    class Odd:
        @hookimpl
        def qcore_serializers(self) -> dict[str, object]:
            return {"odd": lambda: 1 / 0}

    odd = Plugins.discover(extra={"odd": Odd()}, env={})

    assert problems_of(odd, serializer="odd") == [
        "serializer: got 'odd'; it cannot be created: ZeroDivisionError: division by zero"
    ]


CAN = Capabilities(
    redelivers=True, extend=True, delay=True, stores_counters=True, dead_letters=True, max_batch=10
)


def test_broker_that_cannot_renew_needs_a_timeout_below_retry(plugins: Plugins) -> None:
    """Without renewal of leases a timeout must be less than retry."""
    config = Config.from_dict({"timeout": 90, "retry": 60}, plugins)

    assert config.check_broker(CAN) == ()
    assert config.check_broker(attrs.evolve(CAN, extend=False)) == (
        (
            "timeout: got 90; with 'sqlite', which cannot extend a lease, it must be less than "
            "retry (60), or a long task runs twice: lower timeout, or raise retry above 90"
        ),
    )
    assert config.check_broker(attrs.evolve(CAN, extend=False, redelivers=False)) == ()


def test_a_retry_of_zero_is_for_brokers_that_do_not_redeliver(plugins: Plugins) -> None:
    """With 0 nothing is redelivered, which only some brokers can promise."""
    config = Config.from_dict({"retry": 0, "timeout": 90, "renew_leases": False}, plugins)

    assert config.check_broker(attrs.evolve(CAN, redelivers=False)) == ()
    assert config.check_broker(CAN) == (
        (
            "retry: got 0; the broker 'sqlite' redelivers a message, so it must know after how many"
            " seconds: leave it out for 60"
        ),
    )


def test_max_message_above_the_limit_of_the_broker_is_reported(plugins: Plugins) -> None:
    """It would have no effect; the default is larger than some brokers take, and they say so."""
    small = attrs.evolve(CAN, max_bytes=200_000)
    config = Config.from_dict({"max_message": 9 << 20}, plugins)

    assert config.check_broker(CAN) == Config.from_dict({}, plugins).check_broker(small) == ()
    (problem,) = config.check_broker(small)
    assert problem == (
        "max_message: got 9437184; the broker 'sqlite' takes 200000 bytes at most: leave it out, and pass "
        "references to larger data"
    )


def test_max_message_has_a_bound_where_it_is_set(plugins: Plugins) -> None:
    """No broker takes more."""
    with pytest.raises(
        ConfigError, match=r"max_message: got 536870913; must be at most 536870912; 8388608 is"
    ):
        Config.from_dict({"max_message": (512 << 20) + 1}, plugins)


def test_bulk_above_the_limit_of_the_broker_is_reported(plugins: Plugins) -> None:
    """A broker that leases ten messages at once is not asked for fifty."""
    config = Config.from_dict({"bulk": 50}, plugins)

    assert config.check_broker(CAN) == ("bulk: got 50; the broker 'sqlite' leases at most 10 at once",)


# -- values -----------------------------------------------------------------------------------


def test_result_ttl_comes_from_cached(plugins: Plugins) -> None:
    """A number is a time in seconds; true and false set no time."""
    assert Config.from_dict({"cached": 60}, plugins).result_ttl == 60
    assert Config.from_dict({"cached": True}, plugins).result_ttl is None


def test_settings_carry_structured_sections(plugins: Plugins) -> None:
    """A broker's factory gets its own type and no other settings."""
    given = {"name": "q", "retry": 9, "replay_window": 5, "server": {"port": 1}, "secret_key": KEY}
    config = Config.from_dict(given, plugins)

    expected = Settings(name="q", retry=9.0, replay_window=5.0, sections={"server": Server(port=1)})
    assert config.settings() == expected


def test_configuration_crosses_a_pipe_unchanged(plugins: Plugins) -> None:
    """The supervisor gets an equal configuration, by JSON or MessagePack."""
    config = Config.from_dict(
        {
            "workers": 3,
            "cached": 5,
            "accept_serializers": ["msgpack", "json"],
            "tasks_allowed": ["a.*"],
            "error_reporter": {"tracker": {"list": [1, {"deep": None}]}},
            "server": {"host": "db", "password": "hunter2"},
            "server_mode": "fast",
            "secret_key": [KEY, KEY[::-1]],
        },
        plugins,
    )

    assert Config.from_dict(json.loads(json.dumps(config.as_dict())), plugins) == config
    sent = msgspec.msgpack.decode(msgspec.msgpack.encode(config.as_dict()))
    assert Config.from_dict(sent, plugins) == config
    assert Config.from_dict(sent, plugins).sections == config.sections


def test_configuration_does_not_change_with_the_table_it_was_made_of(plugins: Plugins) -> None:
    """A table of the user's may be used and changed elsewhere."""
    reporters = {"tracker": {"tags": ["a"]}}
    table: dict[str, Any] = {"error_reporter": reporters, "server": {"host": "a"}, "secret_key": KEY}
    config = Config.from_dict(table, plugins)

    table["error_reporter"]["tracker"]["tags"].append("b")
    table["server"]["host"] = "b"

    assert config.error_reporter == {"tracker": {"tags": ["a"]}}
    assert config.raw == {"server": {"host": "a"}}


# -- secrets ----------------------------------------------------------------------------------

SECRET = "hunter2-and-a-half"


def test_secrets_are_not_shown_by_repr_or_redacted(plugins: Plugins) -> None:
    """What is printed may end in a ticket."""
    config = Config.from_dict(
        {
            "secret_key": KEY,
            "server": {"host": f"redis://user:{SECRET}@db:1/0", "password": SECRET},
            "error_reporter": {"tracker": {"dsn": SECRET, "auth": {"user": SECRET}, "env": "live"}},
        },
        plugins,
    )

    shown = config.redacted()
    assert SECRET not in repr(config) + repr(shown)
    assert KEY not in repr(config) + repr(shown)
    assert shown["server"] == {"host": "redis://***@db:1/0", "password": "***"}
    assert shown["error_reporter"] == {"tracker": {"dsn": "***", "auth": "***", "env": "live"}}
    assert shown["secret_key"] == "***"
    assert Config.from_dict({}, plugins).redacted()["secret_key"] is None


@pytest.mark.parametrize(
    "settings",
    [
        {"secret_key": [SECRET, "x"]},
        {"secret_key": {SECRET: 1}},
        {"secret_kye": SECRET},
        {"server": SECRET},
        {"server": {"password": [SECRET]}},
        {"server": {"port": f"redis://user:{SECRET}@db"}},
        {"server": {"pasword": SECRET}},
        {"server_mode": {"token": SECRET}},
        {"error_reporter": {"tracker": SECRET}},
        {"error_reporter": SECRET},
        {"redis": f"redis://:{SECRET}@db"},
        {"name": SECRET + "/", "server": {"password": SECRET + "/"}},
    ],
)
def test_secrets_are_not_shown_in_faults(plugins: Plugins, settings: dict[str, Any]) -> None:
    """Neither the message nor what the traceback prints repeats a secret."""
    with pytest.raises(ConfigError) as caught:
        Config.from_dict(settings, plugins)

    assert SECRET not in str(caught.value)
    assert caught.value.__context__ is None


def test_secret_in_a_plugins_own_message_is_hidden() -> None:
    """A validator may put the value into its text."""

    def refuse(_: object, __: object, value: str) -> None:
        raise ValueError(f"no such thing as {value!r}")

    made = ModuleType("picky")
    kind = attrs.make_class("Picky", {"password": attrs.field(type=str, validator=refuse)})
    made.qcore_settings = hookimpl(lambda: {"picky": kind})  # type: ignore[attr-defined]  # a module made by hand

    [problem] = problems_of(
        Plugins.discover(extra={"picky": made}, env={}), picky={"password": "a\"b'c" + SECRET}
    )

    assert problem == "picky: got a table; no such thing as '***'"


def test_short_key_is_warned_of(plugins: Plugins, caplog: pytest.LogCaptureFixture) -> None:
    """Sixteen characters are taken, with a word about it."""
    with caplog.at_level(logging.WARNING, "qcore.config"):
        Config.from_dict({"secret_key": "x7" * 10}, plugins).keys()

    assert caplog.messages == ["secret_key has 20 characters, 32 or more are recommended"]
