"""Decides how all tasks with one head are run."""

from __future__ import annotations

import inspect
import logging
from copy import copy
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import attrs
import msgspec

from qcore.errors import TaskNotFound
from qcore.messages.head import encode_head, read_head
from qcore.messages.workflow import COLLECTED
from qcore.model import TaskInfo
from qcore.settle import DEFAULT_MAX_DELAY, Retry, Rules, exception_name
from qcore.tasks.limits import limit_of
from qcore_names.resolve import resolve
from qcore_queues.names import DEFAULT_QUEUE
from qcore_reports.tracebacks import format_error
from qcore_values.annotations import convert_arguments, declared_result

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from qcore.journal.records import HeldMessage
    from qcore.messages.envelope import Opened
    from qcore.messages.head import Head

_log = logging.getLogger("qcore.worker")

#: Most plans that a worker caches. Tasks with the same options have equal heads; a producer that gives
#: every task its own group only causes more planning.
_PLANS: Final = 1024
_NANO: Final = 1_000_000_000
#: what a function decides
_FOUND: Final = ("rules", "on", "once", "max_crashes", "is_async", "alone", "special", "convert", "call")


class TaskPlan:
    """Everything that is equal for all messages with one head."""

    __slots__ = (
        "_ahead",
        "_allowed",
        "alone",
        "call",
        "convert",
        "fault",
        "found",
        "head",
        "hooked",
        "is_async",
        "limit",
        "max_crashes",
        "missing",
        "name",
        "on",
        "once",
        "rules",
        "save",
        "seconds",
        "slow",
        "special",
        "successes",
        "timeout",
    )

    def __init__(self, head: Head, rules: Rules, allowed: Sequence[str] | None) -> None:
        self.head = head
        #: the task has a callback
        self.hooked = head.hook is not None
        self._allowed = allowed
        #: what the name meant when the function was last searched, and before workers were forked
        self.found: object = None
        self._ahead: TaskPlan | None = None
        self.name = head.name
        self.rules = rules
        #: its concurrency and rate limit; None = no limit
        self.limit = limit_of(head)
        #: nanoseconds, 0 = none
        self.timeout = 0
        #: whether a success is stored
        self.save = True
        #: the function, None until `find` has found it
        self.call: Callable[..., Any] | None = None
        #: converts decoded arguments to the annotated types; None = nothing to convert
        self.convert: Callable[..., tuple[Sequence[Any], Mapping[str, Any]]] | None = None
        self.is_async = False
        #: nothing runs beside it in its worker
        self.alone = False
        #: it is acknowledged before it begins
        self.once = False
        #: crashes that its declaration allows, where its message does not say; None = see `rules`
        self.max_crashes: int | None = None
        #: it has a limit, is acknowledged before it begins, has `max_crashes` or is asynchronous
        self.special = self.limit is not None
        #: names of exceptions after which the task is retried; None = every exception
        self.on: frozenset[str] | None = None if head.on is None else frozenset(head.on)
        #: runs that succeeded and how long they took, until they are counted in the journal
        self.successes = 0
        self.seconds = 0.0
        #: the seconds of those of them that are placed in a histogram one by one
        self.slow: list[float] = []
        #: why the function cannot be called; "" if it can, or was not searched yet
        self.fault = ""
        #: the name does not exist; False if importing its module raised an error
        self.missing = False

    def find(self) -> None:
        """Find the function, which may import a user's module; set `call` or `fault`."""
        self.fault, self.missing = "", False
        try:
            found = resolve(self.name, None if self.name == COLLECTED else self._allowed)
        except BaseException as exc:  # noqa: BLE001 - importing a module may raise anything
            self.fault = format_error(exc)
            own = exc.__cause__ is not None and not isinstance(exc.__cause__, ModuleNotFoundError)
            self.missing = isinstance(exc, TaskNotFound) and not own
            return
        ahead, self.found = self._ahead, found
        if ahead is not None and ahead.found is found:
            for name in _FOUND:
                setattr(self, name, getattr(ahead, name))
            return
        # A declared task has its function and its policy; anything else is called as it is.
        function = getattr(found, "__wrapped__", found) if hasattr(found, "__qcore_retry__") else found
        policy: Retry | None = getattr(found, "__qcore_retry__", None)
        if policy is not None and self._has_no_retry_options():
            # Enqueued by its dotted name, so the producer did not know the task's policy.
            self._follow(policy)
        # What is declared here holds for who enqueues it by its dotted name, too.
        if self.head.at_most_once is None:
            declared: bool | None = getattr(found, "__qcore_once__", None)
            self.once = self.once if declared is None else declared
            if self.once and declared is None and policy is not None and policy.max_attempts != 1:
                text = (
                    "task %s: at_most_once of the configuration excludes its %r; give it at_most_once=False"
                )
                _log.warning("%s, or leave one of the two out", text % (self.name, policy))
        if self.head.max_crashes is None:
            self.max_crashes = getattr(found, "__qcore_max_crashes__", None)
            if self.max_crashes is not None:
                self.rules = attrs.evolve(self.rules, max_crashes=self.max_crashes)
        # An object with an asynchronous __call__ is called as a coroutine function is.
        self.is_async = any(map(inspect.iscoroutinefunction, (function, type(function).__call__)))
        self.alone = bool(getattr(found, "__qcore_alone__", False))
        has_rules = self.limit is not None or self.once or self.max_crashes is not None
        self.special = has_rules or self.is_async
        self.convert = convert_arguments(function)
        self.call = function

    def find_ahead(self) -> None:
        """Do the work of `find` before workers are forked: it takes as long as a hundred short tasks."""
        ahead = copy(self)
        ahead.find()
        self._ahead = ahead

    def with_head(self, head: Head) -> TaskPlan:
        """Return the same plan for a head that has other headers, with nothing counted."""
        plan = copy(self)
        plan.head, plan.successes, plan.seconds, plan.slow = head, 0, 0.0, []
        return plan

    def task_info(
        self,
        message: Opened | HeldMessage,
        attempt: int,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] = MappingProxyType({}),
    ) -> TaskInfo:
        """Return what hooks and error reporters see of a message with this head."""
        head = self.head
        return TaskInfo(
            id=message.id.hex(),
            name=head.name,
            args=tuple(args),
            kwargs=kwargs,
            group=head.group,
            label=head.label,
            timeout=self.timeout / _NANO or None,
            headers=head.headers or {},
            enqueued=message.created / 1000,
            attempt=attempt,
            schedule=head.schedule,
            queue=head.queue or DEFAULT_QUEUE,
            priority=head.priority or 0,
        )

    def declared(self, value: object) -> object:
        """Return what a result that cannot be written becomes by the function's annotation."""
        return value if self.call is None else declared_result(self.call, value)

    def is_retryable(self, exc: BaseException) -> bool:
        """Return whether the policy retries after this exception."""
        if self.on is None:
            return True
        return any(
            name in self.on
            for kind in type(exc).__mro__
            for name in (exception_name(kind), kind.__qualname__)
        )

    def _has_no_retry_options(self) -> bool:
        head = self.head
        said = (head.max_attempts, head.backoff, head.max_delay, head.jitter, head.on)
        return all(one is None for one in said)

    def _follow(self, policy: Retry) -> None:
        names = policy.names()
        self.on = None if names is None else frozenset(names)
        self.rules = attrs.evolve(
            self.rules,
            max_attempts=self.rules.max_attempts if policy.max_attempts is None else policy.max_attempts,
            backoff=policy.backoff,
            max_delay=policy.max_delay,
            jitter=policy.jitter,
        )


