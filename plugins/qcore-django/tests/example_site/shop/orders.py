"""What views call."""

from __future__ import annotations

from django.db import transaction
from django_q.tasks import async_task

from shop.models import Order


def place(title: str) -> str:
    """Take an order, have it paid, and return the id of the task."""
    with transaction.atomic():
        order = Order.objects.create(title=title)
        return async_task("shop.tasks.pay", order.pk, hook="shop.tasks.receipt", group="orders", timeout=30)
