"""What a site's settings make of the one App."""

from __future__ import annotations

import logging
import re
import ssl
from typing import TYPE_CHECKING, Any

import pytest
from django.apps import apps
from django.test import override_settings

from qcore.errors import ConfigError, ScheduleError, UnknownKey
from qcore_django import app
from qcore_django.apps import QcoreDjangoConfig
from qcore_django.management.commands.qcluster import waiting
from qcore_django.models import places
from qcore_django.queue_names import queue_name
from qcore_django.tasks import async_task, fetch, schedule

if TYPE_CHECKING:
    from pathlib import Path

    from qcore import Config


def config_of(**settings: Any) -> Config:
    """Return the configuration of a site with these settings."""
    with override_settings(**settings):
        return app.config


def test_the_app_is_listed_under_its_label() -> None:
    """The section is titled Django Q, as the sites know it."""
    assert apps.get_app_config("qcore_django").verbose_name == "Django Q"


def test_the_label_of_q_cluster_titles_the_section() -> None:
    """A site's own label wins."""
    installed = apps.get_app_config("qcore_django")

    with override_settings(Q_CLUSTER={"label": "Background"}):
        made = QcoreDjangoConfig("qcore_django", installed.module)

    assert made.verbose_name == "Background"


def test_a_changed_setting_takes_effect() -> None:
    """The configuration is read when it is used, and again after override_settings."""
    with override_settings(Q_CLUSTER={"name": "first", "workers": 3}):
        assert (app.config.name, app.config.workers) == ("first", 3)
    with override_settings(Q_CLUSTER={"name": "second"}):
        assert app.config.name == "second"


def test_a_site_without_q_cluster_has_its_defaults() -> None:
    """Name, label, zone and key are those of the site."""
    found = config_of(Q_CLUSTER=None)

    assert (found.name, found.label, found.time_zone) == ("default", "Django Q", "Europe/Berlin")
    assert found.secret_key == ("the-key-of-the-site-under-test-0123456789-0123456789",)
    assert found.key_text == "secret_key from SECRET_KEY of the Django settings"


@pytest.mark.parametrize("use_tz", [True, False])
def test_the_zone_is_that_of_the_site(use_tz: bool) -> None:
    """Naive times of a site without USE_TZ are in that zone too; Q_CLUSTER may name another."""
    assert config_of(USE_TZ=use_tz, TIME_ZONE="Asia/Tokyo").time_zone == "Asia/Tokyo"
    assert config_of(USE_TZ=use_tz, Q_CLUSTER={"time_zone": "UTC"}).time_zone == "UTC"


def test_old_keys_verify() -> None:
    """A rotated SECRET_KEY leaves what is queued readable."""
    new, old = "n" * 50 + "123", "o" * 50 + "456"

    found = config_of(SECRET_KEY=new, SECRET_KEY_FALLBACKS=[old])

    assert found.keys() == (new, old)


@pytest.mark.parametrize("key", ["short", b"bytes", "file:of-no-key-at-all-and-no-path"])
def test_a_key_that_django_takes_signs(key: str | bytes) -> None:
    """A test site's short key works, and two of them differ."""
    found, other = config_of(SECRET_KEY=key), config_of(SECRET_KEY="another")

    assert len(found.secret_key[0]) == 64
    assert found.secret_key != other.secret_key


def test_the_clusters_of_a_site_have_queues_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Q_CLUSTER_NAME selects what ALT_CLUSTERS says; a name that is not in it is a queue all the same."""
    table = {
        "name": "shop",
        "workers": 4,
        "timeout": 60,
        "ALT_CLUSTERS": {"long": {"timeout": 3000, "name": "ignored", "cluster_name": "ignored"}},
    }
    found = []
    for name in ("", "shop", "long", "other"):
        monkeypatch.setenv("Q_CLUSTER_NAME", name)
        config = config_of(Q_CLUSTER=table)
        found.append((config.name, config.workers, config.timeout))

    assert found == [("shop", 4, 60), ("shop", 4, 60), ("long", 4, 3000), ("other", 4, 60)]


@pytest.mark.parametrize("given", ["site", "main", "My Main-no", ""])
def test_the_name_of_the_site_means_its_main_cluster(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    """Whatever it is called: as in Django-Q, its queue is that of `cluster_name`."""
    monkeypatch.setenv("Q_CLUSTER_NAME", given)

    found = config_of(Q_CLUSTER={"name": "site", "cluster_name": "main", "ALT_CLUSTERS": {"long": {}}})

    assert found.name == ("main" if given != "My Main-no" else queue_name(given))


def test_a_cluster_is_selected_by_the_name_of_its_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is what logs and commands show."""
    monkeypatch.setenv("Q_CLUSTER_NAME", queue_name("Q reports"))

    found = config_of(Q_CLUSTER={"name": "My Site", "ALT_CLUSTERS": {"Q reports": {"timeout": 3000}}})

    assert (found.name, found.timeout) == (queue_name("Q reports"), 3000)


