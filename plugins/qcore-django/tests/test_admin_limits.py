"""Pages of the admin with tables of millions of rows, and actions with a hundred thousand objects."""

from __future__ import annotations

import re
from html import unescape
from typing import TYPE_CHECKING, Any

import pytest
import site_tasks
from django.db import connection
from django.test import override_settings
from django.test.utils import CaptureQueriesContext

from qcore.model import Action, Settlement
from qcore.tasks.call import DEFAULT, with_options
from qcore.tasks.task import bind
from qcore_django import app
from qcore_django.admin import batches, search
from qcore_django.models import DeadLetter, Failure, OrmQ, Success, queued
from qcore_django.models import task as results
from qcore_django.tasks import async_task

from .test_admin import CLUSTER, act, client, fail, said, site, tables, text_of, url

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.test import Client

__all__ = ["client", "site", "tables"]


def enqueue(count: int, **options: Any) -> None:
    """Put tasks on the queue."""
    with override_settings(Q_CLUSTER={**CLUSTER, "sync": False}):
        app.send([bind(site_tasks.add, (1, 2), {}, with_options(DEFAULT, options)) for _ in range(count)])


def make_dead_letters(count: int) -> None:
    """Make dead letters."""
    enqueue(count)
    with app.runtime.brokers.connection() as broker:
        for start in range(0, count, 500):
            leased = broker.lease(min(500, count - start), 5.0)
            broker.settle([Settlement(one.receipt, Action.DEAD_LETTER, reason="it fails") for one in leased])


def copy_results(name: str, count: int) -> None:
    """Add rows that are like the result of a task, each a second older."""
    made = {"id": "cast(substr(id, 1, 6) || randomblob(10) as blob)", "finished": "finished - number"}
    with connection.cursor() as cursor:
        described = connection.introspection.get_table_description(cursor, "qcore_result")
        columns = [one.name for one in described]
        numbers = "select 1 union all select number + 1 from numbers where number < %s"
        cursor.execute(
            f"with recursive numbers(number) as ({numbers}) insert into qcore_result ({', '.join(columns)})"  # noqa: S608 - names of columns
            f" select {', '.join(made.get(one, one) for one in columns)}"
            " from qcore_result, numbers where name = %s",
            [count, name],
        )


def ways(queries: CaptureQueriesContext) -> list[str]:
    """Return how the database finds the rows of each query of a page."""
    found = []
    for one in queries.captured_queries:
        if '"qcore_' in one["sql"] and one["sql"].startswith("SELECT"):
            with connection.cursor() as cursor:
                cursor.execute(f"EXPLAIN QUERY PLAN {one['sql']}")
                found += [row[3] for row in cursor.fetchall()]
    return found


@pytest.mark.parametrize(
    ("model", "rest"),
    [
        ("success", ""),
        ("success", "?p=20"),
        ("success", "?o=-5"),
        ("success", "?group=g"),
        ("failure", ""),
        ("failure", "?stopped__gte=2020-01-01%2000:00Z&stopped__lt=2090-01-01%2000:00Z"),
        ("ormq", ""),
        ("deadletter", ""),
    ],
)
def test_a_page_reads_its_rows_by_an_index(client: Client, model: str, rest: str) -> None:
    """None is sorted, and none is read that the page, or the bound of the count, does not need."""
    async_task(site_tasks.add, 1, 1, group="g")
    fail(1)
    copy_results("site_tasks.add", 3000)
    copy_results("site_tasks.fail", 3000)
    enqueue(3)
    make_dead_letters(2)

    with CaptureQueriesContext(connection) as queries:
        page = client.get(url(model, rest))

    assert page.status_code == 200
    plans = [one for one in ways(queries) if "qcore_" in one or "TEMP" in one]
    assert plans
    assert not [one for one in plans if "TEMP B-TREE" in one or one.startswith("SCAN qcore_")], plans
    counts = [
        one["sql"] for one in queries.captured_queries if "COUNT(" in one["sql"] and "qcore_" in one["sql"]
    ]
    assert all("LIMIT 10001" in one for one in counts)


