"""What the tasks that run at once need of their worker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qcore.model import Delivery
    from qcore.tasks.plan import TaskPlan
    from qcore.workers.leased import LeasedMessage

_T = TypeVar("_T")


class Home(Protocol):
    """The worker, as those tasks see it."""

    @property
    def stopping(self) -> bool:
        """Whether nothing new may begin."""

    @property
    def leaves(self) -> bool:
        """Whether the worker is due to be replaced."""

    def until_answered(self, call: Callable[..., _T], *args: Any) -> _T:
        """Make a call until a backend answers it; a stop ends the worker instead."""

    def find(self, plan: TaskPlan) -> None:
        """Find a task's function, which may import a module of the program's."""

    def count(self) -> None:
        """Count a task that has ended."""

    def verified(self, deliveries: Sequence[Delivery]) -> list[LeasedMessage]:
        """Return the leased messages that may run."""

    def limit(self, wanted: int, has: int) -> int:
        """Return how many of so many messages may be leased, beside those it has already."""