def test_a_name_that_is_no_cluster_of_the_site_is_warned_of(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A producer with that variable enqueues where no cluster may work."""
    monkeypatch.setenv("Q_CLUSTER_NAME", "report")
    with caplog.at_level(logging.WARNING, "qcore.config"):
        config_of(Q_CLUSTER={"name": "shop", "ALT_CLUSTERS": {"reports": {}}})
        config_of(Q_CLUSTER={"name": "shop"})

    (said,) = [record.getMessage() for record in caplog.records]
    assert said == (
        "Q_CLUSTER_NAME is 'report', which is not in ALT_CLUSTERS: what this process enqueues goes to the"
        " queue 'report'; did you mean 'reports'?"
    )


def test_the_pages_of_a_process_of_another_cluster_show_the_main_queue_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The variable may have been set in the shell that has started the server."""
    monkeypatch.setenv("Q_CLUSTER_NAME", "reports")
    with override_settings(Q_CLUSTER={"name": "My Site", "ALT_CLUSTERS": {"reports": {}, "more": {}}}):
        assert places.queues() == ["reports", queue_name("My Site"), "more"]


@pytest.mark.parametrize("name", ["name", "cluster_name"])
def test_a_name_that_is_not_a_text_is_one_error(name: str) -> None:
    """Also one that cannot be hashed."""
    with pytest.raises(ConfigError, match="name: got a list; must be"):
        config_of(Q_CLUSTER={name: ["shop"], "ALT_CLUSTERS": {"long": {}}})


def test_any_text_names_a_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has a queue of its own whose name brokers can use, the same in each process and version."""
    table = {"name": "My Site", "ALT_CLUSTERS": {"Q reports": {"timeout": 3000}}}

    found = config_of(Q_CLUSTER=table)
    monkeypatch.setenv("Q_CLUSTER_NAME", "Q reports")
    other = config_of(Q_CLUSTER=table)

    assert (found.name, found.timeout) == ("My-Site-6aef5c43318577a3", None)
    assert (other.name, other.timeout) == (queue_name("Q reports"), 3000)


@pytest.mark.parametrize(
    "names",
    [
        ("My Site", "My-Site", "My  Site", "My_Site"),
        ("\u00e9", "\u00e8", "\n", "\ud800"),
        ("x" * 80, "x" * 81, "x" * 82),
    ],
)
def test_different_names_have_different_queues(names: tuple[str, ...]) -> None:
    """A name that a queue can have stays."""
    found = [queue_name(one) for one in names]

    assert len(set(found)) == len(names)
    for one, queue in zip(names, found, strict=True):
        assert re.fullmatch(r"[A-Za-z0-9_.:-]{1,80}", queue)
        assert queue_name(queue) == queue
        assert one == queue or queue.rpartition("-")[2] == queue[-16:]


def test_a_cluster_of_any_name_is_sent_tasks(tmp_path: Path) -> None:
    """By the option of Django-Q, and by the App of its queue; results say the name that the site has."""
    with override_settings(Q_CLUSTER={"name": "My Site", "memory": {}}):
        async_task("math.floor", 1.5, cluster="My Reports")
        async_task("math.floor", 1.5, cluster="My Site")
        schedule("math.floor", 1.5, cluster="My Reports", name="x")

        assert (app.queue.size().ready, app.for_cluster("My Reports").queue.size().ready) == (1, 1)
        assert app.for_cluster("My Site") is app
        assert app.schedules.get("x").cluster == queue_name("My Reports")
        assert fetch(async_task("math.floor", 1.5, sync=True)).cluster == "My Site"


def test_cluster_name_is_the_queue() -> None:
    """As later versions of Django-Q have it."""
    assert config_of(Q_CLUSTER={"name": "shop", "cluster_name": "shop-fast"}).name == "shop-fast"


def test_a_site_without_alternatives_may_name_a_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    """Django-Q raised KeyError at the import."""
    monkeypatch.setenv("Q_CLUSTER_NAME", "other")

    assert config_of(Q_CLUSTER={"name": "shop"}).name == "other"


def test_an_unknown_key_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    """It has no effect, as before, and is named with what was meant."""
    with caplog.at_level(logging.WARNING, "qcore.config"):
        found = config_of(Q_CLUSTER={"worker": 3, "name": "shop", "has_replica": True})

    assert found.name == "shop"
    assert [record.getMessage() for record in caplog.records] == [
        "Q_CLUSTER['worker'] is not a setting, and has no effect; did you mean 'workers'?"
    ]


def test_a_key_of_django_q_that_decides_nothing_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    """With what decides it; `has_replica` asks for what is so anyway."""
    with caplog.at_level(logging.WARNING, "qcore.config"):
        config_of(Q_CLUSTER={"testing": True, "has_replica": True})

    assert [record.getMessage() for record in caplog.records] == [
        "Q_CLUSTER['testing'] has no effect: tests of a site use `qcore_django.testing`",
    ]


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ([], "Q_CLUSTER: got an object of type list; it must be a dict"),
        ({"ALT_CLUSTERS": ["long"]}, "ALT_CLUSTERS: got an object of type list; it must be a dict"),
        ({"workers": "many"}, "workers: got 'many'"),
        ({"preload": 5}, "preload: got 5"),
        ({"redis": {}, "sqlite": {}}, "redis: there are 2 brokers"),
        ({"django_redis": "absent"}, "django_redis: got 'absent'; there is no cache of this name"),
        ({"cache": "absent"}, "cache: got 'absent'; there is no cache of this name; CACHES has default"),
        ({"cache": 5}, "cache: got 5; there is no cache of this name"),
        ({"django_redis": "default"}, "the LOCATION of this cache is not a URL of a Redis"),
    ],
)
def test_what_is_wrong_is_said(table: Any, problem: str) -> None:
    """The error names the setting."""
    caches = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}

    with pytest.raises(ConfigError) as caught:
        config_of(Q_CLUSTER=table, CACHES=caches)

    assert problem in str(caught.value)


def test_workers_import_the_set_up_first() -> None:
    """A module to preload may import models."""
    first = "qcore_django.worker_setup"

    assert config_of(Q_CLUSTER={}).preload == (first,)
    assert config_of(Q_CLUSTER={"preload": ["shop.tasks"]}).preload == (first, "shop.tasks")
    assert config_of(Q_CLUSTER={"preload": "shop.tasks"}).preload == (first, "shop.tasks")


def test_a_path_of_the_site_survives_the_way_to_the_workers(tmp_path: Any) -> None:
    """BASE_DIR is a Path, and a worker gets the settings as plain values."""
    found = config_of(Q_CLUSTER={"sqlite": {"path": tmp_path / "queue.sqlite3"}})

    packed = found.packed()

    assert type(found).unpacked(packed).queue_file("default") == tmp_path / "queue.sqlite3"


@pytest.mark.parametrize(
    ("cache", "expected"),
    [
        ({"LOCATION": "redis://db.internal:6380/2"}, {"url": "redis://db.internal:6380/2"}),
        (
            {"LOCATION": ["redis://first:6379", "redis://replica:6379"], "OPTIONS": {"db": 3}},
            {"url": "redis://first:6379", "db": 3},
        ),
        (
            {"LOCATION": "redis://first:6379,redis://replica:6379", "OPTIONS": {"PASSWORD": "secret"}},
            {"url": "redis://first:6379", "password": "secret"},
        ),
        (
            {"LOCATION": "redis://:in-url@first:6379/1", "OPTIONS": {"PASSWORD": "other", "DB": 7}},
            {"url": "redis://:in-url@first:6379/1"},
        ),
        (
            {
                "LOCATION": "rediss://db:6379/0",
                "OPTIONS": {
                    "CLIENT_CLASS": "django_redis.client.DefaultClient",
                    "SOCKET_TIMEOUT": 5,
                    "CONNECTION_POOL_KWARGS": {"ssl_cert_reqs": None, "ssl_ca_certs": "/ca.pem"},
                },
            },
            {
                "url": "rediss://db:6379/0",
                "socket_timeout": 5,
                "ssl_cert_reqs": "none",
                "ssl_ca_certs": "/ca.pem",
            },
        ),
        (
            {"LOCATION": "rediss://db:6379/0", "OPTIONS": {"ssl_cert_reqs": ssl.CERT_REQUIRED}},
            {"url": "rediss://db:6379/0", "ssl_cert_reqs": "required"},
        ),
        (
            {
                "LOCATION": "redis://user:p%40ss@mymaster/4",
                "OPTIONS": {"SENTINELS": [("one", 26379), ("two", 26380)]},
            },
            {"url": "redis+sentinel://user:p%40ss@one:26379,two:26380/mymaster/4"},
        ),
        ({"LOCATION": "unix:///run/redis.sock?db=1"}, {"url": "unix:///run/redis.sock?db=1"}),
    ],
)
def test_a_cache_leads_to_its_redis(cache: dict[str, Any], expected: dict[str, Any]) -> None:
    """Address, database, password, time limits and TLS are those of the cache."""
    from qcore_django.caches import redis_of

    with override_settings(CACHES={"queue": {"BACKEND": "django_redis.cache.RedisCache", **cache}}):
        assert redis_of("queue") == expected


def test_the_level_of_the_site_counts() -> None:
    """LOGGING may name qcore."""
    logging_table = {"version": 1, "loggers": {"qcore": {"level": "ERROR"}}}

    assert config_of(LOGGING=logging_table).log_level == "ERROR"
    assert config_of(LOGGING=logging_table, Q_CLUSTER={"log_level": "DEBUG"}).log_level == "DEBUG"


def test_a_cache_names_the_broker() -> None:
    """The site has the cache's server as its broker, and what Q_CLUSTER says of Redis itself wins."""
    caches = {"queue": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": "redis://db:6380/2"}}

    found = config_of(CACHES=caches, Q_CLUSTER={"django_redis": "queue"})
    said = config_of(CACHES=caches, Q_CLUSTER={"django_redis": "queue", "redis": {"host": "other"}})

    assert (found.broker, found.raw["redis"]) == ("redis", {"url": "redis://db:6380/2"})
    assert said.raw["redis"] == {"host": "other"}


def test_another_secret_key_is_told(tmp_path: Path) -> None:
    """What the old key has signed is not taken for missing; the message says which setting it is about."""
    table = {"name": "keys", "sqlite": {"path": tmp_path / "queue.db"}}
    with override_settings(Q_CLUSTER=table):
        made = async_task("math.floor", 1.5, sync=True)

        with (
            override_settings(SECRET_KEY="n" * 30 + "another-0123456789"),
            pytest.raises(UnknownKey) as caught,
        ):
            fetch(made)

        found = fetch(made)
        app.close()

    assert f"result {made} was signed with a key that is not in secret_key" in str(caught.value)
    assert "SECRET_KEY of the Django settings" in str(caught.value)
    assert found is not None


def test_messages_say_what_is_typed_on_a_site() -> None:
    """The commands of qcore know nothing of a site unless they are typed behind manage.py."""
    with override_settings(Q_CLUSTER={"memory": {}}), pytest.raises(ScheduleError) as caught:
        app.schedules.get("absent")

    assert str(caught.value) == "no schedule 'absent'; manage.py qcore schedule list shows those there are"


def test_a_run_that_ends_with_the_queue_waits_for_nothing_that_is_paused() -> None:
    """`qcluster --run-once` counts neither paused queues nor those that its clusters do not run."""
    settings = {"name": "once", "memory": {}, "queues": ["mail", "default"]}
    with override_settings(Q_CLUSTER=settings):
        send = app.task(pow)
        assert waiting() == 0
        app.enqueue_many([send.using(queue=queue).bind(2, 3) for queue in ("mail", "other", "default")])
        assert waiting() == 2
        app.queue.pause("mail")
        assert waiting() == 1
        app.queue.pause()
        assert waiting() == 0
