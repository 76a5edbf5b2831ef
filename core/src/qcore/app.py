"""App, tasks, jobs: what a web process imports."""

from __future__ import annotations

import functools
import os
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Generic, ParamSpec, TypeVar, overload

import attrs

from qcore.config import Config
from qcore.envelope import Head, encode_head
from qcore.errors import (
    EncodeError,
    MainReached,
    NotSupported,
    ResultNotReady,
    SkipTask,
    TaskFailed,
)
from qcore.execute import Executor, Planner
from qcore.hookspecs import EnqueueEvent
from qcore.model import Kind, Outgoing, QueueSize, Result, State
from qcore.model import Task as TaskRecord
from qcore.resolve import IMPORTING_MAIN, name_of
from qcore.runtime import Runtime
from qcore.settle import Retry, decide

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from qcore.interfaces import Broker
    from qcore.plugins import Plugins

_P = ParamSpec("_P")
_R = TypeVar("_R")


class _Unset:
    """Told nothing, where None says something."""

    def __repr__(self) -> str:
        return "UNSET"


UNSET: Final = _Unset()


@attrs.frozen(kw_only=True)
class Options:
    """How one task is to be run; what is unset is decided by the worker's configuration."""

    #: seconds before it may start
    delay: float = 0.0
    #: seconds it may run; None = no limit
    timeout: float | None | _Unset = UNSET
    retry: Retry | None = None
    #: acknowledge it even when it fails
    ack_failure: bool | None = None
    #: whether a success is stored
    save: bool | None = None
    #: seconds its result is kept; 0 = for ever
    result_ttl: float | None = None
    group: str | None = None
    #: free text kept with the result
    label: str | None = None
    #: seconds after which it is not started any more; 0 = never
    expires: float = 0.0
    #: run it in this process, now
    sync: bool | None = None

    def head(self, name: str, headers: dict[str, str] | None = None) -> bytes:
        """Return the encoded head of a message."""
        retry = self.retry
        timeout = self.timeout
        return encode_head(
            Head(
                name,
                self.label,
                self.group,
                None if isinstance(timeout, _Unset) else timeout or 0.0,
                retry.max_attempts if retry else None,
                retry.backoff if retry else None,
                retry.max_delay if retry else None,
                (retry.jitter or None) if retry else None,
                self.ack_failure,
                self.save,
                self.result_ttl,
                headers or None,
            )
        )


@attrs.frozen
class Call:
    """A task bound to its arguments, not yet enqueued."""

    name: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    options: Options
    #: the head, encoded once for all calls with these options
    head: bytes = attrs.field(repr=False)


@attrs.frozen
class Sealed:
    """A call made into a message."""

    call: Call
    message: Outgoing
    #: whether it is to be run in this process
    sync: bool


class Job:
    """A handle on one enqueued task."""

    __slots__ = ("_app", "id")

    def __init__(self, app: App, id: str) -> None:  # noqa: A002 - the field's name everywhere
        self._app = app
        #: 32 hexadecimal digits
        self.id = id

    def result(self, wait: float = 0.0) -> Any:  # noqa: ANN401 - whatever the task returned
        """Return what the task returned; see `App.result`."""
        return self._app.result(self.id, wait)

    def fetch(self, wait: float = 0.0) -> Result | None:
        """Return the whole `Result`; see `App.fetch`."""
        return self._app.fetch(self.id, wait)

    def __repr__(self) -> str:
        return f"<Job {self.id}>"


class Sender(Generic[_P, _R]):
    """A task with its options: enqueue it or bind arguments to it."""

    def __init__(self, app: App, function: Callable[_P, _R], name: str, options: Options) -> None:
        self._app = app
        self._function = function
        self._options = options
        #: dotted name by which a worker finds it
        self.name = name
        self._head = options.head(name)

    def enqueue(self, *args: _P.args, **kwargs: _P.kwargs) -> Job:
        """Put the task on the queue.

        Raises:
            EncodeError: an argument cannot be serialised; the message names it.
            BackendUnavailable: the broker does not answer.

        """
        return self._app.send([Call(self.name, args, kwargs, self._options, self._head)])[0]

    def bind(self, *args: _P.args, **kwargs: _P.kwargs) -> Call:
        """Return the task with arguments, for `App.enqueue_many`."""
        return Call(self.name, args, kwargs, self._options, self._head)

    def using(self, **options: Any) -> Sender[_P, _R]:  # noqa: ANN401 - the fields of Options
        """Return this task with other options, the fields of `Options`."""
        return Sender(self._app, self._function, self.name, _evolve(self._options, options))


