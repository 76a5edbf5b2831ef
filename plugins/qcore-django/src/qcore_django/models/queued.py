"""The models of messages: OrmQ and DeadLetter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from django.db import models
from django.utils.functional import cached_property
from django.utils.translation import gettext_lazy as _

from qcore.cli.dead_letter import read_arguments
from qcore.errors import DecodeError, EnvelopeError, QueueMissing
from qcore.messages.envelope import task_id
from qcore.messages.head import read_head
from qcore.model import DeadLetter as Letter
from qcore_django.models import places
from qcore_django.models.computed import SignedModel, StoredManager
from qcore_django.models.fields import LetterId, Moment, moment, seconds_of
from qcore_django.words import words_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.db.models.query import QuerySet

    from qcore.messages.envelope import Opened
    from qcore.messages.head import Head

#: dead letters of each queue that are read of a broker which has no table: brokers list the oldest first
OLDEST: Final = 1000
#: options of a task that its message has
_OPTIONS: Final = (
    "hook", "timeout", "save", "ack_failure", "max_attempts", "result_ttl", "schedule", "concurrency", "rate",
)  # fmt: skip


class Message(SignedModel):
    """A message; its arguments are decoded when they are asked for."""

    SIGNED = "a signed message; enqueue a task instead"
    #: the fields with the name of the queue and with the body
    SEALED: ClassVar[tuple[str, str]] = ("cluster", "body")

    class Meta:
        abstract = True

    @classmethod
    def scoped(cls, found: QuerySet[Any]) -> QuerySet[Any]:
        """Return those of the site's queues."""
        alias = places.queue_alias()
        return found if alias is None else found.using(alias).filter(places.of_queues(cls.SEALED[0]))

    def _sealed(self) -> tuple[str, bytes]:
        """Return the name of the queue and the body."""
        queue, body = self.SEALED
        return getattr(self, queue), bytes(getattr(self, body))

    @cached_property
    def _opened(self) -> tuple[Opened, Head] | str:
        """The verified message, or why it cannot be read."""
        queue, body = self._sealed()
        try:
            opened = places.runtime_of(queue).envelope.open(body)
            return opened, read_head(opened.head)
        except EnvelopeError as exc:
            return str(exc)

    @property
    def fault(self) -> str:
        """Why it cannot be read; empty if it can."""
        return self._opened if isinstance(self._opened, str) else ""

    @property
    def head(self) -> Head | None:
        """What is read without the arguments; None if it cannot be read."""
        return None if isinstance(self._opened, str) else self._opened[1]

    def task_id(self) -> str:
        """Return the id of the task."""
        return task_id(self._sealed()[1])

    def func(self) -> str | None:
        """Return the dotted name of the function."""
        return None if self.head is None else self.head.name

    def name(self) -> str | None:
        """Return the option `task_name`, or four words that are made from the id."""
        return None if self.head is None else self.head.label or words_of(self.task_id())

    def group(self) -> str | None:
        """Return the result group."""
        return None if self.head is None else self.head.group

    def args(self) -> Any:  # noqa: ANN401 - whatever the task is called with
        """Return the positional arguments, or why they cannot be read."""
        return self._arguments(0)

    def kwargs(self) -> Any:  # noqa: ANN401 - as above
        """Return the keyword arguments, or why they cannot be read."""
        return self._arguments(1)

    def q_options(self) -> dict[str, Any]:
        """Return the options of the task that were given."""
        found = {name: getattr(self.head, name, None) for name in _OPTIONS}
        return {name: value for name, value in found.items() if value is not None}

    def _arguments(self, part: int) -> Any:  # noqa: ANN401 - as above
        queue, body = self._sealed()
        try:
            return read_arguments(places.runtime_of(queue), Letter("", body, "", 0.0))[part]
        except (DecodeError, EnvelopeError) as exc:
            return f"({exc})"

    task_id.short_description = _("task id")  # type: ignore[attr-defined]  # the admin reads it
    func.short_description = _("function")  # type: ignore[attr-defined]  # as above
    name.short_description = _("name")  # type: ignore[attr-defined]  # as above
    group.short_description = _("group")  # type: ignore[attr-defined]  # as above
    args.short_description = _("arguments")  # type: ignore[attr-defined]  # as above
    kwargs.short_description = _("keyword arguments")  # type: ignore[attr-defined]  # as above
    q_options.short_description = _("options")  # type: ignore[attr-defined]  # as above


