"""The backend of Django's TASKS: `qcore_django.backend.QcoreBackend`."""

# ruff: noqa: ANN401 - Django's tasks have two homes, so their types are known to none

from __future__ import annotations

import fnmatch
import os
import socket
import traceback
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from django.utils import timezone
from django.utils.module_loading import import_string

from qcore import current
from qcore.errors import NotSupported, QueueMissing, TaskNotAllowed
from qcore.model import State
from qcore.tasks.call import DEFAULT, with_options
from qcore.tasks.task import bind
from qcore_django.names import Prefix
from qcore_django.shared import app
from qcore_django.task_flags import PREFIX, TaskFlag, failed_runs, note_failure, read_flag, write_flag

try:
    from django.tasks import base, exceptions, signals
    from django.tasks.backends.base import BaseTaskBackend
    from django.utils.json import normalize_json

    InvalidTask = exceptions.InvalidTask
except ImportError:
    try:
        from django_tasks import base, exceptions, signals
        from django_tasks.backends.base import BaseTaskBackend
        from django_tasks.utils import normalize_json
    except ImportError as exc:
        msg = (
            "qcore_django.backend needs django.tasks, which Django has from version 6.0 on; with an older "
            "Django install the package django-tasks, which offers the same"
        )
        raise ImportError(msg) from exc
    InvalidTask = exceptions.InvalidTaskError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from qcore import App, Result
    from qcore.tasks.current import CurrentTask

#: the queue of Django's tasks that is the queue of the site
_OWN: Final = "default"