class Task(Sender[_P, _R]):
    """A function declared as a task; calling it runs it here, as any function."""

    def __init__(self, app: App, function: Callable[_P, _R], name: str, options: Options) -> None:
        super().__init__(app, function, name, options)
        functools.update_wrapper(self, function)
        #: read by workers
        self.__qcore_retry__ = options.retry

    def __call__(self, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        """Call the function in this process."""
        return self._function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<Task {self.name}>"


class App:
    """The producer's side of a queue: declares tasks, enqueues them, reads results.

    Declaring tasks does no I/O and needs no configuration. Without `config`, `Config.load()`
    is called at first use. One App serves any number of threads and survives a fork.
    """

    def __init__(self, config: Config | None = None, *, plugins: Plugins | None = None) -> None:
        self._config = config
        self._plugins = plugins
        self._runtime: Runtime | None = None
        self._lock = threading.Lock()
        self._deliver: Callable[[Sequence[Sealed]], None] = self._to_broker

    @property
    def config(self) -> Config:
        """The configuration, loaded at first use."""
        if self._config is None:
            self._config = Config.load(plugins=self._plugins)
        return self._config

    @property
    def runtime(self) -> Runtime:
        """The assembled configuration."""
        if self._runtime is None:
            with self._lock:
                if self._runtime is None:
                    self._runtime = Runtime(self.config, self._plugins)
        return self._runtime

    # -- declaring ------------------------------------------------------------------------------

    @overload
    def task(self, function: Callable[_P, _R], /) -> Task[_P, _R]: ...

    @overload
    def task(
        self, *, name: str | None = None, **options: Any
    ) -> Callable[[Callable[_P, _R]], Task[_P, _R]]: ...

    def task(self, function: Any = None, /, *, name: str | None = None, **options: Any) -> Any:
        """Declare a function as a task.

        Args:
            function: what to run.
            name: dotted name by which workers find it, if not its own.
            **options: fields of `Options`.

        Raises:
            TaskNameError: a worker could not import the function.

        """
        made = _evolve(Options(), options)

        def declare(function: Callable[..., Any]) -> Task[..., Any]:
            return Task(self, function, name or name_of(function), made)

        return declare if function is None else declare(function)

    # -- enqueuing ------------------------------------------------------------------------------

    def enqueue(self, function: Callable[..., Any] | str, /, *args: Any, **kwargs: Any) -> Job:  # noqa: ANN401
        """Put a call of any importable function on the queue, by object or by dotted name."""
        return self.send([self._bound(function, args, kwargs, _DEFAULT)])[0]

    def enqueue_many(self, calls: Iterable[Call]) -> list[Job]:
        """Put many bound tasks on the queue in one round trip; all are accepted, or none."""
        return self.send(list(calls))

    def async_task(
        self,
        func: Callable[..., Any] | str,
        /,
        *args: Any,  # noqa: ANN401
        q_options: Mapping[str, Any] | None = None,
        **kwargs: Any,  # noqa: ANN401
    ) -> str:
        """Put a call on the queue and return its id: the call of the specification.

        Options stand among the keyword arguments (group, save, sync, cached, ack_failure,
        timeout, task_name, broker) or in `q_options`. A key that `q_options` has is passed on
        to the function when it also stands among the keyword arguments.
        """
        given = dict(q_options or {})
        for key in _SPECIFIED:
            if key in kwargs and key not in given:
                given[key] = kwargs.pop(key)
        broker = given.pop("broker", None)
        call = self._bound(func, args, kwargs, _specified(given))
        return self.send([call], broker=broker)[0].id

    def send(self, calls: Sequence[Call], *, broker: Broker | None = None) -> list[Job]:
        """Seal calls and hand them to the broker, or run them here where `sync` says so."""
        if IMPORTING_MAIN.get():
            raise MainReached
        sealed = self._seal(calls)
        messages = [one for one in sealed if one is not None]
        if broker is not None:
            broker.enqueue([one.message for one in messages])
        else:
            queued = [one for one in messages if not one.sync]
            if queued:
                self._deliver(queued)
            for one in messages:
                if one.sync:
                    self.run_inline([one])
        return [Job(self, one.message.id.hex() if one else "") for one in sealed]

    @contextmanager
    def delivering(self, deliver: Callable[[Sequence[Sealed]], None]) -> Iterator[None]:
        """Hand what is enqueued in this block to `deliver` instead of the broker."""
        before, self._deliver = self._deliver, deliver
        try:
            yield
        finally:
            self._deliver = before

    def _bound(
        self,
        function: Callable[..., Any] | str,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        options: Options,
    ) -> Call:
        if isinstance(function, Sender):
            # pylint: the declared task's own options hold where the call gives none
            merged = function._options if options is _DEFAULT else _over(function._options, options)  # noqa: SLF001
            return Call(function.name, args, kwargs, merged, merged.head(function.name))
        name = name_of(function)
        return Call(name, args, kwargs, options, options.head(name))

    def _seal(self, calls: Sequence[Call]) -> list[Sealed | None]:
        runtime = self.runtime
        dumps = runtime.serializer.dumps
        code = runtime.serializer.code
        seal = runtime.envelope.seal
        hooks = runtime.hooks("qcore_pre_enqueue")
        always_sync = runtime.config.sync
        now = time.time_ns() // 1_000_000
        stamp = now.to_bytes(6, "big")
        noise = os.urandom(10 * len(calls))
        sealed: list[Sealed | None] = []
        for index, call in enumerate(calls):
            # Ids are ordered by time: random keys cost a B-tree two thirds of its rate.
            id_ = stamp + noise[index * 10 : index * 10 + 10]
            head = call.head
            if hooks:
                changed = _with_headers(call, id_, now, hooks)
                if changed is None:
                    sealed.append(None)
                    continue
                head = changed
            options = call.options
            try:
                if call.kwargs:
                    arguments = dumps([list(call.args), dict(call.kwargs)])
                else:
                    arguments = dumps(list(call.args)) if call.args else b""
            except EncodeError as exc:
                msg = f"the arguments of {call.name} cannot be enqueued: {exc}"
                raise EncodeError(msg) from exc
            expires = now + int(options.expires * 1000) if options.expires else 0
            body = seal(id_, head, arguments, code, now, named=bool(call.kwargs), expires=expires)
            sync = always_sync if options.sync is None else options.sync
            sealed.append(Sealed(call, Outgoing(id_, body, options.delay), sync))
        return sealed

    def _to_broker(self, sealed: Sequence[Sealed]) -> None:
        brokers = self.runtime.brokers
        broker = brokers.take()
        try:
            broker.enqueue([one.message for one in sealed])
        finally:
            brokers.give(broker)

    def run_inline(self, sealed: Sequence[Sealed]) -> None:
        """Run messages in this process as a worker would, and store their results."""
        runtime = self.runtime
        executor = Executor(
            runtime.serializers,
            runtime.hooks("qcore_pre_execute"),
            runtime.hooks("qcore_post_execute"),
            runtime.reporters().report,
        )
        config = runtime.config
        rules = runtime.rules()
        planner = Planner(
            rules, timeout=None, save=runtime.save_successes, allowed=config.tasks_allowed
        )
        for one in sealed:
            opened = runtime.envelope.open(one.message.body)
            plan = planner.plan(opened.head)
            outcome, value = runtime.results.dump(executor.run(opened, plan, 1, 0))
            # Nobody presents it again: what failed here has failed.
            kind = Kind.UNSAVABLE if outcome.kind in {Kind.FAILURE, Kind.REJECTED} else outcome.kind
            state = decide(kind, rules).state
            if state is State.FAILED or (state is State.SUCCESS and plan.save):
                record = runtime.results.seal(
                    opened.id, plan.head, state, outcome, value, created=opened.created, attempts=1, crashes=0
                )
                with runtime.stores.lend() as store:
                    store.save([record])
        executor.close()

    # -- results --------------------------------------------------------------------------------

    def result(self, task_id: str, wait: float = 0.0) -> Any:  # noqa: ANN401 - whatever the task returned
        """Return what a task returned.

        Args:
            task_id: 32 hexadecimal digits.
            wait: most seconds to wait for it.

        Raises:
            ResultNotReady: there is no final result within that time.
            TaskFailed: the task failed for good.

        """
        result = self.fetch(task_id, wait)
        if result is None:
            msg = f"task {task_id} has no result yet after waiting {wait:g} seconds"
            raise ResultNotReady(msg)
        if result.state is State.RETRYING:
            msg = f"task {task_id} failed in attempt {result.attempts} and will run again: {result.error}"
            raise ResultNotReady(msg)
        if result.state is State.FAILED:
            msg = f"task {task_id} ({result.name}) failed: {result.error}"
            raise TaskFailed(msg, result)
        return result.value

    def fetch(self, task_id: str, wait: float = 0.0) -> Result | None:
        """Return the whole `Result` of a task, or None if there is none.

        A task that failed and will run again has one too, with the state RETRYING.

        Args:
            task_id: 32 hexadecimal digits.
            wait: most seconds to wait for a final one.

        Raises:
            BadSignature: what is stored was not written by this project.

        """
        try:
            key = bytes.fromhex(task_id)
        except ValueError as exc:
            msg = f"no task id: {task_id!r}; 32 hexadecimal digits are needed"
            raise ResultNotReady(msg) from exc
        with self.runtime.stores.lend() as store:
            stored = store.wait(key, wait) if wait > 0 else store.get([key])[0]
        return None if stored is None else self.runtime.results.read(stored)

    def queue_size(self) -> int:
        """Return how many tasks are ready to be worked on."""
        return self.sizes().ready

    def sizes(self) -> QueueSize:
        """Return how many messages are ready, leased, delayed and buried."""
        with self.runtime.brokers.lend() as broker:
            return broker.size()

    def close(self) -> None:
        """Close connections; the next use opens them again."""
        if self._runtime is not None:
            self._runtime.close()
            self._runtime = None


_DEFAULT: Final = Options()
#: the specification's options this version acts on
_SPECIFIED: Final = frozenset(
    {
        "group",
        "save",
        "sync",
        "cached",
        "ack_failure",
        "timeout",
        "task_name",
        "broker",
        "hook",
        "chain",
        "iter_count",
        "iter_cached",
        "cluster",
    }
)
_NOT_YET: Final = frozenset({"hook", "chain", "iter_count", "iter_cached", "cluster"})


def _evolve(options: Options, changes: Mapping[str, Any]) -> Options:
    try:
        return attrs.evolve(options, **changes)
    except TypeError as exc:
        known = sorted(field.name for field in attrs.fields(Options))
        wrong = sorted(set(changes) - set(known))
        msg = f"no task option {', '.join(map(repr, wrong))}; there are {', '.join(known)}"
        raise TypeError(msg) from exc


def _over(base: Options, above: Options) -> Options:
    """Return `base` with all that `above` sets."""
    changed = {
        field.name: getattr(above, field.name)
        for field in attrs.fields(Options)
        if getattr(above, field.name) != field.default
    }
    return attrs.evolve(base, **changed)


def _specified(given: dict[str, Any]) -> Options:
    """Translate the specification's options."""
    refused = sorted(key for key in given if key in _NOT_YET and given[key] not in (None, False))
    if refused:
        msg = f"async_task: the option {refused[0]!r} is not offered by this version of qcore"
        raise NotSupported(msg)
    unknown = sorted(set(given) - _SPECIFIED)
    if unknown:
        msg = f"async_task: no option {unknown[0]!r} in q_options; there are {', '.join(sorted(_SPECIFIED - _NOT_YET))}"
        raise TypeError(msg)
    changes: dict[str, Any] = {
        key: given[key] for key in ("group", "save", "sync", "ack_failure") if given.get(key) is not None
    }
    if "timeout" in given:
        # -1 was the original's way to say "no limit"
        timeout = given["timeout"]
        changes["timeout"] = None if timeout is not None and timeout < 0 else timeout
    if "task_name" in given:
        changes["label"] = given["task_name"]
    cached = given.get("cached")
    if cached is not None and cached is not False:
        changes["result_ttl"] = 0.0 if cached is True else float(cached)
    return Options(**changes)


def _with_headers(call: Call, id_: bytes, now: int, hooks: Sequence[Callable[[Any], None]]) -> bytes | None:
    """Let hooks see the task and add headers; None if one of them leaves it out."""
    timeout = call.options.timeout
    task = TaskRecord(
        id=id_.hex(),
        name=call.name,
        args=call.args,
        kwargs=call.kwargs,
        group=call.options.group,
        timeout=None if isinstance(timeout, _Unset) else timeout,
        enqueued=now / 1000,
    )
    event = EnqueueEvent(task=task, headers={})
    try:
        for hook in hooks:
            hook(event)
    except SkipTask:
        return None
    return call.options.head(call.name, event.headers) if event.headers else call.head
