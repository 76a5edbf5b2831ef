"""A site made by startproject, and the cluster that `manage.py qcluster` runs for it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .conftest import Site

#: enqueues what the tests below look at, and waits for it
PROGRAM = """
order = Order.objects.create(title="a book")
sent = pay.enqueue(order.pk)
first = sent.result(wait=60)
before = surroundings.enqueue().result(wait=60)
french = speak_french.enqueue().result(wait=60)
after = surroundings.enqueue().result(wait=60)
deadline = time.monotonic() + 100
while not app.schedules.list() and time.monotonic() < deadline:
    time.sleep(0.1)
by_name = app.enqueue("shop.tasks.nightly").result(wait=60)
order.refresh_from_db()
answer = {
    "title": first[0], "paid": order.paid, "before": before, "french": french, "after": after,
    "night": by_name, "schedules": [one.name for one in app.schedules.list()],
}
"""


def test_a_task_that_touches_a_model_runs(site: Site) -> None:
    """Models are there in workers; a task leaves language, zone, transaction and rows as they were."""
    with site.running():
        found = site.ask(PROGRAM)

    surroundings = {
        "language": "en-us",
        "zone": "UTC",
        "atomic": False,
        "opened": False,
        "orders": 1,
        "queries": 1,
        "queue": "site",
    }
    assert found == {
        "title": "a book",
        "paid": True,
        "before": surroundings,
        "french": "fr",
        "after": surroundings,
        "night": "night",
        "schedules": ["shop.tasks.nightly"],
    }
    log = (site.folder / "cluster.log").read_text()
    assert "a task left a transaction open; it is rolled back, database=default" in log
    assert "started threads" not in log


def test_a_cluster_works_on_the_queue_that_it_is_named_for(site: Site) -> None:
    """`qcluster -n` reads ALT_CLUSTERS, its workers know their queue, and it ends with the queue."""
    sent = site.ask("answer = app.for_cluster('reports').enqueue('shop.tasks.surroundings').id")

    site.manage("qcluster", "--run-once", "-n", "reports")

    found = site.ask(f"answer = app.for_cluster('reports').results.get({sent!r})")
    assert found["queue"] == "reports"
    assert "reports" in site.manage("qinfo", Q_CLUSTER_NAME="reports")


#: asks until the workers have the changed module
CHANGED = """
deadline = time.monotonic() + 60
while (answer := nightly.enqueue().result(wait=60)) == "night" and time.monotonic() < deadline:
    time.sleep(0.1)
"""


def test_workers_follow_the_modules_of_the_site(site: Site) -> None:
    """`qcluster --reload` imports the site anew, and its workers with it."""
    tasks = site.folder / "shop" / "tasks.py"
    with site.running("--reload"):
        assert site.ask("answer = nightly.enqueue().result(wait=60)") == "night"

        tasks.write_text(tasks.read_text().replace('"night"', '"later"'))

        assert site.ask(CHANGED) == "later"
    log = (site.folder / "cluster.log").read_text()
    assert re.search(r"shop/tasks\.py.* changed; your modules are imported anew", log), log
    wrong = site.manage("qcluster", "--reload", "--run-once", code=1)
    assert "--run-once ends with the queue" in wrong


def test_what_hinders_a_cluster_is_said(site: Site) -> None:
    """The exit codes are those of qcore, on which unit files rely."""
    with (site.folder / "mysite" / "settings.py").open("a") as file:
        file.write("import os\nQ_CLUSTER['workers'] = os.environ.get('WORKERS', 1)\n")

    (code, wrong), (failed, told) = site.manage_each("qcluster", "qcore doctor", WORKERS="many")

    assert (code, failed) == (78, 1)
    assert "workers: got 'many'" in wrong
    assert "Traceback" not in wrong
    assert "ok    plugins" in told
    assert "fail  configuration" in told
    (site.folder / "shop" / "tasks.py").write_text("import os\n1 / 0\n")
    broken = site.manage("qcluster", code=1)
    assert "your module 'shop.tasks' cannot be imported: ZeroDivisionError: division by zero" in broken
    assert f"at {site.folder / 'shop' / 'tasks.py'}, line 2" in broken
    assert "qcore_django.worker_setup" not in broken


def test_the_commands_show_the_queue(site: Site) -> None:
    """They are those of qcore, with its exit codes."""
    (sent, _), (none, ids), (_, shown), (_, info), (_, watched), (_, doctor), (unknown, fly), (_, index) = (
        site.manage_each(
            "qcore enqueue shop.tasks.nightly", "qinfo --ids", "qinfo --config", "qcore info",
            "qmonitor --run-once", "qcore doctor", "qcore fly", "qcore",
        )
    )  # fmt: skip

    assert (sent, none, unknown) == (0, 1, 2)
    assert "clusters of queue 'site': none" in ids
    assert "1 ready" in shown
    assert "save_limit = 250" in shown
    assert "django-insecure" not in shown
    assert info.splitlines()[:3] == shown.splitlines()[:3]
    assert watched.splitlines()[:3] == shown.splitlines()[:3]
    assert "holds the key" not in doctor
    assert "no command 'fly'" in fly
    assert "dead-letters" in index
    assert "clusters  none; start one with: manage.py qcluster\n" in shown
