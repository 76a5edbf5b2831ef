"""App, tasks, jobs: what a web process imports."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from qcore.call import DEFAULT, SPECIFIED, Call, Options, evolve, laid_over, specified
from qcore.config import Config
from qcore.errors import MainReached
from qcore.inline import run_inline
from qcore.producer import seal_calls
from qcore.reading import Reading
from qcore.resolve import IMPORTING_MAIN, name_of
from qcore.runtime import Runtime
from qcore.scheduling import Scheduling
from qcore.steering import Steering
from qcore.task import Job, Sender, Task

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from qcore.call import Sealed
    from qcore.interfaces import Broker
    from qcore.plugins import Plugins

_P = ParamSpec("_P")
_R = TypeVar("_R")


class App(Scheduling, Reading, Steering):
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

    def _job(self, id: str) -> Job:
        return Job(self, id)

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

    def close(self) -> None:
        """Close connections; the next use opens them again."""
        while self._runtimes:
            self._runtimes.popitem()[1].close()
