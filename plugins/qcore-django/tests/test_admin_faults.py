"""Pages of the admin with stale, large and unusual values."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from django.db import connection, connections
from django.db.transaction import atomic
from django.db.utils import OperationalError
from django.test import override_settings

from qcore_django import app
from qcore_django.admin import OrmQAdmin
from qcore_django.models import OrmQ, Schedule
from qcore_schedules.sealed import SealedSchedules, stored_schedules

from .test_admin import CLUSTER, FORM, client, dead, enqueue, errors_of, site, tables, text_of, url

if TYPE_CHECKING:
    from pathlib import Path

    from django.test import Client

__all__ = ["client", "site", "tables"]


class Fields(HTMLParser):
    """The values of the fields of a form, as a browser would send them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.values: dict[str, str] = {}
        self._inside = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the value of an input, or which field a text or a choice is of."""
        given = dict(attrs)
        name = given.get("name") or ""
        if tag == "input" and name:
            self.values[name] = given.get("value") or ""
        elif tag in {"textarea", "select"}:
            self._inside = name
            self.values[name] = ""
        elif tag == "option" and "selected" in given:
            self.values[self._inside] = given.get("value") or ""

    def handle_endtag(self, tag: str) -> None:
        """Note the end of a text or a choice."""
        if tag in {"textarea", "select"}:
            self._inside = ""

    def handle_data(self, data: str) -> None:
        """Note the text."""
        if self._inside and self.lasttag == "textarea":
            self.values[self._inside] += data.removeprefix("\n")


def form_of(client: Client, name: str) -> dict[str, str]:
    """Return what a browser would send of the form of a schedule."""
    values = Fields(text_of(client.get(url("schedule", f"{name}/change/")))).values
    return {key: value for key, value in values.items() if not key.startswith("_")}


@pytest.mark.parametrize("use_tz", [True, False])
def test_each_page_is_shown_whatever_use_tz_says(client: Client, *, use_tz: bool) -> None:
    """Times of a site without zones are naive."""
    with override_settings(USE_TZ=use_tz):
        Schedule.objects.create(name="x", func="site_tasks.add", args="1, 2", schedule_type="H")
        letter = dead()
        keys = {"schedule": "x", "deadletter": letter}
        enqueue()
        enqueue(delay=3000.0)
        for model in ("success", "failure", "schedule", "ormq", "deadletter"):
            assert client.get(url(model)).status_code == 200, model
        keys["ormq"] = str(OrmQ.objects.order_by("-id")[0].pk)
        for model, key in keys.items():
            assert client.get(url(model, f"{key}/change/")).status_code == 200, model
        page = text_of(client.get(url("ormq")))
        assert (page.count("ready"), page.count("delayed,")) >= (1, 1)
        client.post(url("ormq"), {"action": "run_now", "_selected_action": [keys["ormq"]], "index": "0"})
        assert app.queue.size().ready == 2


def test_a_form_that_has_become_old_takes_back_nothing(client: Client) -> None:
    """What fired or was changed while it was open stays; what was edited in it is written."""
    client.post(url("schedule", "add/"), {**FORM, "schedule_type": "D", "cron": "", "repeats": "5"})
    form = form_of(client, "nightly")
    later = app.schedules.update("nightly", next_run=3_500_000_000, repeats=4, args=[3, 4])

    page = client.post(url("schedule", "nightly/change/"), {**form, "hook": "site_tasks.note"})

    assert page.status_code == 302, errors_of(page)
    found = Schedule.objects.get(name="nightly")
    assert (found.native.next_run, found.repeats, found.args) == (later.next_run, 4, "(3, 4)")
    assert found.hook == "site_tasks.note"
    cleared = {**form_of(client, "nightly"), "hook": "", "repeats": "9"}
    assert client.post(url("schedule", "nightly/change/"), cleared).status_code == 302
    found = Schedule.objects.get(name="nightly")
    assert (found.hook, found.repeats) == (None, 9)


def test_keywords_are_edited_beside_arguments_that_are_no_literals(client: Client) -> None:
    """Those stay as they are."""
    number = 2.0**1000 * 2.0**1000  # written as inf, which is not a literal
    app.schedules.create("site_tasks.echo", number, name="x", every=60)
    form = form_of(client, "x")
    assert form["args"] == "(inf,)"

    page = client.post(url("schedule", "x/change/"), {**form, "kwargs": "key=1"})

    assert page.status_code == 302, errors_of(page)
    found = Schedule.objects.get(name="x")
    assert (found.args, found.kwargs) == ("(inf,)", "{'key': 1}")
    page = client.post(url("schedule", "x/change/"), {**form_of(client, "x"), "args": "(inf, 1)"})
    assert ["is not a list of literals" in one for one in errors_of(page)] == [True]


@pytest.mark.parametrize("letter", ["S", "I"])
@pytest.mark.parametrize("digits", [9, 11, 13, 15, 18, 30])
def test_a_rule_beyond_the_calendar_is_one_error(client: Client, letter: str, digits: int) -> None:
    """In the preview and in the form."""
    field = {"S": "seconds", "I": "minutes"}[letter]
    form = {**FORM, "schedule_type": letter, "cron": "", field: "9" * digits}

    seen = client.get(url("schedule", "preview/"), form)
    page = client.post(url("schedule", "add/"), form)

    assert seen.status_code == 200
    assert page.status_code == (302 if digits == 9 and letter == "S" else 200)
    if page.status_code == 200:
        assert seen.json()["problem"]
        assert len(errors_of(page)) == 1
    else:
        assert client.get(url("schedule", "nightly/change/")).status_code == 200


def test_an_error_takes_back_what_was_written_in_each_database(
    client: Client, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Also in a transaction of the second database, which PostgreSQL would leave broken."""
    other = {**connections.settings["other"], "NAME": str(tmp_path / "other.db")}
    monkeypatch.setitem(connections.settings, "other", other)

    def fail(*_: Any) -> None:
        with connections["other"].cursor() as cursor:
            cursor.execute("INSERT INTO written VALUES (1)")
        msg = "the database has gone"
        raise OperationalError(msg)

    monkeypatch.setattr(OrmQAdmin, "get_queryset", fail)
    try:
        with atomic(using="other"), connections["other"].cursor() as cursor:
            cursor.execute("CREATE TABLE written (number integer)")
            assert connection.in_atomic_block
            assert client.get(url("ormq")).status_code == 503
            cursor.execute("SELECT count(*) FROM written")
            assert cursor.fetchall() == [(0,)]
    finally:
        connections["other"].close()
        del connections["other"]