ACTIONS: dict[str, tuple[str, str, Callable[[int], Any], int]] = {
    # what it is, what there is before, and how many queries a batch may take
    "resubmit successes": ("success", "resubmit", lambda count: _results("site_tasks.add", count), 12),
    "resubmit failures": ("failure", "resubmit", lambda count: _results("site_tasks.fail", count), 16),
    "delete results": ("success", "delete_selected", lambda count: _results("site_tasks.add", count), 12),
    "run delayed tasks": ("ormq", "run_now", lambda count: enqueue(count, delay=3000.0), 6),
    "cancel tasks": ("ormq", "cancel", enqueue, 50),
    "delete tasks": ("ormq", "delete_selected", enqueue, 6),
    "requeue dead letters": ("deadletter", "requeue", make_dead_letters, 25),
    "delete dead letters": ("deadletter", "delete_selected", make_dead_letters, 12),
}


def _results(name: str, count: int) -> None:
    if name == "site_tasks.add":
        with override_settings(Q_CLUSTER=CLUSTER):
            app.send([bind(site_tasks.add, (number, 1), {}) for number in range(count)])
    else:
        fail(count)


@pytest.mark.parametrize("name", ACTIONS)
def test_an_action_takes_as_many_queries_for_each_batch(
    client: Client, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """However many objects a batch has: none has a query of its own."""
    model, action, make, most = ACTIONS[name]
    monkeypatch.setattr(batches, "BATCH", 20)
    make(61)
    manager = {"success": Success, "failure": Failure, "ormq": OrmQ, "deadletter": DeadLetter}[model].objects
    first = manager.values_list("pk", flat=True)[0]

    with (
        override_settings(Q_CLUSTER={**CLUSTER, "sync": False}),
        CaptureQueriesContext(connection) as queries,
    ):
        page = act(client, model, action, [first], select_across="1", post="yes")

    assert said(page)[0].startswith("61 "), said(page)
    # of the request itself, and of the page that follows, there are some thirty
    assert len(queries) <= 40 + 4 * most, [one["sql"][:90] for one in queries.captured_queries]


def rows_of(page: Any) -> list[str]:
    """Return the names of the tasks that a list shows."""
    return re.findall(r'class="field-title">.*?>([^<]+)</a>', text_of(page))


def test_a_search_reads_no_more_rows_than_a_server_waits_for(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is among the newest, the page says so, and a link leads to those before them."""
    monkeypatch.setattr(search, "SEARCHED", 3)
    async_task(site_tasks.add, 1, 1, task_name="report", group="g")
    # each a second older
    copy_results("site_tasks.add", 7)
    async_task(site_tasks.add, 9, 1, task_name="another")

    found, address = [], "?q=report&group=g"
    while address:
        with CaptureQueriesContext(connection) as queries:
            page = client.get(url("success", address), follow=True)
        assert page.status_code == 200
        plans = [one for one in ways(queries) if "qcore_" in one or "TEMP" in one]
        assert not [one for one in plans if one.startswith("SCAN qcore_")], plans
        found.append(rows_of(page))
        links = re.findall(r'href="(\?[^"]*)">the 3 before', text_of(page))
        address = unescape(links[0]) if links else ""

    assert found == [["report"] * 2, ["report"] * 3, ["report"] * 3]


def test_a_search_among_few_is_among_all(client: Client) -> None:
    """So is one for an id, and no word is said of it."""
    sent = [async_task(site_tasks.add, number, 1, task_name=f"report {number}") for number in range(4)]

    for term, names in (("report", 4), (sent[0], 1)):
        page = client.get(url("success", f"?q={term}"))
        assert (page.status_code, len(rows_of(page))) == (200, names)
        assert "before" not in text_of(page)
    assert client.get(url("success", "?q=report&stopped__gte=never"), follow=True).status_code == 200


def go_on(client: Client, page: Any) -> list[str]:
    """Send what a page sends by itself until the action has ended; return what it said each time."""
    told = []
    while 'id="q-going-on"' in (text := text_of(page)):
        told += re.findall(r'<p class="q-so-far">(.*?)</p>', text)
        fields: dict[str, list[str]] = {}
        for name, value in re.findall(r'<input type="hidden" name="(\w+)" value="(.*?)">', text):
            fields.setdefault(name, []).append(unescape(value))
        address = str(page.request["PATH_INFO"])
        page = client.post(f"{address}?{page.request['QUERY_STRING']}", fields, follow=True)
    return [*told, *said(page)]


def test_an_action_takes_no_longer_than_a_server_waits(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page sends itself again for the rest, and each object is met once, whatever ends meanwhile."""
    monkeypatch.setattr(batches, "BATCH", 2)
    monkeypatch.setattr(batches, "SPAN", 0.0)
    for number in range(5):
        async_task(site_tasks.add, number, 1)
    keys = [one.pk for one in Success.objects.all()]
    with override_settings(Q_CLUSTER={**CLUSTER, "sync": False}):
        first = act(client, "success", "resubmit", keys[:1], select_across="1")
        async_task(site_tasks.add, 7, 1, sync=True)
        told = go_on(client, first)
        args = sorted(one.args()[0] for one in OrmQ.objects.all())
        asked = act(client, "success", "delete_selected", keys[:1], select_across="1")
        gone = go_on(
            client, act(client, "success", "delete_selected", keys[:1], select_across="1", post="yes")
        )

    assert args == [0, 1, 2, 3, 4]
    assert told == [
        "2 successful tasks resubmitted so far.",
        "4 successful tasks resubmitted so far.",
        "5 successful tasks resubmitted.",
    ]
    assert "q-going-on" not in text_of(asked)
    assert gone[-1] == "6 successful tasks deleted."
    assert not Success.objects.exists()


def test_the_rest_of_an_action_keeps_filters_choice_and_reasons(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a piece could not do is said in the end; nothing beyond the choice is met."""
    monkeypatch.setattr(batches, "BATCH", 1)
    monkeypatch.setattr(batches, "SPAN", 0.0)
    with override_settings(Q_CLUSTER={**CLUSTER, "keep_arguments": False}):
        lost = [async_task(site_tasks.add, number, 1, group="g") for number in range(2)]
    kept = [async_task(site_tasks.add, number, 1, group="g") for number in range(2)]
    async_task(site_tasks.add, 9, 1, group="h")
    why = "1 task not resubmitted: the arguments are not stored, or cannot be read here."
    with override_settings(Q_CLUSTER={**CLUSTER, "sync": False}):
        data = {"action": "resubmit", "_selected_action": kept[:1], "index": "0", "select_across": "1"}
        across = go_on(client, client.post(url("success", "?group=g"), data, follow=True))
        chosen = go_on(client, act(client, "success", "resubmit", [kept[0], lost[0]]))

    assert across[-2:] == ["2 successful tasks resubmitted.", why]
    assert chosen[-2:] == ["1 successful task resubmitted.", why]
    assert [one.group() for one in OrmQ.objects.all()] == ["g"] * 3


@pytest.mark.further
def test_an_action_ends_with_a_hundred_thousand_objects(client: Client) -> None:
    """However many they are, and in as many requests as it takes."""
    async_task(site_tasks.add, 1, 1)
    copy_results("site_tasks.add", 100_500)
    first = Success.objects.values_list("pk", flat=True)[0]

    told = go_on(client, act(client, "success", "delete_selected", [first], select_across="1", post="yes"))

    assert told[-1] == "100,501 successful tasks deleted."
    assert not Success.objects.exists()


def test_a_page_says_what_it_cannot_show(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a store that is not a table it shows the oldest dead letters, and the newest results."""
    monkeypatch.setattr(queued, "OLDEST", 2)
    monkeypatch.setattr(results, "NEWEST", 2)
    table = {"name": "limits"}
    with override_settings(Q_CLUSTER=table):
        app.send([bind(site_tasks.add, (1, 2), {}) for _ in range(5)])
        with app.runtime.brokers.connection() as broker:
            for one in broker.lease(5, 5.0):
                broker.settle([Settlement(one.receipt, Action.DEAD_LETTER, reason="it fails")])
        page = text_of(client.get(url("deadletter")))
        assert page.count('class="action-select"') == 2
        assert f"3 dead letters of {app.config.name} are newer than those that can be shown here" in page
        keys = [one.pk for one in DeadLetter.objects.all()]
        act(client, "deadletter", "delete_selected", keys, post="yes")
        act(client, "deadletter", "requeue", [one.pk for one in DeadLetter.objects.all()])
        assert "can be shown here" not in text_of(client.get(url("deadletter")))
    with override_settings(Q_CLUSTER={**table, "sync": True}):
        for number in range(3):
            async_task(site_tasks.add, number, 1)
        page = text_of(client.get(url("success")))
        assert "1 successful task of limits is older than those that can be shown here" in page
        assert "can be shown here" not in text_of(client.get(url("failure")))
