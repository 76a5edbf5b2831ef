"""The backend of Django's TASKS: `qcore_django.backend.QcoreBackend`."""

# ruff: noqa: ANN401 - Django's tasks have two homes, so their types are known to none

from __future__ import annotations

import fnmatch
import os
import socket
import traceback
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from django.core.checks import CheckMessage, Error
from django.core.exceptions import ImproperlyConfigured
from django.utils import timezone
from django.utils.module_loading import import_string

from qcore import current
from qcore.errors import NotSupported, QueueMissing, TaskNotAllowed
from qcore.tasks.call import DEFAULT, with_options
from qcore.tasks.producer import seal_calls
from qcore.tasks.task import bind
from qcore_django.names import Prefix
from qcore_django.shared import app
from qcore_django.task_flags import (
    PREFIX,
    FailedRun,
    TaskFlag,
    Using,
    note_failure,
    read_flags,
    write_flags,
)
from qcore_django.task_library import (
    BaseTaskBackend,
    InvalidTask,
    base,
    exceptions,
    normalize_json,
    signals,
    task_backends,
)
from qcore_django.task_results import as_enqueued, found_result, task_error, task_result
from qcore_queues.names import check_queue

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from qcore import App, Job, Result
    from qcore.tasks.call import Call
    from qcore.tasks.current import CurrentTask

#: options of qcore's that a task of Django's says otherwise -> how
_OTHERWISE: Final = {"delay": "run_after", "priority": "priority", "queue": "queue_name"}
#: whether a task is declared: its module may be imported before a broker answers
_DECLARING: Final[ContextVar[bool]] = ContextVar("qcore_django.declaring", default=False)


