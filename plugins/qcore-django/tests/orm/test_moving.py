"""What a real django-q2 has in its database is moved as it is."""

from __future__ import annotations

import datetime as dt
import io
import json
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import beside
import pytest
from django.core.management import CommandError, call_command
from django.db import connections
from django.test import override_settings
from django.utils import timezone
from once import made_once

from qcore.messages.head import read_head
from qcore.messages.workflow import read_workflow
from qcore_django import app
from qcore_django.moving import pickled, results, tables
from qcore_django.queue_names import queue_name
from qcore_django.tasks import fetch, result_group
from qcore_schedules import messages

from .conftest import added, create_tables
from .old_site import FIRST

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Return a database that django-q2 has filled, and what it says of it."""
    beside.need()
    folder = made_once(tmp_path_factory, "django-q-data", fill)
    return folder / "old.db", json.loads((folder / "said.json").read_text())


def fill(folder: Path) -> None:
    """Have django-q2 fill a database."""
    path = folder / "old.db"
    printed = beside.said("orm/old_site.py", path, PYTHONPATH=str(HERE.parent))
    (folder / "said.json").write_text(json.dumps(printed))
    entry = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(path)}
    with added(entry) as alias:
        create_tables(alias)


@attrs.frozen
class Old:
    """A database of Django-Q in the site of these tests."""

    alias: str
    said: dict[str, Any]

    def move(self, *arguments: str, code: int = 0) -> list[str]:
        """Run the command and return the lines that it printed."""
        out, ended = io.StringIO(), 0
        try:
            call_command("qmigrate_from_django_q", "--database", self.alias, *arguments, stdout=out)
        except SystemExit as exc:
            ended = int(str(exc.code))
        assert ended == code, out.getvalue()
        return out.getvalue().splitlines()

    def look(self, text: str, *values: str) -> list[Any]:
        """Execute SQL."""
        with connections[self.alias].cursor() as cursor:
            cursor.execute(text, values or None)
            return list(cursor.fetchall()) if cursor.description else []


@contextmanager
def site_of(path: Path, said: dict[str, Any]) -> Iterator[Old]:
    """Have a site use a database."""
    with (
        added({"ENGINE": "django.db.backends.sqlite3", "NAME": str(path)}) as alias,
        override_settings(Q_CLUSTER={"name": "My Site", "orm": alias, "max_attempts": 3}),
    ):
        yield Old(alias, said)


@pytest.fixture
def old(filled: tuple[Path, dict[str, Any]], tmp_path: Path) -> Iterator[Old]:
    """Return a copy of the database."""
    path = Path(shutil.copy(filled[0], tmp_path / "old.db"))
    with site_of(path, filled[1]) as made:
        yield made


def test_each_type_of_schedule_is_moved(old: Old) -> None:
    """Rule, next run and arguments are those of Django-Q."""
    first = FIRST.timestamp()

    old.move(code=1)

    found = {one.name: one for one in app.schedules.list()}
    rules = {name: one.rule for name, one in found.items() if name.startswith("by ")}
    assert rules == {
        "by Once": "once",
        "by Minutes": "every 900",
        "by Hourly": "hourly",
        "by Daily": "daily",
        "by Weekly": "weekly",
        "by Biweekly": "biweekly",
        "by Monthly": "monthly",
        "by Bimonthly": "bimonthly",
        "by Quarterly": "quarterly",
        "by Yearly": "yearly",
        "by Cron": "*/5 4 * * 1-5",
    }
    assert {one.next_run for one in found.values()} == {first}
    assert found["by Daily"].time_zone == "Europe/Berlin"
    assert called(found["by Daily"]) == ("site_tasks.add", ((1, 2), {}), "by Daily")
    assert [one.isoformat() for one in app.schedules.preview("by Cron", 2)] == [
        "2040-01-31T05:30:00+01:00",
        "2040-02-01T04:00:00+01:00",
    ]


def called(schedule: Any) -> tuple[str, Any, str | None]:
    """Return function, arguments and result group of a schedule's tasks."""
    body = messages.read_body(schedule)
    head = read_head(body.head)
    args, kwargs = messages.read_arguments(body, app.runtime.serializer)
    return head.name, (tuple(args), dict(kwargs)), head.group


