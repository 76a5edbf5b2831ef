"""The pages of the admin, asked as a browser asks."""

from __future__ import annotations

import re
from html import unescape
from typing import TYPE_CHECKING, Any

import attrs
import msgspec
import pytest
import site_tasks
from django.contrib.auth.models import Permission, User
from django.core.management import call_command
from django.db import connection, connections, transaction
from django.test import Client, override_settings
from django.test.utils import CaptureQueriesContext

from qcore import testing
from qcore.model import Action, Settlement
from qcore.tasks.call import DEFAULT, with_options
from qcore.tasks.task import bind
from qcore_django import app
from qcore_django.admin import batches, paging
from qcore_django.models import DeadLetter, Failure, OrmQ, Schedule, Success, Task
from qcore_django.tasks import async_task
from qcore_schedules.sealed import stored_schedules

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CLUSTER = {"name": "shop", "orm": "default", "sync": True, "save_limit": 0}
FORM = {
    "name": "nightly", "func": "site_tasks.add", "args": "1, 2", "kwargs": "", "schedule_type": "C",
    "minutes": "", "seconds": "", "cron": "0 3 * * *", "repeats": "-1", "next_run_0": "2077-01-01",
    "next_run_1": "00:00:00", "hook": "", "cluster": "", "intended_date_kwarg": "",
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def tables() -> Iterator[None]:
    """Make the tables of the site in its memory."""
    call_command("migrate", verbosity=0)
    yield
    connection.close()


@pytest.fixture(autouse=True)
def site() -> Iterator[None]:
    """Undo what the test does."""
    with override_settings(Q_CLUSTER=CLUSTER), transaction.atomic():
        yield
        transaction.set_rollback(True)
    app.reread()


@pytest.fixture
def client() -> Client:
    """Return a browser in which an administrator is logged in."""
    made = Client()
    # without a password, of which to make a hash takes half a second
    made.force_login(User.objects.create_superuser("admin"))
    return made


def url(model: str, rest: str = "") -> str:
    """Return the address of a page."""
    return f"/admin/qcore_django/{model}/{rest}"


def text_of(response: Any) -> str:
    """Return a page."""
    return str(response.content.decode())


def said(response: Any) -> list[str]:
    """Return the messages on the page that an action leads to."""
    found = re.search(r'<ul class="messagelist">(.*?)</ul>', text_of(response), re.DOTALL)
    return [] if found is None else [unescape(one) for one in re.findall(r"<li[^>]*>(.*?)</li>", found[1])]


def errors_of(response: Any) -> list[str]:
    """Return what a form says is wrong."""
    lists = re.findall(r'<ul class="errorlist[^>]*>(.*?)</ul>', text_of(response), re.DOTALL)
    return [unescape(one) for some in lists for one in re.findall(r"<li>(.*?)</li>", some)]


def act(client: Client, model: str, action: str, keys: list[Any], **more: Any) -> Any:
    """Do an action with chosen rows, and return the page that follows."""
    data = {"action": action, "_selected_action": keys, "index": "0", **more}
    return client.post(url(model), data, follow=True)


def fail(count: int, **changes: Any) -> list[str]:
    """Have tasks fail; return their ids."""
    for number in range(count):
        with testing.inline(app):
            app.async_task(site_tasks.fail, f"no luck {number}", **changes)
    return [one.id for one in Failure.objects.all()]


def enqueue(**options: Any) -> str:
    """Put a task on the queue; return its id."""
    with override_settings(Q_CLUSTER={**CLUSTER, "sync": False}):
        return app.send([bind(site_tasks.add, (1, 2), {}, with_options(DEFAULT, options))])[0].id


def dead() -> str:
    """Return the id of a dead letter."""
    enqueue()
    with app.runtime.brokers.connection() as broker:
        (leased,) = broker.lease(1, 5.0)
        broker.settle([Settlement(leased.receipt, Action.DEAD_LETTER, reason="it fails", failures=3)])
    return str(DeadLetter.objects.get().pk)


def test_each_page_is_under_the_label_of_the_settings(client: Client) -> None:
    """Lists, single objects and their history."""
    sent = async_task(site_tasks.echo, "<b>bold</b>", key=1, group="a group", task_name="a name")
    bad = fail(1)[0]
    Schedule.objects.create(name="a/schedule", func="site_tasks.add", args="1, 2", schedule_type="H")
    letter = dead()
    enqueue()
    message = OrmQ.objects.get().pk

    index = text_of(client.get("/admin/"))
    for title in (
        "Django Q",
        "Successful tasks",
        "Failed tasks",
        "Scheduled tasks",
        "Queued tasks",
        "Dead letters",
    ):
        assert title in index
    for model, key, shown in (
        ("success", sent, "&lt;b&gt;bold&lt;/b&gt;"),
        ("failure", bad, "ValueError: no luck 0"),
        ("schedule", "a_2Fschedule", "site_tasks.add"),
        ("ormq", message, "site_tasks.add"),
        ("deadletter", letter, "it fails"),
    ):
        assert "site_tasks" in text_of(client.get(url(model)))
        page = client.get(url(model, f"{key}/change/"))
        assert (page.status_code, shown in text_of(page)) == (200, True), model
        assert client.get(url(model, f"{key}/history/")).status_code == 200
        assert client.get(url(model, f"{key}/delete/")).status_code == 200
    assert ('name="_save"' in text_of(client.get(url("success", f"{sent}/change/")))) is False
    assert [
        sent[:8] in text_of(client.get(url("success", f"?q={sent}"))),
        sent in text_of(client.get(url("success", "?q=nothing"))),
    ] == [True, False]
    assert "a name" in text_of(client.get(url("success", "?group=a+group&stopped__gte=2020-01-01%2000:00Z")))


@pytest.mark.parametrize("model", ["success", "failure", "schedule", "ormq", "deadletter"])
def test_a_list_takes_as_many_queries_for_many_rows_as_for_two(client: Client, model: str) -> None:
    """No row has a query of its own."""

    def add(count: int) -> None:
        for number in range(count):
            if model == "success":
                async_task(site_tasks.add, number, 1, group="g")
            elif model == "failure":
                fail(1)
            elif model == "schedule":
                Schedule.objects.create(func="site_tasks.add", args="1, 2", schedule_type="H")
            elif model == "ormq":
                enqueue()
        if model == "deadletter":
            dead()

    def count() -> int:
        with CaptureQueriesContext(connection) as queries:
            assert client.get(url(model)).status_code == 200
        return len(queries)

    add(2)
    client.get(url(model))
    few = count()
    if model != "deadletter":
        add(6)

    assert few == count()
    assert few < 12


def test_a_list_counts_no_further_than_its_pages_lead(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table of millions of rows is counted up to a bound, and all of it can be chosen."""
    monkeypatch.setattr(paging, "MOST", 3)
    for number in range(5):
        async_task(site_tasks.add, number, 1)

    with CaptureQueriesContext(connection) as queries:
        page = text_of(client.get(url("success")))

    assert "more than 3 successful tasks" in page
    counts = [one["sql"] for one in queries if "COUNT(" in one["sql"] and "qcore_result" in one["sql"]]
    assert counts
    assert all("LIMIT 4" in sql for sql in counts)


def test_results_are_resubmitted_in_batches(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """They keep function, arguments, group, name and queue; failures are deleted here, as in Django-Q."""
    monkeypatch.setattr(batches, "BATCH", 2)
    done = [async_task(site_tasks.add, number, 1, group="g", task_name="n") for number in range(5)]
    bad = fail(2)

    with override_settings(Q_CLUSTER={**CLUSTER, "sync": False}):
        one = said(act(client, "success", "resubmit", done[:1]))
        many = said(act(client, "success", "resubmit", done[:1], select_across="1"))
        failures = said(act(client, "failure", "resubmit", bad))
        queued = [(found.func(), found.name(), found.group()) for found in OrmQ.objects.all()]

    assert one == ["1 successful task resubmitted."]
    assert many == ["5 successful tasks resubmitted."]
    assert failures == ["2 failed tasks resubmitted."]
    assert queued[:6] == [("site_tasks.add", "n", "g")] * 6
    assert [found[0] for found in queued[6:]] == ["site_tasks.fail"] * 2
    assert (Failure.objects.count(), Success.objects.count()) == (0, 5)


def test_a_result_without_arguments_is_not_resubmitted(client: Client) -> None:
    """What cannot be done is said."""
    with override_settings(Q_CLUSTER={**CLUSTER, "keep_arguments": False}):
        sent = async_task(site_tasks.add, 1, 1)
        found = said(act(client, "success", "resubmit", [sent]))

    assert found == ["1 task not resubmitted: the arguments are not stored, or cannot be read here."]


def test_results_are_deleted_after_a_question(client: Client) -> None:
    """The question names the first of them, and is the same for all that match."""
    done = [async_task(site_tasks.add, number, 1) for number in range(3)]

    asked = act(client, "success", "delete_selected", done[:1], select_across="1")
    assert "All that match the filters" in text_of(asked)
    assert Task.objects.count() == 3
    data = {"action": "delete_selected", "_selected_action": done[:1], "select_across": "1", "post": "yes"}
    found = client.post(url("success"), data, follow=True)
    assert (said(found), Task.objects.count()) == (["3 successful tasks deleted."], 0)


def test_a_schedule_is_made_in_a_form(client: Client) -> None:
    """It is one of `app.schedules`, and a change is one of its."""
    assert client.get(url("schedule", "add/")).status_code == 200
    made = client.post(url("schedule", "add/"), FORM, follow=True)
    assert "was added successfully" in text_of(made)
    assert [one.rule for one in app.schedules.list()] == ["0 3 * * *"]

    page = text_of(client.get(url("schedule", "nightly/change/")))
    assert len(re.findall("<li>[^<]* 03:00:00 CE[^<]*</li>", page)) == 10
    changed = {**FORM, "schedule_type": "I", "minutes": "7", "cron": "", "name": "each seven"}
    client.post(url("schedule", "nightly/change/"), changed)
    assert [(one.name, one.rule) for one in app.schedules.list()] == [("each seven", "every 420")]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"cron": "0 25 * * *"}, "is not a rule of a schedule"),
        ({"cron": ""}, "needs a cron expression"),
        ({"cron": "hourly"}, "is not a cron expression"),
        ({"func": "site_tasks.no_such"}, "no_such"),
        ({"func": "no_such_module.task"}, "no_such_module"),
        ({"hook": "site_tasks.no_such"}, "no_such"),
        ({"args": "1, open"}, "is not a list of literals"),
        ({"kwargs": "1"}, "is not a list of keywords"),
        ({"repeats": "-7"}, ""),
        ({"name": "taken"}, "there is a schedule"),
        ({"intended_date_kwarg": "not a name"}, "is not a name that an argument can have"),
    ],
)
def test_a_form_with_a_mistake_has_one_error(client: Client, changes: dict[str, str], problem: str) -> None:
    """And nothing is stored."""
    Schedule.objects.create(name="taken", func="site_tasks.add", args="1, 2", schedule_type="H")
    page = client.post(url("schedule", "add/"), {**FORM, **changes})

    if not problem:
        # Django-Q takes any number below zero for no limit
        assert (page.status_code, app.schedules.get("nightly").repeats) == (302, -1)
        return
    assert page.status_code == 200
    errors = errors_of(page)
    assert len(errors) == 1
    assert problem in errors[0]
    assert [one.name for one in app.schedules.list()] == ["taken"]


def test_a_preview_is_of_what_is_in_the_form(client: Client) -> None:
    """Ten slots, or why there are none."""
    good = client.get(url("schedule", "preview/"), {**FORM, "cron": "*/5 * * * *"}).json()
    few = client.get(url("schedule", "preview/"), {**FORM, "schedule_type": "D", "repeats": "3"}).json()
    bad = client.get(url("schedule", "preview/"), {**FORM, "cron": "*/5"}).json()

    assert (len(good["slots"]), good["problem"]) == (10, "")
    assert few["slots"] == [
        f"{day} 00:00:00 CET" for day in ("Fri 2077-01-01", "Sat 2077-01-02", "Sun 2077-01-03")
    ]
    assert (bad["slots"], "is not a rule" in bad["problem"]) == ([], True)
    assert Client().get(url("schedule", "preview/")).status_code == 302


def test_schedules_are_paused_resumed_and_run(client: Client) -> None:
    """Each with the words of what was done."""
    made = Schedule.objects.create(name="made", func="site_tasks.add", args="1, 2", schedule_type="H")
    once = Schedule.objects.create(name="ended", func="site_tasks.add", repeats=1)
    with stored_schedules(app.runtime) as store:
        store.advance(once.native, attrs.evolve(once.native, repeats=0, kept=0))

    paused = said(act(client, "schedule", "pause", [made.pk]))
    state = "paused" in text_of(client.get(url("schedule")))
    resumed = said(act(client, "schedule", "resume", [made.pk, "ended"]))
    run = said(act(client, "schedule", "run_now", [made.pk]))

    assert (paused, state) == (["1 scheduled task paused."], True)
    assert resumed[0] == "1 scheduled task resumed."
    assert "has ended: it has no slots left" in resumed[1]
    assert run == ["1 scheduled task run."]
    assert app.schedules.get("made").repeats == -1
    assert OrmQ.objects.get().group() == "made"


def test_messages_are_requeued_made_ready_and_cancelled(client: Client) -> None:
    """A dead letter is enqueued again, a delayed task runs now, and a waiting one is cancelled."""
    letter = dead()
    assert said(act(client, "deadletter", "requeue", [letter])) == ["1 dead letter requeued."]
    assert not DeadLetter.objects.exists()
    late = enqueue(delay=3000.0)
    assert "delayed" in text_of(client.get(url("ormq")))
    keys = list(OrmQ.objects.values_list("pk", flat=True))
    assert said(act(client, "ormq", "run_now", keys)) == [
        "1 queued task made ready.", "Tasks that are not delayed stay as they are.",
    ]  # fmt: skip
    assert app.queue.size().ready == 2
    assert said(act(client, "ormq", "cancel", keys)) == ["2 queued tasks cancelled."]
    assert Failure.objects.get(id=late).native.cancelled
    assert not OrmQ.objects.exists()


def test_only_who_may_change_acts() -> None:
    """Whoever may view sees, and nobody else does."""
    sent = async_task(site_tasks.add, 1, 1)
    viewer, client = User.objects.create_user("viewer", is_staff=True), Client()
    client.force_login(viewer)
    assert client.get(url("success")).status_code == 403

    viewer.user_permissions.add(Permission.objects.get(codename="view_success"))
    page = text_of(client.get(url("success")))
    assert sent in page
    assert "Resubmit" not in page
    act(client, "success", "resubmit", [sent])
    act(client, "success", "delete_selected", [sent], post="yes")
    assert (OrmQ.objects.count(), Task.objects.count()) == (0, 1)
    assert client.get(url("schedule")).status_code == 403


def test_a_site_without_the_tables_says_what_to_do(client: Client, tmp_path: Path) -> None:
    """One sentence, whichever page."""
    connections.settings["other"]["NAME"] = str(tmp_path / "empty.db")
    with override_settings(Q_CLUSTER={**CLUSTER, "orm": "other"}):
        for model in ("success", "failure", "ormq", "deadletter", "schedule"):
            page = client.get(url(model))
            assert page.status_code == 503, model
            problem = re.search(r'<p class="errornote">(.*?)</p>', text_of(page))
            assert problem is not None
            assert "python manage.py migrate --database other" in unescape(problem[1]), problem[1]
        assert client.get("/admin/").status_code == 200
        assert client.post(url("schedule", "add/"), FORM).status_code == 503
    connections["other"].close()
    del connections["other"]


def test_a_database_that_is_read_only_is_named(client: Client) -> None:
    """Nothing is lost, and the error says so."""
    sent = async_task(site_tasks.add, 1, 1)
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA query_only = ON")
    try:
        # a page is shown, and nothing is changed
        assert client.get(url("success", f"{sent}/change/")).status_code == 200
        page = client.post(url("schedule", "add/"), FORM)
    finally:
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA query_only = OFF")

    assert page.status_code == 503
    assert "readonly" in text_of(page) or "read-only" in text_of(page)
    assert Task.objects.count() == 1


def test_other_stores_are_shown_too(client: Client) -> None:
    """The newest results, all schedules and the dead letters; the page of the ORM's queue is not there."""
    with override_settings(Q_CLUSTER={"name": "elsewhere", "sync": True}):
        sent = async_task(site_tasks.add, 1, 1, group="g")
        app.schedules.create("site_tasks.add", name="code", every=60)

        assert sent in text_of(client.get(url("success")))
        assert client.get(url("success", f"{sent}/change/")).status_code == 200
        assert "every 1 minute" in text_of(client.get(url("schedule")))
        assert "Queued tasks" not in text_of(client.get("/admin/"))
        found = said(act(client, "success", "delete_selected", [sent], post="yes"))
        assert found == ["1 successful task deleted."]


def test_a_site_with_several_clusters_has_a_filter(client: Client) -> None:
    """An index has the order of one queue, so that one is shown at a time."""
    with override_settings(Q_CLUSTER={**CLUSTER, "ALT_CLUSTERS": {"second": {}}}):
        here = async_task(site_tasks.add, 1, 1)
        with app.runtime.stores.connection() as store, app.runtime.of("second").stores.connection() as other:
            (one,) = store.get([bytes.fromhex(here)])
            assert one is not None
            other.save([msgspec.structs.replace(one, id=b"x" * 16)])
        there = (b"x" * 16).hex()

        own, second = (text_of(client.get(url("success", rest))) for rest in ("", "?cluster=second"))
        assert [here in own, there in own, here in second, there in second] == [True, False, False, True]
        assert "By cluster" in own
        assert client.get(url("success", f"{there}/change/")).status_code == 200