def test_a_cron_expression_with_seconds_is_that_of_django_q(client: Client) -> None:
    """The seconds are last, in the model and in its form, as in `schedule()`."""
    made = Schedule.objects.create(
        name="x", func="site_tasks.add", schedule_type="C", cron="*/5 4 * * 1-5 30"
    )

    assert app.schedules.get("x").rule == "30 */5 4 * * 1-5"
    assert [made.cron, Schedule.objects.get(name="x").cron] == ["*/5 4 * * 1-5 30"] * 2
    form = form_of(client, "x")
    assert client.post(url("schedule", "x/change/"), {**form, "cron": "*/5 4 * * 1-5 15"}).status_code == 302
    assert app.schedules.get("x").rule == "15 */5 4 * * 1-5"
    seen = client.get(url("schedule", "preview/"), {**FORM, "cron": "0 3 * * * 7"}).json()
    assert seen["slots"][0].endswith("03:00:07 CET")
    made.cron = "*/5 4 * * 1-5 75"
    problems = client.post(url("schedule", "add/"), {**FORM, "cron": made.cron})
    assert ["'75'" in one or "75" in one for one in errors_of(problems)] == [True]


def test_a_new_name_neither_fires_a_slot_twice_nor_takes_one_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slot that fires while the name changes is fired under the old name, and only there."""
    with override_settings(Q_CLUSTER=CLUSTER):
        Schedule.objects.create(name="x", func="site_tasks.add", args="1, 2", schedule_type="D")
        one = Schedule.objects.get(name="x")
        add, due = SealedSchedules.add, []

        def added(self: SealedSchedules, made: Any) -> bool:
            done = add(self, made)
            if not due:
                # a scheduler is as fast as that
                due.extend(self.claim_due(one.native.next_run, 10, 60.0))
                assert self.advance(due[0], fired(due[0]))
            return done

        monkeypatch.setattr(SealedSchedules, "add", added)
        one.name = "y"
        one.save()

        assert [claimed.name for claimed in due] == ["x"]
        (left,) = app.schedules.list()
        assert (left.name, left.repeats, left.next_run) == ("y", -1, due[0].next_run + 86400)
        with stored_schedules(app.runtime) as store:
            assert [found.name for found in store.claim_due(left.next_run, 10, 60.0)] == ["y"]


def fired(one: Any) -> Any:
    """Return a schedule after its slot was fired."""
    return attrs.evolve(one, next_run=one.next_run + 86400)
