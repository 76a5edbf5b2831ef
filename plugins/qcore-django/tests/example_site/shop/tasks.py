"""What runs in the background."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shop.models import Note, Order

if TYPE_CHECKING:
    from datetime import datetime


def pay(order: Order | int) -> str:
    """Pay an order, given itself or by its key."""
    found = order if isinstance(order, Order) else Order.objects.get(pk=order)
    found.paid = True
    found.save()
    return f"{found.title} is paid"


def add(one: int, two: int = 0) -> int:
    """Return a sum."""
    return one + two


def fail(text: str) -> None:
    """Fail."""
    raise ValueError(text)


def note(text: str, day: datetime | str | None = None) -> str:
    """Write something down."""
    Note.objects.create(text=text)
    return f"{text} at {day}" if day else text


def receipt(task: Any) -> None:
    """Write down how a task ended: a callback."""
    state = "done" if task.success else "failed"
    Note.objects.create(text=f"{task.name} of {task.func} {state}: {task.result} {task.args} {task.group}")
