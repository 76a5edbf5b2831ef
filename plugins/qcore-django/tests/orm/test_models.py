"""The models over the tables of each database."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import site_tasks
from django.db import IntegrityError
from django.test import override_settings
from django.utils import timezone

from qcore.errors import EnvelopeError, NotSupported
from qcore.messages.results import encode_result
from qcore.model import Action, Settlement, State, StoredResult
from qcore_django import app
from qcore_django.models import DeadLetter, Failure, OrmQ, Schedule, Success, Task
from qcore_django.tasks import async_task
from qcore_django.words import words_of
from qcore_schedules.firing import Firing
from qcore_schedules.sealed import stored_schedules

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def site(alias: str) -> Iterator[str]:
    """Keep everything of the site in the database of the test."""
    with override_settings(Q_CLUSTER={"name": "shop", "orm": alias, "sync": True}):
        yield alias
        app.reread()


def failed(error: str = "no luck", **changes: Any) -> str:
    """Store the result of a task that has failed; return its id."""
    runtime = app.runtime
    sent = async_task("math.floor", 1.5, **changes)
    with runtime.stores.connection() as store:
        (stored,) = store.get([bytes.fromhex(sent)])
        assert stored is not None
        store.delete([stored.id])
        body = runtime.results.open(stored.id, stored.body)
        made = StoredResult(
            stored.id, State.FAILED, b"", stored.name, stored.group, stored.finished, 0.0, stored.label
        )
        bad = msgspec.structs.replace(body, state=State.FAILED, value=b"", error=error, kind="failure")
        sealed = runtime.results._sealer.seal(stored.id, encode_result(bad))
        store.save([msgspec.structs.replace(made, body=sealed)])
    return sent


def test_a_result_is_found_by_its_fields() -> None:
    """Func, name, group, times and success are columns; the id has the time of enqueuing."""
    before = timezone.now()
    named = async_task(site_tasks.add, 1, 2, task_name="sum", group="g")
    other = async_task("math.floor", 1.5)
    bad = failed(group="g")
    task = Task.objects.get(id=named)

    assert [task.result, task.args, task.kwargs, task.cluster, str(task)] == [3, (1, 2), {}, "shop", "sum"]
    assert {one.id for one in Task.objects.all()} == {named, other, bad}
    assert [one.id for one in Success.objects.filter(func="math.floor")] == [other]
    assert [one.result for one in Failure.objects.filter(group="g")] == ["no luck"]
    assert Task.objects.get(id=other).name == words_of(other)
    assert Task.get_task(words_of(other)) == Task.objects.get(id=other)
    ours = Task.objects.exclude(id=bad)
    assert ours.filter(started__gte=before - timedelta(seconds=1)).count() == 2
    assert ours.filter(started=task.started).filter(id=named).exists()
    assert not ours.filter(started__gt=timezone.now()).exists()
    assert ours.filter(stopped__range=(before - timedelta(seconds=1), timezone.now())).count() == 2
    assert Task.objects.filter(success=False).get().id == bad
    assert Task.objects.filter(id="no id").first() is None
    assert list(Task.objects.order_by("stopped").values_list("id", flat=True)[:1]) == [named]


def test_what_has_expired_or_is_anothers_is_not_shown() -> None:
    """As `app.results` has it."""
    kept = async_task("math.floor", 1.5)
    with app.runtime.stores.connection() as store:
        (one,) = store.get([bytes.fromhex(kept)])
        assert one is not None
        old = StoredResult(bytes(16), State.SUCCESS, one.body, one.name, None, 1.0, 2.0)
        running = StoredResult(b"r" * 16, State.RETRYING, one.body, one.name, None, 1.0)
        store.save([old, running])
    with app.runtime.of("elsewhere").stores.connection(create=True) as store:
        store.save([one])

    assert [(found.id, found.cluster) for found in Task.objects.all()] == [(kept, "shop")]
    cluster = {"name": "shop", "orm": app.config.raw["orm"], "ALT_CLUSTERS": {"elsewhere": {}}}
    with override_settings(Q_CLUSTER=cluster):
        assert {found.cluster for found in Task.objects.all()} == {"shop", "elsewhere"}


def test_a_result_is_read_and_not_written() -> None:
    """What is not signed by the site is not shown as its result, and deleting is all one can do."""
    sent = async_task("math.floor", 1.5, group="g")
    task = Task.objects.get(id=sent)

    with pytest.raises(NotSupported, match="is not written by hand"):
        task.save()
    with pytest.raises(NotSupported, match="is not written by hand"):
        Task.objects.create(id="f" * 32)
    with pytest.raises(
        NotSupported, match="a Task is the signed result of a task, and is not written by hand"
    ):
        Task.objects.filter(id=sent).update(name="another")
    with pytest.raises(NotSupported, match="is not written by hand"):
        Task.objects.bulk_update([task], ["name"])
    task.body = b"\0" * 80
    with pytest.raises(EnvelopeError):
        _ = task.result
    assert Task.objects.only("id").get(id=sent).result == 1
    assert Task.delete_group("g") == 1
    assert task.delete() == (1, {"qcore_django.Task": 1})
    assert not Task.objects.exists()


def test_a_schedule_is_the_same_in_code_and_as_a_row() -> None:
    """What one makes or changes, the other reads."""
    app.schedules.create(site_tasks.add, 1, 2, name="code", every=90, cluster="other", hook=site_tasks.note)
    row = Schedule.objects.get(name="code")
    made = Schedule.objects.create(
        name="row", func="site_tasks.add", args="1, 2", kwargs="{'a': 3}", schedule_type=Schedule.DAILY
    )

    assert [row.func, row.args, row.schedule_type, row.seconds, row.cluster, row.hook] == [
        "site_tasks.add", "(1, 2)", "S", 90, "other", "site_tasks.note",
    ]  # fmt: skip
    assert app.schedules.get("row") == made.native
    row.schedule_type, row.minutes = Schedule.MINUTES, 5
    row.save()
    app.schedules.update("row", cron="0 8 * * *")
    app.schedules.pause("row")
    assert app.schedules.get("code").rule == "every 300"
    again = Schedule.objects.get(name="row")
    assert [again.schedule_type, again.cron, again.repeats] == ["C", "0 8 * * *", 0]
    again.repeats = 3
    again.save()
    assert app.schedules.get("row").repeats == 3
    again.delete()
    assert [one.name for one in app.schedules.list()] == ["code"]
    with pytest.raises(IntegrityError, match="there is a schedule 'code'"):
        Schedule.objects.create(name="code", func="math.floor")


def test_a_schedule_shows_the_task_of_its_last_slot() -> None:
    """Its id follows from the slot, so that no column is written when it fires."""
    first = timezone.now().replace(microsecond=0) - timedelta(hours=2, minutes=30)
    made = Schedule.objects.create(
        name="due", func="math.floor", args="1.5", schedule_type="H", next_run=first
    )
    assert [made.task, made.success(), made.last_run()] == [None, None, None]
    firing = Firing(app.runtime)
    with stored_schedules(app.runtime) as store:
        (claimed,) = store.claim_due(timezone.now().timestamp(), 10, 60)
        firing.fire(store, claimed)
    firing.close()
    due = Schedule.objects.get(name="due")

    assert due.next_run == first + timedelta(hours=3)
    assert due.task in {one.task_id() for one in OrmQ.objects.all()}
    assert {one.group() for one in OrmQ.objects.all()} == {"due"}


def test_a_message_that_another_key_has_signed_waits_for_that_key(alias: str) -> None:
    """It is shown with the reason, and is not lost."""
    with override_settings(Q_CLUSTER={"name": "shop", "orm": alias}):
        sent = async_task("math.floor", 1.5)

        with override_settings(SECRET_KEY="n" * 30 + "another-0123456789"):
            (found,) = OrmQ.objects.all()
            assert (found.task_id(), found.func()) == (sent, None)
            assert "is not in secret_key" in found.fault
            assert "SECRET_KEY of the Django settings" in found.fault
        assert OrmQ.objects.get().func() == "math.floor"


def test_messages_are_shown_as_django_q_showed_them() -> None:
    """OrmQ is the queue, DeadLetter what is not delivered any more."""
    with override_settings(Q_CLUSTER={"name": "shop", "orm": app.config.raw["orm"]}):
        sent = async_task("math.floor", 1.5, group="g", task_name="n", timeout=3, on_commit=False)
        (one,) = OrmQ.objects.filter(key="shop")
        with app.runtime.brokers.connection() as broker:
            (leased,) = broker.lease(1, 5.0)
            broker.settle([Settlement(leased.receipt, Action.DEAD_LETTER, reason="it fails", failures=3)])
        (letter,) = DeadLetter.objects.all()

    assert [one.task_id(), one.func(), one.name(), one.group()] == [sent, "math.floor", "n", "g"]
    assert [one.args(), one.kwargs(), one.q_options()] == [[1.5], {}, {"timeout": 3.0}]
    assert [letter.task_id(), letter.func(), letter.reason, letter.failures] == [
        sent,
        "math.floor",
        "it fails",
        3,
    ]
    assert not OrmQ.objects.exists()
    with pytest.raises(NotSupported, match="a DeadLetter is a signed message"):
        letter.save()
    with pytest.raises(NotSupported, match="a OrmQ is a signed message"):
        OrmQ.objects.update(deliveries=0)
    assert DeadLetter.objects.filter(pk=letter.pk).delete()[0] == 1