class QcoreBackend(BaseTaskBackend):
    """Enqueues Django's tasks with qcore; a task fails, runs again and is limited as any of the site's.

    `OPTIONS` are options of qcore's tasks, such as `{"timeout": 30, "ack_failure": True}`; with
    `cluster` all tasks of this backend are for other clusters than those of the site.

    Raises:
        ImproperlyConfigured: there is no such option, or its value is wrong.

    """

    supports_defer = True
    supports_async_task = True
    supports_get_result = True

    def __init__(self, alias: str, params: dict[str, Any]) -> None:
        super().__init__(alias, params)
        for name in sorted(_OTHERWISE.keys() & self.options):
            instead = f"a task says it by {_OTHERWISE[name]}="
            msg = f"TASKS[{alias!r}]: OPTIONS has {name!r}; leave it out, {instead}"
            raise ImproperlyConfigured(msg)
        try:
            options = with_options(DEFAULT, self.options)
        except (TypeError, ValueError) as exc:
            raise ImproperlyConfigured(f"TASKS[{alias!r}]: OPTIONS: {exc}") from exc
        self._cluster = options.cluster or ""
        self._options = with_options(options, {"cluster": None})

    @property
    def supports_priority(self) -> bool:
        """Whether the broker has priorities; it is asked.

        Raises:
            BackendError: it does not answer.

        """
        if _DECLARING.get():
            return True  # or refused when it is enqueued
        with self._app.runtime.brokers.connection(create=True) as broker:
            return broker.capabilities.queues and broker.capabilities.priorities > 1

    def validate_task(self, task: Any) -> None:
        """Check what a task says, and ask no server: whether the broker has queues, `enqueue` finds.

        Raises:
            InvalidTask: it does not fit to this backend.

        """
        token = _DECLARING.set(True)
        try:
            super().validate_task(task)
        finally:
            _DECLARING.reset(token)
        try:
            check_queue("queue_name", task.queue_name)
        except (TypeError, ValueError) as exc:
            raise InvalidTask(str(exc)) from exc

    def check(self, **_: Any) -> Iterator[CheckMessage]:
        """Find queues that cannot be called so."""
        for name in sorted(self.queues, key=str):
            try:
                check_queue("the name of a queue", name)
            except (TypeError, ValueError) as exc:
                yield Error(f"TASKS[{self.alias!r}]: QUEUES: {exc}", id="qcore_django.E003")

    def enqueue(self, task: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Enqueue a task and return its `TaskResult`.

        Raises:
            InvalidTask: it does not fit to this backend, or the broker cannot delay it, or has neither
                queues nor priorities.

        """
        self.validate_task(task)
        flag = TaskFlag(
            path=task.module_path,
            # normalized, so what JSON cannot hold is refused here
            args=normalize_json(list(args)),
            kwargs=normalize_json(dict(kwargs)),
            enqueued=timezone.now().timestamp(),
        )
        using = Using(task.queue_name, int(task.priority), _text(task.run_after))
        route = {"delay": _delay(task.run_after), "queue": using.queue, "priority": using.priority}
        options = with_options(self._options, route)
        try:
            there = self._app
            call = bind(f"{PREFIX}{task.module_path}", tuple(flag.args), flag.kwargs, options)
            job = self._run_here(there, call, task, flag) if there.config.sync else there.send([call])[0]
        except NotSupported as exc:
            raise InvalidTask(str(exc)) from exc
        ended = _stored(there, job.id) if there.config.sync else None
        write_flags(there, job.id, using, flag if ended is None else None)
        if ended is None:
            result = task_result(task, job.id, flag)
        else:
            result = found_result(there, task, job.id, flag, ended)
        if not there.config.sync:
            self._tell_enqueued(result)
        return result

    def _run_here(self, there: App, call: Call, task: Any, flag: TaskFlag) -> Job[Any]:
        """Run a task in this process; that it is enqueued is told before."""
        sealed = seal_calls(there.runtime, [call])
        self._tell_enqueued(task_result(task, sealed[0].message.id.hex(), flag))
        return there.send_sealed(sealed)[0]

    def _tell_enqueued(self, result: Any) -> None:
        signals.task_enqueued.send_robust(type(self), task_result=result)

    def get_result(self, result_id: str) -> Any:
        """Return the `TaskResult` of an id.

        Raises:
            TaskResultDoesNotExist: this backend has no such task, or the task cannot be imported here.

        """
        if (found := self._find(str(result_id))) is None:
            raise exceptions.TaskResultDoesNotExist(result_id)
        return found

    @property
    def _app(self) -> App:
        return app.for_cluster(self._cluster) if self._cluster else app

    def _find(self, id: str) -> Any:
        there = self._app
        try:
            stored = _stored(there, id)
        except ValueError:
            return None  # a text that is not an id
        if stored is not None and not stored.name.startswith(PREFIX):
            return None
        flag, using = read_flags(there, id)
        if flag is None:
            if stored is None:
                return None
            flag = _flag_of(there, stored)
        try:
            declared = import_string(flag.path)
        except ImportError as exc:
            msg = f"{id}: its task {flag.path!r} cannot be imported any more: {exc}"
            raise exceptions.TaskResultDoesNotExist(msg) from exc
        task = as_enqueued(
            declared,
            queue_name=using.queue,
            priority=using.priority,
            run_after=datetime.fromisoformat(using.run_after) if using.run_after else None,
            backend=self.alias,
        )
        return found_result(there, task, id, flag, stored)

    def has(self, me: CurrentTask) -> bool:
        """Return whether this backend may have enqueued a task that runs."""
        return me.cluster == self._app.config.name and (not self.queues or me.queue in self.queues)

    def running(self, task: Any, me: CurrentTask, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Return the `TaskResult` of a task that runs in this process."""
        now = timezone.now()
        flag = TaskFlag(path=task.module_path, args=list(args), kwargs=dict(kwargs), enqueued=me.enqueued)
        its = as_enqueued(task, queue_name=me.queue, priority=me.priority, backend=self.alias)
        result = task_result(its, me.id, flag, status=base.TaskResultStatus.RUNNING)
        for name in ("started_at", "last_attempted_at"):
            object.__setattr__(result, name, now)
        result.worker_ids.extend([f"{socket.gethostname()}:{os.getpid()}"] * me.attempt)
        return result


class Runs(Prefix):
    """The run of one of Django's tasks; its name is `qcore_django.backend.runs` and the task's own."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the task and return what it returned, as JSON holds it."""
        allowed = app.config.tasks_allowed
        if allowed is not None and not any(fnmatch.fnmatchcase(self._name, one) for one in allowed):
            msg = f"the task {self._name!r} does not match tasks_allowed ({', '.join(allowed)})"
            raise TaskNotAllowed(msg)
        task = import_string(self._name)
        me = current()
        if me is None:
            msg = f"{self._name}: it runs as a task of qcore only; call its function instead"
            raise NotSupported(msg)
        backend = _backend_of(task, me)
        result = backend.running(task, me, args, kwargs)
        signals.task_started.send_robust(type(backend), task_result=result)
        try:
            before = [base.TaskContext(task_result=result)] if task.takes_context else []
            value = normalize_json(task.call(*before, *args, **kwargs))
        except BaseException as exc:
            path = f"{type(exc).__module__}.{type(exc).__qualname__}"
            text = "".join(traceback.format_exception(exc))
            note_failure(app, me, FailedRun(path, text, result.started_at.timestamp()))
            result.errors.append(task_error(path, text))
            _end(backend, result, base.TaskResultStatus.FAILED)
            raise
        object.__setattr__(result, "_return_value", value)
        _end(backend, result, base.TaskResultStatus.SUCCESSFUL)
        return value


#: every task is an attribute of it
runs = Runs(__name__, "runs")


def _backend_of(task: Any, me: CurrentTask) -> QcoreBackend:
    """Return what may have enqueued a task: the backend that it declares, or another of ours."""
    declared = task.get_backend()
    if isinstance(declared, QcoreBackend) and declared.has(me):
        return declared
    ours = [one for one in (declared, *task_backends.all()) if isinstance(one, QcoreBackend)]
    if not ours:
        msg = f"{task.module_path} was enqueued by a QcoreBackend, and TASKS has none any more; add it again"
        raise NotSupported(msg)
    return next((one for one in ours if one.has(me)), ours[0])


def _end(backend: QcoreBackend, result: Any, status: Any) -> None:
    object.__setattr__(result, "status", status)
    object.__setattr__(result, "finished_at", timezone.now())
    signals.task_finished.send_robust(type(backend), task_result=result)


def _stored(there: App, id: str) -> Result | None:
    try:
        return there.results.fetch(id)
    except QueueMissing:
        return None  # nothing was enqueued there


def _flag_of(there: App, stored: Result) -> TaskFlag:
    """Return what is known of a task from its result alone."""
    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] = {}
    if stored.arguments is not None:
        data, serializer, named = stored.arguments
        found: Any = there.runtime.results.value(serializer, data) or ()
        args, kwargs = found if named else (found, {})
    path = stored.name.removeprefix(PREFIX)
    return TaskFlag(path=path, args=list(args), kwargs=dict(kwargs), enqueued=stored.enqueued)


def _delay(run_after: datetime | None) -> float:
    if run_after is None:
        return 0.0
    aware = run_after if timezone.is_aware(run_after) else timezone.make_aware(run_after)
    return max(0.0, (aware - datetime.now(UTC)).total_seconds())


def _text(moment: datetime | None) -> str:
    return "" if moment is None else moment.isoformat()
