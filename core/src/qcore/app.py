"""App, tasks, jobs: what a web process imports."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from qcore.config import Config
from qcore.control_api import Steering
from qcore.errors import ImportedMainReached, NotSupported
from qcore.flows.app_api import Flowing
from qcore.results_api import Reading
from qcore.runtime import Runtime
from qcore.schedules.app_api import Scheduling
from qcore.schedules.messages import destination
from qcore.tasks.call import (
    DEFAULT,
    DJANGO_Q_OPTIONS,
    Call,
    merge_options,
    options_from_django_q,
    with_options,
)
from qcore.tasks.producer import seal_calls
from qcore.tasks.resolve import IMPORTING_MAIN, name_of
from qcore.tasks.task import Job, Sender, Task
from qcore.tasks.unique import release_keys
from qcore.validators import text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from qcore.interfaces import Broker
    from qcore.plugins import Plugins
    from qcore.schedules.app_api import Declaration
    from qcore.schedules.when import When
    from qcore.tasks.call import Options, Sealed

_P = ParamSpec("_P")
_R = TypeVar("_R")


class App(Flowing, Scheduling, Reading, Steering):
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
        self._others: dict[str, App] = {}
        self.declarations: list[Declaration] = []

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

    def of(self, cluster: str) -> App:
        """Return what speaks of another queue: same broker, store and key, another `name`.

        Raises:
            ScheduleError: there is no queue of such a name.
            NotSupported: it could not be told from this one.

        """
        if not cluster or cluster == self.config.name:
            return self
        found = self._others.get(cluster)
        if found is None:
            there = destination(self.runtime, cluster)
            app = App(there.config, plugins=self._plugins)
            app._runtimes[cluster] = there
            found = self._others.setdefault(cluster, app)
        return found

    # -- declaring ------------------------------------------------------------------------------

    @overload
    def task(self, function: Callable[_P, _R], /) -> Task[_P, _R]: ...

    @overload
    def task(
        self, /, *, name: str | None = None, schedule: When | Sequence[When] | None = None, **options: Any
    ) -> Callable[[Callable[_P, _R]], Task[_P, _R]]: ...

    def task(
        self,
        function: Callable[..., Any] | None = None,
        /,
        *,
        name: str | None = None,
        schedule: When | Sequence[When] | None = None,
        **options: Any,
    ) -> Any:
        """Declare a function as a task.

        Args:
            function: what to run.
            name: dotted name by which workers find it, if not its own.
            schedule: when it is to be run, by `cron` or `every`; a cluster that imports its
                module keeps its schedules as they stand here.
            **options: fields of `Options`.

        Raises:
            ScheduleError: its schedule is one that code cannot declare.
            TaskNameError: a worker could not import the function, or not by that name.
            TypeError: there is no such option, or its value is of a wrong type.
            ValueError: the value of an option is out of range.

        """
        made = with_options(DEFAULT, options)
        if name is not None:
            text("name", name)
            name_of(name)

        def declare(function: Callable[..., Any]) -> Task[..., Any]:
            task = Task(self, function, name or name_of(function), made)
            if schedule is not None:
                self.declare(task, schedule)
            return task

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
        timeout, task_name, broker, hook, cluster, chain) or in `q_options`. A key that `q_options`
        has is passed on to the function when it also stands among the keyword arguments.
        """
        given = dict(q_options or {})
        for key in DJANGO_Q_OPTIONS:
            if key in kwargs and key not in given:
                given[key] = kwargs.pop(key)
        broker, chain = given.pop("broker", None), given.pop("chain", None)
        call = self._bound(func, args, kwargs, options_from_django_q(given))
        if chain and broker is not None:
            msg = "async_task: broker= takes one message, and the links of chain= are enqueued by workers"
            raise NotSupported(msg)
        if chain:
            return self.chain([call, *chain]).jobs[0].id
        return self.send([call], broker=broker)[0].id

    def send(self, calls: Sequence[Call], *, broker: Broker | None = None) -> list[Job]:
        """Seal calls and hand them to the broker, or run them here where `sync` says so."""
        if IMPORTING_MAIN.get():
            raise ImportedMainReached
        for call in calls:
            if call.options.cluster is not None:
                return self._send_apart(calls, broker)
        return self._send_sealed(self, seal_calls(self.runtime, calls), broker)

    def _send_apart(self, calls: Sequence[Call], broker: Broker | None) -> list[Job]:
        """Send calls of which some are for other queues."""
        jobs: dict[int, Job] = {}
        for cluster in dict.fromkeys(call.options.cluster for call in calls):
            chosen = {n: call for n, call in enumerate(calls) if call.options.cluster == cluster}
            queue, runtime, app = self._place(cluster)
            sealed = seal_calls(runtime, list(chosen.values()), queue)
            jobs.update(zip(chosen, self._send_sealed(app, sealed, broker), strict=True))
        return [jobs[number] for number in range(len(calls))]

    def _send_sealed(self, app: App, sealed: list[Sealed], broker: Broker | None) -> list[Job]:
        wanted = [one for one in sealed if not one.skipped]
        try:
            if broker is not None:
                broker.enqueue([one.message for one in wanted])
            elif wanted:
                self._deliver(wanted)
        except Exception:
            release_keys(app.runtime, wanted)
            raise
        except BaseException:
            # Interrupted: what was to run here will not, of the others nobody knows.
            release_keys(app.runtime, [one for one in wanted if one.sync])
            raise
        if len(wanted) == len(sealed):
            return [Job(app, one.message.id.hex()) for one in sealed]
        return [Job(app, one.message.id.hex(), duplicate=one.duplicate) for one in sealed]

    def _place(self, cluster: str | None) -> tuple[str, Runtime, App]:
        """Return the queue calls are for: its name, empty if it is ours, and what speaks of it."""
        app = self.of(cluster or "")
        return "" if app is self else app.config.name, app.runtime, app

    def _send_flow(self, sealed: Sequence[Sealed], *, gathers: bool, delays: bool) -> None:
        if IMPORTING_MAIN.get():
            raise ImportedMainReached
        if not sealed:
            return
        runtime = self.runtime.of(sealed[0].queue)
        if self._deliver != self._to_broker or sealed[0].sync:
            # All at once: whoever runs them here gathers here.
            self._deliver(sealed)
            return
        if gathers:
            with runtime.stores.connection() as store:
                if store.notes is None:
                    msg = (
                        f"{type(store).__name__} cannot gather the results of a group; choose a result_store "
                        "that can, such as sqlite, or enqueue the group without a callback"
                    )
                    raise NotSupported(msg)
        with runtime.brokers.connection() as broker:
            capabilities = broker.capabilities
        if delays and not capabilities.delay:
            msg = f"{type(broker).__name__} keeps no delays; leave delay= out of the chain or group"
            raise NotSupported(msg)
        for start in range(0, len(sealed), capabilities.bulk):
            self._deliver(sealed[start : start + capabilities.bulk])

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
            merged = function.options if options is DEFAULT else merge_options(function.options, options)
            return Call(function.name, args, kwargs, merged, merged.head(function.name))
        name = name_of(function)
        return Call(name, args, kwargs, options, options.head(name))

    def _job(self, id: str) -> Job:
        return Job(self, id)

    def _to_broker(self, sealed: Sequence[Sealed]) -> None:
        queued = [one for one in sealed if not one.sync]
        if queued:
            # What is sent together is for one queue.
            brokers = self.runtime.of(queued[0].queue).brokers
            broker = brokers.take()
            try:
                broker.enqueue([one.message for one in queued])
            finally:
                brokers.give(broker)
        if len(queued) < len(sealed):
            from qcore.inline import run_inline  # noqa: PLC0415 - few producers run what they enqueue

            run_inline(self.runtime, [one for one in sealed if one.sync])

    def close(self) -> None:
        """Close connections; the next use opens them again."""
        self._others.clear()
        while self._runtimes:
            self._runtimes.popitem()[1].close()