class Planner:
    """Creates and caches the plans of heads."""

    def __init__(
        self,
        rules: Rules,
        *,
        timeout: float | None,
        save: bool,
        allowed: Sequence[str] | None,
        once: bool = False,
    ) -> None:
        self.rules = rules
        self._once = once
        self._timeout = timeout
        self._save = save
        self._allowed = allowed
        self._plans: dict[bytes, TaskPlan] = {}
        #: the first plan of heads that differ in their headers alone, by the head without them
        self._bare: dict[bytes, TaskPlan] = {}
        #: returns a cached plan or None; the worker calls it directly
        self.cached = self._plans.get

    def plan(self, head: bytes) -> TaskPlan:
        """Return the plan for a verified head; its function is searched when a task runs.

        Raises:
            MalformedMessage: the head is not of a known version.

        """
        plan = self._plans.get(head)
        if plan is None:
            plan = self._plan(head)
            if len(self._plans) >= _PLANS:
                self._plans.clear()
            self._plans[head] = plan
        return plan

    def _plan(self, data: bytes) -> TaskPlan:
        """Return a new plan, like one whose head differs in its headers alone if there is one.

        With tracing each message has headers of its own, and finding a function takes long.
        """
        head = read_head(data)
        bare = encode_head(msgspec.structs.replace(head, headers=None)) if head.headers else data
        like = self._bare.get(bare)
        if like is not None and like.call is not None:
            return like.with_head(head)
        plan = self.build(head)
        if len(self._bare) >= _PLANS:
            self._bare.clear()
        self._bare[bare] = plan
        return plan

    def build(self, head: Head) -> TaskPlan:
        """Return a new plan without a function, which is enough to settle a task of a dead worker."""
        ours = self.rules
        plan = TaskPlan(
            head,
            Rules(
                max_attempts=ours.max_attempts if head.max_attempts is None else head.max_attempts,
                ack_failures=ours.ack_failures if head.ack_failure is None else head.ack_failure,
                max_crashes=ours.max_crashes if head.max_crashes is None else head.max_crashes,
                retry=ours.retry,
                backoff=head.backoff,
                max_delay=DEFAULT_MAX_DELAY if head.max_delay is None else head.max_delay,
                jitter=bool(head.jitter),
                max_deliveries=ours.max_deliveries,
                redelivers=ours.redelivers,
            ),
            self._allowed,
        )
        seconds = self._timeout if head.timeout is None else head.timeout
        plan.timeout = int(seconds * _NANO) if seconds else 0
        plan.once = self._once if head.at_most_once is None else head.at_most_once
        plan.special = plan.special or plan.once
        plan.save = self._save if head.save is None else head.save
        return plan