class OrmQ(Message):
    """A message in the queue of the key `orm`; there are none with another broker."""

    SEALED = ("key", "payload")
    #: when it may be leased is the broker's
    UNSIGNED = frozenset({"lock"})

    id = models.BigIntegerField(primary_key=True, db_column="seq", editable=False)
    key = models.CharField(max_length=80, editable=False, db_column="queue", verbose_name=_("cluster"))
    queue = models.CharField(max_length=64, editable=False, db_column="task_queue", verbose_name=_("queue"))
    priority = models.IntegerField(editable=False, verbose_name=_("priority"))
    lock = Moment(editable=False, db_column="due", verbose_name=_("locked until"))
    token = models.BigIntegerField(null=True, editable=False)
    deliveries = models.IntegerField(editable=False, verbose_name=_("deliveries"))
    failures = models.IntegerField(editable=False, verbose_name=_("failures"))
    crashes = models.IntegerField(editable=False, verbose_name=_("crashes"))
    payload = models.BinaryField(editable=False, db_column="body")

    objects: ClassVar[StoredManager[Any]] = StoredManager()

    class Meta:
        app_label = "qcore_django"
        db_table = "qcore_message"
        managed = False
        verbose_name = _("queued task")
        verbose_name_plural = _("queued tasks")
        ordering: ClassVar = ["lock", "id"]

    def __str__(self) -> str:
        return self.name() or self.task_id()

    @classmethod
    def stored(cls, query: Any) -> Sequence[Any] | None:  # noqa: ANN401 - a part of Django's QuerySet
        """Return nothing where another broker has the messages."""
        del query
        return [] if places.queue_alias() is None else None

    @property
    def task(self) -> dict[str, Any]:
        """What the message says, in the words of Django-Q."""
        if self.head is None:
            return {"id": "*" + self.fault}
        said = {"id": self.task_id(), "name": self.name(), "func": self.func(), "group": self.group()}
        return {**said, "args": self.args(), "kwargs": self.kwargs(), **self.q_options()}


class DeadLetter(Message):
    """A message that is not delivered any more, by any broker that keeps them."""

    id = LetterId(primary_key=True, db_column="seq", editable=False)
    cluster = models.CharField(max_length=80, editable=False, db_column="queue", verbose_name=_("cluster"))
    died = Moment(editable=False, verbose_name=_("dead since"))
    failures = models.IntegerField(editable=False, verbose_name=_("failures"))
    crashes = models.IntegerField(editable=False, verbose_name=_("crashes"))
    reason = models.TextField(editable=False, verbose_name=_("reason"))
    body = models.BinaryField(editable=False)

    objects: ClassVar[StoredManager[Any]] = StoredManager()

    class Meta:
        app_label = "qcore_django"
        db_table = "qcore_dead_letter"
        managed = False
        verbose_name = _("dead letter")
        verbose_name_plural = _("dead letters")
        ordering: ClassVar = ["-id"]

    def __str__(self) -> str:
        return self.name() or self.task_id() or str(self.id)

    @classmethod
    def stored(cls, query: Any) -> Sequence[Any] | None:  # noqa: ANN401 - a part of Django's QuerySet
        """Return the oldest of another broker."""
        del query
        if places.queue_alias() is not None:
            return None
        found = []
        for queue in places.queues():
            try:
                with places.runtime_of(queue).brokers.connection() as broker:
                    if broker.capabilities.dead_letters:
                        found += [cls._of(one, queue) for one in broker.dead_letters(OLDEST)]
            except QueueMissing:
                continue
        return found

    @classmethod
    def left_out(cls) -> dict[str, int]:
        """Return how many dead letters of which queues are not read, because another broker has more."""
        found = {}
        for queue in places.queues() if places.queue_alias() is None else ():
            try:
                with places.runtime_of(queue).brokers.connection() as broker:
                    count = (broker.size().dead_letters or 0) if broker.capabilities.dead_letters else 0
            except QueueMissing:
                continue
            found[queue] = count - OLDEST
        return {queue: count for queue, count in found.items() if count > 0}

    @classmethod
    def _of(cls, one: Letter, queue: str) -> DeadLetter:
        made = cls(
            id=one.id, cluster=queue, died=moment(one.dead_since), failures=one.failures,
            crashes=one.crashes, reason=one.reason, body=one.body,
        )  # fmt: skip
        made._state.adding = False
        return made

    @property
    def native(self) -> Letter:
        """The record of qcore that it shows."""
        body, died = bytes(self.body), seconds_of(self.died)
        return Letter(self.id, body, self.reason, died, self.failures, self.crashes)

    def delete(self, using: str | None = None, keep_parents: bool = False) -> tuple[int, dict[str, int]]:  # noqa: FBT001, FBT002 - Django's
        """Drop it; return how many there were, and of which model."""
        del using, keep_parents
        with places.runtime_of(self.cluster).brokers.connection() as broker:
            count = broker.delete([self.id])
        return count, {self._meta.label: count} if count else {}