def test_options_of_a_schedule_are_moved(old: Old) -> None:
    """They are in columns and in `q_options`."""
    old.move(code=1)

    one = app.schedules.get("options")
    assert called(one) == ("site_tasks.add", ((), {"a": 1, "b": 2}), "sums")
    body = messages.read_body(one)
    head = read_head(body.head)
    assert (head.timeout, head.save, head.hook) == (9, True, "qcore_django.hooks.called.site_tasks.note")
    assert (one.cluster, one.repeats, body.date_kwarg) == (queue_name("My Reports"), 3, "day")
    assert called(app.schedules.get("one value")) == ("math.sqrt", ((4.0,), {}), "one value")
    assert app.schedules.get("paused").repeats == 0
    assert app.schedules.get("seconds").rule == "30 */5 4 * * 1-5"


def test_schedules_without_a_name_of_their_own_are_told_apart(old: Old) -> None:
    """Each has a name that says which row it was; its results are in the group that they were in."""
    old.move(code=1)

    found = {one.name: called(one) for one in app.schedules.list() if "(django-q " in one.name}
    (nameless,) = [value for name, value in found.items() if name.startswith("site_tasks.add (")]
    (second,) = [value for name, value in found.items() if name.startswith("twice (")]
    assert nameless[1] == (("no name", 1), {})
    assert nameless[2] is not None
    assert nameless[2].isdigit()
    assert second == ("site_tasks.add", ((2, 2), {}), "twice")
    assert called(app.schedules.get("twice"))[1] == ((1, 1), {})


def test_what_cannot_be_moved_is_said(old: Old) -> None:
    """Nothing of a text is executed, and the others are moved."""
    lines = old.move(code=1)

    assert lines[0] == "schedules: 19 moved, 2 cannot be moved"
    assert "its arguments \"open('/etc/passwd'), 1\" are not Python literals" in lines[1]
    assert "'* * * *' is not a rule of a schedule" in lines[2]
    assert any("keyword arguments 'not python' are not Python literals" in line for line in lines)
    assert any("(no run) has no next run" in line for line in lines)
    assert called(app.schedules.get("bad words"))[1] == ((), {})
    assert lines[-1].startswith("queue: 7 messages in django_q_ormq; move with --queue")


def test_a_dry_run_changes_nothing(old: Old) -> None:
    """It says the same."""
    before = old.look("SELECT * FROM django_q_schedule"), old.look("SELECT * FROM django_q_ormq")

    lines = old.move("--dry-run", "--results", "--queue", code=1)

    assert lines[0] == "schedules: 19 to move, 2 cannot be moved"
    assert "results: 4 to move" in lines
    assert "queue: 3 to move, 4 cannot be moved" in lines
    assert (old.look("SELECT * FROM django_q_schedule"), old.look("SELECT * FROM django_q_ormq")) == before
    assert app.schedules.list() == []
    assert app.queue.size().ready == 0
    assert fetch(old.said["results"]["sum"]) is None


def test_a_second_run_moves_nothing_again(old: Old) -> None:
    """Also not what has run or was deleted meanwhile, nor what a killed run has moved without a mark."""
    old.move("--queue", code=1)
    app.schedules.delete("by Once")
    app.schedules.update("by Daily", args=[5, 5])
    old.look("UPDATE django_q_schedule SET task = NULL WHERE name = 'by Daily'")
    before = len(app.schedules.list())

    lines = old.move("--queue", code=1)

    assert lines[0] == "schedules: 0 moved, 19 there already, 2 cannot be moved"
    assert "queue: 0 moved, 4 cannot be moved" in lines
    assert len(app.schedules.list()) == before
    assert called(app.schedules.get("by Daily"))[1] == ((5, 5), {})


