"""Results with the attributes that Django-Q gave them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.utils import timezone

from qcore_django.settings import cluster_name
from qcore_django.shared import app
from qcore_django.words import words_of

if TYPE_CHECKING:
    from qcore import Result


class TaskResult:
    """How one task ended, as Django-Q's `Task` said it."""

    def __init__(self, found: Result) -> None:
        #: the `qcore.Result` it is made from
        self.native = found

    @property
    def id(self) -> str:
        """32 hexadecimal digits."""
        return self.native.id

    @property
    def name(self) -> str:
        """The option `task_name`, or four words that are made from the id."""
        return self.native.label or words_of(self.native.id)

    @property
    def func(self) -> str:
        """The dotted name of the function."""
        return self.native.name

    @property
    def args(self) -> tuple[Any, ...] | None:
        """The positional arguments; None if they are not stored, as those of a worker that died."""
        found = self._arguments()
        return None if found is None else tuple(found[0])

    @property
    def kwargs(self) -> dict[str, Any] | None:
        """The keyword arguments; None if they are not stored."""
        found = self._arguments()
        return None if found is None else dict(found[1])

    def _arguments(self) -> Any:  # noqa: ANN401 - whatever the task was called with
        kept = self.native.arguments
        if kept is None:
            return None
        data, serializer, named = kept
        found = app.runtime.results.value(serializer, data) or ()
        return found if named else (found, {})

    @property
    def group(self) -> str | None:
        """The result group it belongs to."""
        return self.native.group

    @property
    def cluster(self) -> str:
        """The name of the cluster, as the site has it."""
        return str(cluster_name())

    @property
    def success(self) -> bool:
        """Whether the task returned."""
        return self.native.success

    @property
    def result(self) -> Any:  # noqa: ANN401 - whatever the task returned
        """What the task returned, or its error with the traceback."""
        return value_of(self.native)

    @property
    def started(self) -> datetime:
        """When it was enqueued."""
        return _moment(self.native.enqueued)

    @property
    def stopped(self) -> datetime:
        """When its last run ended."""
        return _moment(self.native.finished)

    @property
    def attempt_count(self) -> int:
        """How many runs there were."""
        return self.native.attempts + self.native.crashes

    def time_taken(self) -> float:
        """Return the seconds from its enqueuing to its end."""
        return self.native.finished - self.native.enqueued

    def group_result(self, failures: bool = False) -> list[Any]:  # noqa: FBT001, FBT002 - Django-Q's
        """Return what the tasks of its result group returned."""
        found = app.results.fetch_group(self.group, failures=failures) if self.group else []
        return [value_of(one) for one in found]

    def group_count(self, failures: bool = False) -> int:  # noqa: FBT001, FBT002 - Django-Q's
        """Return how many tasks of its result group have ended, or with `failures` how many failed."""
        return app.results.count_group(self.group, failures=failures) if self.group else 0

    def group_delete(self, tasks: bool = False) -> int:  # noqa: FBT001, FBT002 - Django-Q's
        """Dissolve its result group, or with `tasks` delete the results; return how many there were."""
        return app.results.delete_group(self.group, tasks=tasks) if self.group else 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TaskResult) and other.native == self.native

    def __hash__(self) -> int:
        return hash(self.id)

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"<TaskResult {self.id} of {self.func}>"


def value_of(found: Result) -> Any:  # noqa: ANN401 - whatever the task returned
    """Return what Django-Q returns for a result: the value, or the error with its traceback."""
    if found.success:
        return found.value
    return f"{found.error} : {found.traceback}" if found.traceback else found.error


def _moment(seconds: float) -> datetime:
    """Return a time as Django's models do: aware, or in the site's zone without saying so."""
    made = datetime.fromtimestamp(seconds, UTC)
    return made if settings.USE_TZ else timezone.make_naive(made, timezone.get_default_timezone())
