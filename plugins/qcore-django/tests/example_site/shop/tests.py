"""Tests of the site, which pass on Django-Q, and after the move."""

from __future__ import annotations

from typing import Any
from unittest import mock

from django.test import TestCase
from django_q.signals import post_execute, pre_enqueue
from django_q.tasks import (
    AsyncTask,
    Chain,
    Iter,
    async_chain,
    async_iter,
    async_task,
    count_group,
    delete_group,
    fetch,
    fetch_group,
    queue_size,
    result,
    result_group,
    schedule,
)

from shop.models import Note, Order
from shop.orders import place
from shop.tasks import add, pay


class TaskTests(TestCase):
    """Tasks that run at once."""

    def test_an_order_is_paid(self) -> None:
        """The callback reads its task."""
        task_id = place("a book")

        assert result(task_id) == "a book is paid"
        assert Order.objects.get().paid
        task = fetch(task_id)
        assert Note.objects.get().text == f"{task.name} of shop.tasks.pay done: a book is paid (1,) orders"

    def test_an_object_is_an_argument(self) -> None:
        """The function is given by itself."""
        order = Order.objects.create(title="a pen")

        assert result(async_task(pay, order)) == "a pen is paid"
        order.refresh_from_db()
        assert order.paid

    def test_a_failure_reaches_the_caller(self) -> None:
        """As it was raised."""
        with self.assertRaisesMessage(ValueError, "no luck"):
            async_task("shop.tasks.fail", "no luck")

    def test_a_task_says_how_it_ended(self) -> None:
        """What is stored has name, arguments and times."""
        task = fetch(async_task(add, 1, two=2, task_name="a sum"))

        assert (task.name, task.args, task.kwargs) == ("a sum", (1,), {"two": 2})
        assert (task.success, task.result, task.attempt_count) == (True, 3, 1)
        assert task.started <= task.stopped
        assert task.time_taken() >= 0

    def test_groups(self) -> None:
        """Results of one group are read, counted and deleted."""
        for number in range(3):
            async_task("shop.tasks.add", number, 1, group="sums")

        assert sorted(result_group("sums")) == [1, 2, 3]
        assert sorted(one.result for one in fetch_group("sums")) == [1, 2, 3]
        assert (count_group("sums"), count_group("sums", failures=True)) == (3, 0)
        delete_group("sums", tasks=True)
        assert count_group("sums") == 0

    def test_flows(self) -> None:
        """Iterables, chains and the classes."""
        assert sorted(result(async_iter("shop.tasks.add", [(1, 1), (2, 2)]))) == [2, 4]
        group = async_chain([("shop.tasks.add", (1, 1)), ("shop.tasks.note", ("linked",))])
        assert sorted(map(str, result_group(group, count=2))) == ["2", "linked"]
        chain = Chain()
        chain.append("shop.tasks.add", 5, 5)
        chain.run()
        assert list(chain.result()) == [10]
        several = Iter("shop.tasks.add")
        several.append(7)
        several.run()
        assert several.result() == [7]
        alone = AsyncTask("shop.tasks.add", 8, group="alone")
        alone.run()
        assert (alone.result(), list(alone.result_group())) == (8, [8])

    def test_nothing_waits(self) -> None:
        """The queue is empty."""
        place("a cup")

        assert queue_size() == 0


class MoreTests(TestCase):
    """What is around tasks."""

    def test_signals(self) -> None:
        """A receiver changes a task."""
        seen: list[tuple[str, Any]] = []

        def enqueued(sender: object, task: dict[str, Any], **_: Any) -> None:
            seen.append(("enqueued", task["func"]))
            task["kwargs"]["two"] = 5

        def executed(sender: object, task: dict[str, Any], **_: Any) -> None:
            seen.append(("executed", task["result"]))

        pre_enqueue.connect(enqueued)
        post_execute.connect(executed)
        try:
            assert result(async_task("shop.tasks.add", 1)) == 6
        finally:
            pre_enqueue.disconnect(enqueued)
            post_execute.disconnect(executed)

        assert seen == [("enqueued", "shop.tasks.add"), ("executed", 6)]

    def test_schedules(self) -> None:
        """A schedule is made."""
        made = schedule("shop.tasks.note", "daily", name="daily", schedule_type="D", repeats=5)

        assert (made.name, made.repeats) == ("daily", 5)

    def test_a_view_enqueues(self) -> None:
        """What is enqueued can be mocked."""
        with mock.patch("shop.orders.async_task") as sent:
            place("a lamp")

        sent.assert_called_once_with(
            "shop.tasks.pay", Order.objects.get().pk, hook="shop.tasks.receipt", group="orders", timeout=30
        )
