"""The models of results: Task, Success and Failure."""

# ruff: noqa: FBT001, FBT002 - signatures are Django-Q's, positional booleans and all

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, ClassVar, Final

import attrs
from django.db import models
from django.db.models import Q
from django.utils.functional import cached_property
from django.utils.translation import gettext_lazy as _

from qcore.begun import read_result
from qcore.errors import QueueMissing
from qcore.model import State, StoredResult
from qcore_django.models import places
from qcore_django.models.computed import SignedModel, StoredManager
from qcore_django.models.conditions import wanted
from qcore_django.models.fields import EnqueuedAt, Moment, Succeeded, TaskId, is_id, moment, seconds_of
from qcore_django.results import TaskResult
from qcore_django.shared import app
from qcore_django.words import words_of
from qcore_names.resolve import imported
from qcore_values.annotations import restored

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from django.db.models.query import QuerySet

    from qcore import Result

#: results of each state that are read of a store which is not a table
NEWEST: Final = 1000
#: results among which a name is looked for that was made from an id
_SEARCHED: Final = 10_000
#: words of a name that was made from an id, and what is between them
_HYPHENS: Final = 3


class Task(SignedModel):
    """The result of a task that has ended, in the words of Django-Q."""

    SIGNED = "the signed result of a task; Task.delete_group takes results out of their group"
    #: by which group a result is found
    UNSIGNED = frozenset({"group"})

    id = TaskId(primary_key=True, editable=False, verbose_name=_("task id"))
    name = models.CharField(
        max_length=512, null=True, editable=False, db_column="label", verbose_name=_("name")
    )
    func = models.CharField(max_length=512, editable=False, db_column="name", verbose_name=_("function"))
    group = models.CharField(
        max_length=512, null=True, editable=False, db_column="grp", verbose_name=_("group")
    )
    cluster = models.CharField(max_length=80, editable=False, db_column="queue", verbose_name=_("cluster"))
    started = EnqueuedAt(editable=False, db_column="id", verbose_name=_("started at"))
    stopped = Moment(editable=False, db_column="finished", verbose_name=_("stopped at"))
    success: Any = Succeeded(editable=False, db_column="state", verbose_name=_("success"))
    expires = models.FloatField(editable=False, default=0.0)
    body = models.BinaryField(editable=False)

    objects: ClassVar[StoredManager[Any]] = StoredManager()

    #: the states of results that its objects are
    STATES: ClassVar[tuple[State, ...]] = (State.SUCCESS, State.FAILED)
    #: Callbacks of Django-Q read it; results do not have it.
    hook = None

    class Meta:
        app_label = "qcore_django"
        db_table = "qcore_result"
        managed = False
        verbose_name = _("task")
        verbose_name_plural = _("tasks")
        ordering: ClassVar = ["-stopped"]

    def __str__(self) -> str:
        return str(self.name or self.id)

    # -- where they are -------------------------------------------------------------------------

    @classmethod
    def _check_column_name_clashes(cls) -> list[Any]:
        """Let two fields read one column: an id begins with a time."""
        return []

    @classmethod
    def scoped(cls, found: QuerySet[Any]) -> QuerySet[Any]:
        """Return the results of the site's queues that have not expired."""
        alias = places.results_alias()
        if alias is not None:
            alive = Q(expires=0) | Q(expires__gt=time.time())
            found = found.using(alias).filter(places.of_queues("cluster"), alive)
        successes = [state is State.SUCCESS for state in cls.STATES]
        return (
            found.filter(success=successes[0]) if len(successes) == 1 else found.filter(success__in=successes)
        )

    @classmethod
    def stored(cls, query: Any) -> Sequence[Any] | None:  # noqa: ANN401 - a part of Django's QuerySet
        """Return what another store has: those that are asked for by id or group, or the newest."""
        if places.results_alias() is not None:
            return None
        ids, groups = wanted(query.where, "id"), wanted(query.where, "group")
        found = []
        for queue in places.queues():
            try:
                found += [cls._of(one, queue) for one in _read(queue, ids, groups) if one.state.final]
            except QueueMissing:
                continue
        return found

    @classmethod
    def left_out(cls) -> dict[str, int]:
        """Return how many results of which queues are not read, because another store has more."""
        found = {}
        for queue in places.queues() if places.results_alias() is None else ():
            try:
                with places.runtime_of(queue).stores.connection() as store:
                    counts = store.counts()
            except QueueMissing:
                continue
            found[queue] = sum(max(0, counts.get(state, 0) - NEWEST) for state in cls.STATES)
        return {queue: count for queue, count in found.items() if count > 0}

    @classmethod
    def _of(cls, one: StoredResult, queue: str) -> Any:  # noqa: ANN401 - an object of this model
        made = cls(
            id=one.id.hex(), name=one.label or words_of(one.id.hex()), func=one.name, group=one.group,
            cluster=queue, started=moment(int.from_bytes(one.id[:6], "big") / 1000),
            stopped=moment(one.finished), success=one.state is State.SUCCESS, expires=one.expires,
            body=one.body,
        )  # fmt: skip
        made._state.adding = False
        return made

    @classmethod
    def from_db(cls, db: Any, field_names: Any, values: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - Django's
        """Return an object; one without a name has four words that are made from its id."""
        made = super().from_db(db, field_names, values, **kwargs)
        if "name" in made.__dict__ and not made.name and "id" in made.__dict__:
            made.name = words_of(made.id)
        return made

    def refresh_from_db(
        self,
        using: str | None = None,
        fields: Iterable[str] | None = None,
        from_queryset: QuerySet[Any] | None = None,
    ) -> None:
        """Read it anew."""
        if from_queryset is None and "cluster" in self.__dict__:
            # The index begins with the queue.
            from_queryset = Task.objects.filter(cluster=self.cluster)
        super().refresh_from_db(using, fields, from_queryset)

    def delete(self, using: str | None = None, keep_parents: bool = False) -> tuple[int, dict[str, int]]:
        """Delete it; return how many there were, and of which model."""
        del using, keep_parents
        store_of = places.runtime_of(self.cluster)
        with store_of.stores.connection() as store:
            count = store.delete([bytes.fromhex(self.id)])
        return count, {self._meta.label: count} if count else {}

    # -- what is sealed -------------------------------------------------------------------------

    @cached_property
    def native(self) -> Result:
        """The `qcore.Result` that it shows.

        Raises:
            EnvelopeError: it was not signed with a key of this site.

        """
        state = State.SUCCESS if self.success else State.FAILED
        stored = StoredResult(bytes.fromhex(self.id), state, bytes(self.body), self.func)
        result = read_result(places.runtime_of(self.cluster), stored)
        function = None if result.value is None else imported(result.name)
        if function is None:
            return result
        return attrs.evolve(result, value=restored(function, result.value))

    @property
    def result(self) -> Any:  # noqa: ANN401 - whatever the task returned
        """What the task returned, or its error with the traceback."""
        return TaskResult(self.native).result

    @property
    def args(self) -> tuple[Any, ...] | None:
        """The positional arguments; None if they are not stored."""
        return TaskResult(self.native).args

    @property
    def kwargs(self) -> dict[str, Any] | None:
        """The keyword arguments; None if they are not stored."""
        return TaskResult(self.native).kwargs

    @property
    def attempt_count(self) -> int:
        """How many runs there were."""
        return TaskResult(self.native).attempt_count

    def time_taken(self) -> float:
        """Return the seconds from its enqueuing to its end."""
        return seconds_of(self.stopped) - seconds_of(self.started)

    # -- what Django-Q's model offers -----------------------------------------------------------

    @staticmethod
    def get_task(task_id: str) -> Any:  # noqa: ANN401 - a Task
        """Return the task of an id or a name, None if there is none."""
        if is_id(task_id) and (found := Task.objects.filter(id=task_id).first()):
            return found
        if found := Task.objects.filter(name=task_id).first():
            return found
        if str(task_id).count("-") != _HYPHENS:
            return None
        unnamed = Task.objects.filter(name=None).only("id")[:_SEARCHED]
        made = next((one for one in unnamed if words_of(one.id) == task_id), None)
        return None if made is None else Task.objects.filter(id=made.id).first()

    @staticmethod
    def get_result(task_id: str) -> Any:  # noqa: ANN401 - whatever the task returned
        """Return what the task of an id or a name returned, None if there is none."""
        found = Task.get_task(task_id)
        return None if found is None else found.result

    @staticmethod
    def get_task_group(group_id: str, failures: bool = True) -> QuerySet[Any]:
        """Return the tasks of a result group."""
        found = Task.objects.filter(group=group_id)
        return found if failures else found.filter(success=True)

    @staticmethod
    def get_result_group(group_id: str, failures: bool = False) -> list[Any]:
        """Return what the tasks of a result group returned."""
        return [one.result for one in Task.get_task_group(group_id, failures)]

    @staticmethod
    def get_group_count(group_id: str, failures: bool = False) -> int:
        """Return how many tasks of a result group have ended, or with `failures` how many failed."""
        return (Failure if failures else Task).objects.filter(group=group_id).count()

    @staticmethod
    def delete_group(group_id: str, objects: bool = False) -> int:
        """Dissolve a result group, or with `objects` delete its results; return how many there were."""
        return app.results.delete_group(group_id, tasks=objects)

    def group_result(self, failures: bool = False) -> list[Any] | None:
        """Return what the tasks of its result group returned."""
        return self.get_result_group(self.group, failures) if self.group else None

    def group_count(self, failures: bool = False) -> int | None:
        """Return how many tasks of its result group have ended, or with `failures` how many failed."""
        return self.get_group_count(self.group, failures) if self.group else None

    def group_delete(self, tasks: bool = False) -> int | None:
        """Dissolve its result group, or with `tasks` delete the results; return how many there were."""
        return self.delete_group(self.group, tasks) if self.group else None


class Success(Task):
    """A task that has returned."""

    STATES = (State.SUCCESS,)
    objects: ClassVar[StoredManager[Any]] = StoredManager()

    class Meta:
        app_label = "qcore_django"
        proxy = True
        verbose_name = _("successful task")
        verbose_name_plural = _("successful tasks")
        ordering: ClassVar = ["-stopped"]


class Failure(Task):
    """A task that has failed for good."""

    STATES = (State.FAILED,)
    objects: ClassVar[StoredManager[Any]] = StoredManager()

    class Meta:
        app_label = "qcore_django"
        proxy = True
        verbose_name = _("failed task")
        verbose_name_plural = _("failed tasks")
        ordering: ClassVar = ["-stopped"]


def _read(queue: str, ids: Sequence[Any] | None, groups: Sequence[Any] | None) -> list[StoredResult]:
    with places.runtime_of(queue).stores.connection() as store:
        if ids is not None:
            return [one for one in store.get([bytes.fromhex(id_) for id_ in ids if is_id(id_)]) if one]
        if groups is not None:
            return [one for group in groups if group is not None for one in store.group(str(group))]
        return [one for state in (State.SUCCESS, State.FAILED) for one in store.recent(state, NEWEST)]
