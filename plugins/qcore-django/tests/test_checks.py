"""What `manage.py check` says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.core.checks import run_checks
from django.test import override_settings

from qcore_django import app
from qcore_django.checks import TAG

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Site

KEY = "a-long-key-of-a-site-in-production-0123456789"


def found(*, deploy: bool = False, **settings: Any) -> list[tuple[str, str]]:
    """Return the ids and texts of a site with these settings."""
    with override_settings(**{"SECRET_KEY": KEY, **settings}):
        messages = run_checks(tags=[TAG], include_deployment_checks=deploy)
        app.close()
    return [(one.id.removeprefix("qcore_django."), one.msg) for one in messages]


def test_a_site_in_order_is_left_alone(tmp_path: Path) -> None:
    """A check makes no queue either."""
    table = {"sqlite": {"path": tmp_path / "queue.db"}}

    assert found(deploy=True, Q_CLUSTER=table) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("table", "number", "text"),
    [
        (
            {"worker": 5},
            "W001",
            "Q_CLUSTER['worker'] is not a setting, and has no effect; did you mean 'workers'?",
        ),
        ({"testing": True}, "W004", "Q_CLUSTER['testing'] has no effect: tests of a site use"),
        ({"workers": "many"}, "E001", "workers: got 'many'"),
        ({"timeout": 90, "retry": 60, "renew_leases": False}, "E001", "timeout: got 90"),
        ({"redis": "redis://one", "sqlite": {}}, "E001", "redis: there are 2 brokers"),
        ({"orm": "absent"}, "E001", "orm: got 'absent'; there is no database of this name; DATABASES has "),
        ({"error_reporter": {"absent": {}}}, "E001", "error_reporter.absent: "),
        ([], "E001", "Q_CLUSTER: got an object of type list; it must be a dict"),
    ],
)
def test_a_wrong_setting_is_found(
    caplog: pytest.LogCaptureFixture, table: Any, number: str, text: str
) -> None:
    """Without asking a server."""
    with caplog.at_level("WARNING", "qcore.config"):
        ((id_, message),) = found(Q_CLUSTER=table)

    assert id_ == number
    # the check says it, and no log line says it again
    assert not caplog.records
    assert message.startswith(text)
    assert [one[0] for one in found(deploy=True, Q_CLUSTER=table) if one[0] == number] == [number]


def test_a_cache_of_each_process_is_warned_of(tmp_path: Path) -> None:
    """Where the settings have results go there."""
    files = {"BACKEND": "django.core.cache.backends.filebased.FileBasedCache", "LOCATION": str(tmp_path)}
    for table in ({"cache": "default"}, {"cached": 60}):
        ((id_, message),) = found(Q_CLUSTER=table)

        assert id_ == "W005"
        assert message.startswith(
            "the cache 'default' is one that each process has for itself (django.core.cache."
        )
        assert found(Q_CLUSTER=table, CACHES={"default": files}) == []
    ((id_, message),) = found(Q_CLUSTER={"cache": "absent"})
    assert (id_, message) == (
        "E001",
        "cache: got 'absent'; there is no cache of this name; CACHES has default",
    )


def test_a_broker_that_does_not_answer_is_an_error_in_production() -> None:
    """It is asked with --deploy only."""
    # nothing listens on this port
    table = {"redis": "redis://127.0.0.1:1/0"}

    assert found(Q_CLUSTER=table) == []
    ((id_, message),) = found(deploy=True, Q_CLUSTER=table)
    assert id_ == "E002"
    assert message.startswith("the broker 'redis' ")
    assert "127.0.0.1:1" in message


def test_a_queue_in_a_file_that_nobody_named_is_warned_of() -> None:
    """A web server of another user would have another queue."""
    assert found(Q_CLUSTER={}) == []
    ((id_, message),) = found(deploy=True, Q_CLUSTER={})

    assert (id_, message[:26]) == ("W002", "Q_CLUSTER names no broker,")


@pytest.mark.parametrize("key", ["short", "change-me-please"])
def test_a_weak_key_is_warned_of(key: str, tmp_path: Path) -> None:
    """It signs what workers run; a key of the queue's own is another matter."""
    table = {"sqlite": {"path": tmp_path / "queue.db"}}
    weak = found(deploy=True, Q_CLUSTER=table, SECRET_KEY=key, SECRET_KEY_FALLBACKS=[KEY, key])

    assert [id_ for id_, _ in weak] == ["W003", "W003"]
    assert weak[0][1].startswith("SECRET_KEY signs what workers run, and it ")
    assert weak[1][1].startswith("SECRET_KEY_FALLBACKS[1] signs")
    assert key not in weak[0][1]
    assert found(deploy=True, Q_CLUSTER={**table, "secret_key": KEY}, SECRET_KEY=key) == []


def test_a_missing_migration_is_an_error_in_production(site: Site) -> None:
    """As the whole command says it."""
    with (site.folder / "mysite" / "settings.py").open("a") as file:
        file.write("Q_CLUSTER['orm'] = 'default'\n")

    check = "check --deploy --tag qcore"
    (failed, said), (migrated, _), (passed, again) = site.manage_each(
        check, "migrate qcore_django -v 0", check
    )

    assert (failed, migrated, passed) == (1, 0, 0)
    assert "qcore_django.E002" in said
    assert "migrate" in said
    assert "no issues" in again.replace("0 silenced", "")
