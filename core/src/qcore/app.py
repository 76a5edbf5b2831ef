"""App, tasks, jobs: what a web process imports."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from qcore.call import DEFAULT, SPECIFIED, Call, Options, evolve, laid_over, specified
from qcore.config import Config
from qcore.errors import MainReached, ResultNotReady, TaskFailed
from qcore.model import State
from qcore.producer import run_inline, seal_calls
from qcore.resolve import IMPORTING_MAIN, name_of
from qcore.runtime import Runtime
from qcore.task import Job, Sender, Task
from qcore.timetable import Plan, Timetable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime, timedelta

    from qcore.call import Sealed
    from qcore.interfaces import Broker
    from qcore.model import QueueSize, Result, Schedule
    from qcore.plugins import Plugins

_P = ParamSpec("_P")
_R = TypeVar("_R")


class App:
    """The producer's side of a queue: declares tasks, enqueues them, reads results.

    Declaring tasks does no I/O and needs no configuration. Without `config`, `Config.load()`
    is called at first use. One App serves any number of threads and survives a fork.
    """

    def __init__(self, config: Config | None = None, *, plugins: Plugins | None = None) -> None:
        self._config = config
        self._plugins = plugins
        #: at most one; no lock guards it, for a fork in the middle would leave the child's locked for ever
        self._runtimes: dict[str, Runtime] = {}
        self._deliver: Callable[[Sequence[Sealed]], None] = self._to_broker

    @property
    def config(self) -> Config:
        """The configuration, loaded at first use."""
        if self._config is None:
            self._config = Config.load(plugins=self._plugins)
        return self._config

    @property
    def plugins(self) -> Plugins | None:
        """The plugins it was given; None = those installed."""
        return self._plugins

    @property
    def runtime(self) -> Runtime:
        """The assembled configuration."""
        found = self._runtimes.get(self.config.name)
        # Of several threads that are first, one has its runtime kept, and all use that one.
        return found or self._runtimes.setdefault(self.config.name, Runtime(self.config, self._plugins))

    # -- declaring ------------------------------------------------------------------------------

    @overload
    def task(self, function: Callable[_P, _R], /) -> Task[_P, _R]: ...

    @overload
    def task(
        self, /, *, name: str | None = None, **options: Any
    ) -> Callable[[Callable[_P, _R]], Task[_P, _R]]: ...

    def task(
        self, function: Callable[..., Any] | None = None, /, *, name: str | None = None, **options: Any
    ) -> Any:
        """Declare a function as a task.

        Args:
            function: what to run.
            name: dotted name by which workers find it, if not its own.
            **options: fields of `Options`.

        Raises:
            TaskNameError: a worker could not import the function.

        """
        made = evolve(Options(), options)

        def declare(function: Callable[..., Any]) -> Task[..., Any]:
            return Task(self, function, name or name_of(function), made)

        return declare if function is None else declare(function)

    # -- enqueuing ------------------------------------------------------------------------------

    def enqueue(
        self, function: Callable[..., Any] | Sender[..., Any] | str, /, *args: Any, **kwargs: Any
    ) -> Job:
        """Put a call of any importable function on the queue, by object or by dotted name."""
        return self.send([self._bound(function, args, kwargs, DEFAULT)])[0]

    def enqueue_many(self, calls: Iterable[Call]) -> list[Job]:
        """Put many bound tasks on the queue in one round trip; all are accepted, or none."""
        return self.send(list(calls))

    def async_task(
        self,
        func: Callable[..., Any] | Sender[..., Any] | str,
        /,
        *args: Any,
        q_options: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> str:
        """Put a call on the queue and return its id: the call of the specification.

        Options stand among the keyword arguments (group, save, sync, cached, ack_failure,
        timeout, task_name, broker) or in `q_options`. A key that `q_options` has is passed on
        to the function when it also stands among the keyword arguments.
        """
        given = dict(q_options or {})
        for key in SPECIFIED:
            if key in kwargs and key not in given:
                given[key] = kwargs.pop(key)
        broker = given.pop("broker", None)
        call = self._bound(func, args, kwargs, specified(given))
        return self.send([call], broker=broker)[0].id

    def send(self, calls: Sequence[Call], *, broker: Broker | None = None) -> list[Job]:
        """Seal calls and hand them to the broker, or run them here where `sync` says so."""
        if IMPORTING_MAIN.get():
            raise MainReached
        sealed = seal_calls(self.runtime, calls)
        wanted = [one for one in sealed if not one.skipped]
        if broker is not None:
            broker.enqueue([one.message for one in wanted])
        elif wanted:
            self._deliver(wanted)
        return [Job(self, one.message.id.hex()) for one in sealed]

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
        function: Callable[..., Any] | Sender[..., Any] | str,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        options: Options,
    ) -> Call:
        if isinstance(function, Sender):
            # The declared task's own options hold where the call gives none.
            merged = function.options if options is DEFAULT else laid_over(function.options, options)
            return Call(function.name, args, kwargs, merged, merged.head(function.name))
        name = name_of(function)
        return Call(name, args, kwargs, options, options.head(name))

    def _to_broker(self, sealed: Sequence[Sealed]) -> None:
        queued = [one.message for one in sealed if not one.sync]
        if queued:
            brokers = self.runtime.brokers
            broker = brokers.take()
            try:
                broker.enqueue(queued)
            finally:
                brokers.give(broker)
        if len(queued) < len(sealed):
            run_inline(self.runtime, [one for one in sealed if one.sync])

    # -- scheduling -----------------------------------------------------------------------------

    def schedule(
        self,
        func: Callable[..., Any] | Sender[..., Any] | str,
        /,
        *args: Any,
        name: str | None = None,
        every: timedelta | None = None,
        cron: str | None = None,
        type: str | None = None,
        minutes: int | None = None,
        repeats: int = -1,
        next_run: datetime | float | None = None,
        time_zone: str | None = None,
        catch_up: bool | None = None,
        intended_date_kwarg: str | None = None,
        **kwargs: Any,
    ) -> Schedule:
        """Have a call enqueued again and again, by any cluster of this queue.

        A schedule of the same name is replaced; with the same rule and no `next_run` it goes on.

        Args:
            func: what to call; a declared task keeps its options.
            *args: for the function.
            name: of the schedule, unique in the queue; the task's own by default.
            every: a real cadence, whole seconds.
            cron: an expression of five fields, or six with seconds in front.
            type: once (the default), minutes, hourly, daily ... yearly or cron.
            minutes: a real cadence.
            repeats: how often; -1 = no limit, 0 = paused.
            next_run: the first slot; now by default, with cron the next time that fits.
            time_zone: whose wall clock the rule follows; the configuration's by default.
            catch_up: whether each missed slot is made up for; the configuration's by default.
            intended_date_kwarg: argument that is given the slot's time, ISO 8601.
            **kwargs: for the function.

        Raises:
            ScheduleError: there is no such rule or zone.

        """
        plan = Plan(
            name=name,
            every=every,
            cron=cron,
            type=type,
            minutes=minutes,
            repeats=repeats,
            next_run=next_run,
            time_zone=time_zone,
            catch_up=catch_up,
            date_kwarg=intended_date_kwarg,
        )
        return self._timetable.add(self._bound(func, args, kwargs, DEFAULT), plan)

    def schedules(self) -> Sequence[Schedule]:
        """Return every schedule of the queue, by name."""
        return self._timetable.all()

    def unschedule(self, name: str) -> bool:
        """Forget a schedule; return whether there was one."""
        return self._timetable.remove(name)

    def pause(self, name: str) -> Schedule:
        """Let a schedule rest until it is resumed."""
        return self._timetable.pause(name)

    def resume(self, name: str) -> Schedule:
        """Let a paused or broken schedule go on; what it missed meanwhile is not made up for."""
        return self._timetable.resume(name)

    def run_now(self, name: str) -> Job:
        """Enqueue a schedule's task now; its slots stay as they are."""
        return Job(self, self._timetable.run(name))

    def preview(self, what: str, count: int = 10, *, time_zone: str | None = None) -> list[datetime]:
        """Return the next slots of a schedule, by its name, or of a rule such as `*/5 * * * *`."""
        return self._timetable.preview(what, count, time_zone)

    @property
    def _timetable(self) -> Timetable:
        return Timetable(self.runtime)

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
        while self._runtimes:
            self._runtimes.popitem()[1].close()