def test_results_are_found_by_their_old_ids(old: Old) -> None:
    """Values, errors and arguments are there; what the serializer refuses becomes a text."""
    ids = old.said["results"]

    lines = old.move("--results", code=1)

    one = fetch(ids["sum"])
    assert one is not None
    assert (one.success, one.result, one.name, one.group, one.func) == (
        True,
        3,
        "a sum",
        "sums",
        "site_tasks.add",
    )
    assert (one.args, one.kwargs, one.attempt_count) == ((1,), {"b": 2}, 1)
    assert one.started <= one.stopped
    bad = fetch(ids["failure"])
    assert bad is not None
    assert (bad.success, bad.attempt_count, bad.args) == (False, 4, ("no luck",))
    assert bad.native.error == "no luck"
    assert bad.result == "no luck : Traceback (most recent call last):\n  File 'x'\nValueError: no luck\n"
    assert result_group("sums") == [3]
    assert "results: 4 moved" in lines
    text = fetch(ids["fraction"])
    assert text is not None
    assert text.result == "Fraction(1, 3)"
    assert any("the result of task" in line and "becomes a text" in line for line in lines)


def test_results_of_several_pages_are_moved_into_the_file_that_they_are_read_of(
    old: Old, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No query is left open while results are written; rows that ended at one time are each moved once."""
    monkeypatch.setattr(tables, "_PAGE", 1)
    monkeypatch.setattr(results, "_BATCH", 1)
    old.look("UPDATE django_q_task SET stopped = (SELECT max(stopped) FROM django_q_task)")

    assert "results: 4 moved" in old.move("--results", code=1)
    assert all(fetch(one) is not None for one in old.said["results"].values())


def test_only_as_many_successes_are_moved_as_are_kept(old: Old) -> None:
    """The newest ones."""
    limits = {"name": "My Site", "orm": old.alias, "save_limit": 1, "max_attempts": 3}
    with override_settings(Q_CLUSTER=limits):
        lines = old.move("--results", code=1)

        assert "results: 2 moved" in lines
        assert fetch(old.said["results"]["model"]) is not None
        assert fetch(old.said["results"]["sum"]) is None


def test_what_waits_is_moved(old: Old) -> None:
    """Each task is on the queue of its cluster, with its options; the old message is gone."""
    lines = old.move("--queue", code=1)

    assert "queue: 3 moved, 4 cannot be moved" in lines
    assert app.queue.size().ready == 2
    assert app.for_cluster("My Reports").queue.size().ready == 1
    assert len(old.look("SELECT id FROM django_q_ormq")) == 4
    with app.runtime.brokers.connection() as broker:
        plain, chained = (app.runtime.envelope.open(one.body) for one in broker.lease(5, 0.0))
    head = read_head(plain.head)
    assert (head.name, head.label, head.group, head.timeout) == ("site_tasks.add", "waits", "sums", 9)
    assert head.hook == "qcore_django.hooks.called.site_tasks.note"
    assert app.runtime.serializer.loads(plain.arguments) == [[1], {"b": 2}]
    links = read_workflow(chained.tail).links
    assert [read_head(one.head).name for one in links] == ["site_tasks.echo"]
    assert read_head(links[0].head).group == "chained"
    assert sum("is a part of an async_iter" in line for line in lines) == 2
    assert sum("a cluster of Django-Q has it until" in line for line in lines) == 1
    assert sum("no key of this site signed it for the name 'My Site'" in line for line in lines) == 1


def test_what_a_cluster_of_the_original_has_leased_is_left(old: Old) -> None:
    """Django-Q before its successor writes when a message was leased, not until when; both go by `retry`."""
    old.look("ALTER TABLE django_q_task DROP COLUMN cluster")
    waits, leased = (
        f"{timezone.now() - dt.timedelta(minutes=minutes):%Y-%m-%d %H:%M:%S}" for minutes in (120, 30)
    )
    old.look("UPDATE django_q_ormq SET lock = %s", waits)
    last = "SELECT max(id) - 1 FROM django_q_ormq"
    old.look(f"UPDATE django_q_ormq SET lock = %s WHERE id = ({last})", leased)  # noqa: S608 - both are texts of ours

    with override_settings(Q_CLUSTER={"name": "My Site", "orm": old.alias, "timeout": 60, "retry": 3600}):
        lines = old.move("--queue", code=1)

    assert "queue: 3 moved, 4 cannot be moved" in lines
    assert sum("a cluster of Django-Q has it until" in line for line in lines) == 1


@pytest.mark.parametrize("broker", ["orm", "sqlite"])
def test_what_a_cluster_leases_meanwhile_is_left(
    old: Old, monkeypatch: pytest.MonkeyPatch, broker: str
) -> None:
    """It is not enqueued, in whichever database the new queue is."""
    read = pickled.message

    def leased_meanwhile(payload: str, *args: Any) -> dict[str, Any]:
        with connections[old.alias].cursor() as cursor:
            cursor.execute("UPDATE django_q_ormq SET lock = '2040-01-01' WHERE payload = %s", [payload])
        return read(payload, *args)

    monkeypatch.setattr(pickled, "message", leased_meanwhile)
    with override_settings(Q_CLUSTER={"name": "My Site", **({"orm": old.alias} if broker == "orm" else {})}):
        lines = old.move("--queue", code=1)

        assert "queue: 0 moved, 7 cannot be moved" in lines
        assert sum("a cluster of Django-Q has taken it meanwhile" in line for line in lines) == 3
        assert len(old.look("SELECT id FROM django_q_ormq")) == 7
        assert app.queue.size().ready == 0


def test_a_variable_of_the_shell_does_not_say_where_to(old: Old, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is moved goes to the queues of the site, whichever cluster `Q_CLUSTER_NAME` has selected."""
    monkeypatch.setenv("Q_CLUSTER_NAME", "My Reports")
    old.move("--queue", code=1)

    assert app.config.name == queue_name("My Reports")
    monkeypatch.delenv("Q_CLUSTER_NAME")
    app.reread()
    assert app.queue.size().ready == 2
    assert app.schedules.get("by Daily").cluster == ""


def test_a_key_that_was_rotated_still_reads_the_queue(old: Old) -> None:
    """So does the old name of a cluster that has another by now."""
    keys = {"SECRET_KEY": "another-key-0123456789-0123456789", "SECRET_KEY_FALLBACKS": [
        "the-key-of-the-site-under-test-0123456789-0123456789"
    ]}  # fmt: skip
    with override_settings(Q_CLUSTER={"name": "new", "orm": old.alias}, **keys):
        assert "queue: 0 moved, 7 cannot be moved" in old.move("--queue", code=1)
        assert "queue: 3 moved, 4 cannot be moved" in old.move("--queue", "--name", "My Site", code=1)
        assert app.queue.size().ready == 2


def test_a_queue_that_nobody_has_used_yet_is_moved_to(old: Old) -> None:
    """It is made by the first schedule; a dry run makes none."""
    with override_settings(Q_CLUSTER={"name": "My Site"}):
        assert old.move("--dry-run", code=1)[0] == "schedules: 19 to move, 2 cannot be moved"
        assert old.move(code=1)[0] == "schedules: 19 moved, 2 cannot be moved"


def test_without_tables_of_django_q_there_is_nothing_to_move(tmp_path: Path) -> None:
    """Neither before the migration of this site is there a place to move to."""
    with site_of(tmp_path / "new.db", {}) as made:
        with pytest.raises(CommandError, match="has no tables of qcore; run python manage"):
            made.move()
        create_tables(made.alias)

        assert made.move("--results", "--queue") == [
            "schedules: 0 moved",
            "results: 0 moved",
            "queue: 0 moved",
        ]