class QcoreBackend(BaseTaskBackend):
    """Enqueues Django's tasks with qcore; a task fails, runs again and is limited as any of the site's.

    `OPTIONS` are options of qcore's tasks, such as `{"timeout": 30, "ack_failure": True}`.
    """

    supports_defer = True
    supports_async_task = True
    supports_get_result = True
    supports_priority = False

    def __init__(self, alias: str, params: dict[str, Any]) -> None:
        super().__init__(alias, params)
        self._options = with_options(DEFAULT, self.options)

    def enqueue(self, task: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Enqueue a task and return its `TaskResult`.

        Raises:
            InvalidTask: it does not fit to this backend, or the broker cannot delay it.

        """
        self.validate_task(task)
        now = timezone.now()
        flag = TaskFlag(
            path=task.module_path,
            queue=task.queue_name,
            run_after=_text(task.run_after),
            # normalized, so what JSON cannot hold is refused here
            args=normalize_json(list(args)),
            kwargs=normalize_json(dict(kwargs)),
            enqueued=now.timestamp(),
        )
        options = with_options(self._options, {"delay": _delay(task.run_after)})
        there = self._app(task.queue_name)
        try:
            job = there.send([bind(f"{PREFIX}{task.module_path}", tuple(flag.args), flag.kwargs, options)])[0]
        except NotSupported as exc:
            raise InvalidTask(str(exc)) from exc
        result = self._find(job.id, task.queue_name) if there.config.sync else None
        if result is None:
            write_flag(there, job.id, flag)
            result = self._result(task, job.id, flag, status=base.TaskResultStatus.READY)
        signals.task_enqueued.send_robust(type(self), task_result=result)
        return result

    def get_result(self, result_id: str) -> Any:
        """Return the `TaskResult` of an id.

        Raises:
            TaskResultDoesNotExist: this backend has no such task.

        """
        for queue in sorted(self.queues or {_OWN}):
            if (found := self._find(str(result_id), queue)) is not None:
                return found
        raise exceptions.TaskResultDoesNotExist(result_id)

    def _app(self, queue: str) -> App:
        return app if queue == _OWN else app.for_cluster(queue)

    def _find(self, id: str, queue: str) -> Any:
        there = self._app(queue)
        try:
            stored = there.results.fetch(id)
        except (ValueError, QueueMissing):
            return None  # a text that is not an id, or nothing was enqueued there
        flag = read_flag(there, id)
        if stored is not None and not stored.name.startswith(PREFIX):
            return None
        if flag is None:
            if stored is None:
                return None
            flag = _flag_of(there, stored, queue)
        task = import_string(flag.path)
        changes = {"queue_name": flag.queue, "backend": self.alias}
        if flag.run_after:
            changes["run_after"] = datetime.fromisoformat(flag.run_after)
        return self._state(there, task.using(**changes), id, flag, stored)

    def _state(self, there: App, task: Any, id: str, flag: TaskFlag, stored: Result | None) -> Any:
        states = base.TaskResultStatus
        errors = [_error(path, text) for path, text in failed_runs(there, id)]
        if stored is not None and stored.state.final:
            success = stored.state is State.SUCCESS
            if not success and not errors:
                # Its worker died, or it was cancelled: nothing was raised.
                errors = [_error("qcore.errors.TaskFailed", stored.traceback or stored.error)]
            result = self._result(
                task, id, flag, stored=stored, errors=errors,
                status=states.SUCCESSFUL if success else states.FAILED,
            )  # fmt: skip
            object.__setattr__(result, "_return_value", stored.value)
            return result
        status = there.status(id)
        state = states.RUNNING if status.state in {"running", "begun"} else states.READY
        result = self._result(task, id, flag, stored=stored, status=state, errors=errors)
        if state is states.RUNNING:
            object.__setattr__(result, "started_at", _moment(status.since))
            object.__setattr__(result, "last_attempted_at", _moment(status.since))
            result.worker_ids.append(status.worker)
        return result

    def _result(
        self,
        task: Any,
        id: str,
        flag: TaskFlag,
        *,
        status: Any,
        stored: Result | None = None,
        errors: Sequence[Any] = (),
    ) -> Any:
        runs = 0 if stored is None else stored.attempts + stored.crashes
        ended = None if stored is None or not stored.state.final else _moment(stored.finished)
        begun = None if stored is None or not runs else _moment(stored.started)
        return base.TaskResult(
            task=task,
            id=id,
            status=status,
            enqueued_at=_moment(flag.enqueued),
            started_at=begun,
            finished_at=ended,
            last_attempted_at=begun,
            args=list(flag.args),
            kwargs=dict(flag.kwargs),
            backend=self.alias,
            errors=list(errors),
            worker_ids=[] if stored is None else [stored.worker] * runs,
        )

    def running(self, task: Any, me: CurrentTask, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Return the `TaskResult` of a task that runs in this process."""
        now = timezone.now().timestamp()
        flag = TaskFlag(
            path=task.module_path,
            queue=task.queue_name,
            args=list(args),
            kwargs=dict(kwargs),
            enqueued=me.enqueued,
        )
        result = self._result(task, me.id, flag, status=base.TaskResultStatus.RUNNING)
        for name in ("started_at", "last_attempted_at"):
            object.__setattr__(result, name, _moment(now))
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
        backend = task.get_backend()
        me = current()
        if me is None:
            msg = f"{self._name}: it runs as a task of qcore only; call its function instead"
            raise NotSupported(msg)
        result = backend.running(task, me, args, kwargs)
        signals.task_started.send_robust(type(backend), task_result=result)
        try:
            before = [base.TaskContext(task_result=result)] if task.takes_context else []
            value = normalize_json(task.call(*before, *args, **kwargs))
        except BaseException as exc:
            path = f"{type(exc).__module__}.{type(exc).__qualname__}"
            text = "".join(traceback.format_exception(exc))
            note_failure(app, me, path, text)
            result.errors.append(_error(path, text))
            _end(backend, result, base.TaskResultStatus.FAILED)
            raise
        object.__setattr__(result, "_return_value", value)
        _end(backend, result, base.TaskResultStatus.SUCCESSFUL)
        return value


#: every task is an attribute of it
runs = Runs(__name__, "runs")


def _end(backend: QcoreBackend, result: Any, status: Any) -> None:
    object.__setattr__(result, "status", status)
    object.__setattr__(result, "finished_at", timezone.now())
    signals.task_finished.send_robust(type(backend), task_result=result)


def _error(path: str, text: str) -> Any:
    return base.TaskError(exception_class_path=path, traceback=text)


def _flag_of(there: App, stored: Result, queue: str) -> TaskFlag:
    """Return what is known of a task from its result alone."""
    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] = {}
    if stored.arguments is not None:
        data, serializer, named = stored.arguments
        found: Any = there.runtime.results.value(serializer, data) or ()
        args, kwargs = found if named else (found, {})
    path = stored.name.removeprefix(PREFIX)
    return TaskFlag(path=path, queue=queue, args=list(args), kwargs=dict(kwargs), enqueued=stored.enqueued)


def _delay(run_after: datetime | None) -> float:
    if run_after is None:
        return 0.0
    aware = run_after if timezone.is_aware(run_after) else timezone.make_aware(run_after)
    return max(0.0, (aware - datetime.now(UTC)).total_seconds())


def _text(moment: datetime | None) -> str:
    return "" if moment is None else moment.isoformat()


def _moment(seconds: float) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if seconds else None
