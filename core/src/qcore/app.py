"""App: declares tasks, enqueues them, and leads to results, schedules and queue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from qcore import control_api
from qcore.async_api.app_api import EnqueuesAsync
from qcore.config import Config
from qcore.delivery import BrokerDelivery, DeliverySwitch, GivenBroker, send_apart, send_sealed
from qcore.destination import destination
from qcore.errors import ImportedMainReached, NotSupported
from qcore.flows.app_api import collect, group_of, start_chain
from qcore.plugins import Plugins
from qcore.queue_api import HasWaiting, Queue
from qcore.results_api import TaskResults
from qcore.runtime import Runtime
from qcore.scheduling import HasSchedules
from qcore.tasks.call import DEFAULT, Call, with_options
from qcore.tasks.django_q import lift_options, options_from_django_q
from qcore.tasks.producer import check_repetition, seal_calls
from qcore.tasks.task import Job, Sender, Task, bind
from qcore_names.identity import DeclaredNames
from qcore_names.resolve import IMPORTING_MAIN, name_of
from qcore_process.worker_hooks import DeclaresWorkerHooks
from qcore_values import validators

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
    from contextlib import AbstractContextManager
    from typing import Unpack

    from qcore.delivery import Delivery
    from qcore.flows.app_api import Chain, Group, Step
    from qcore.flows.handles import CallbackJob, ChainJob
    from qcore.interfaces import Broker
    from qcore.status import TaskStatus
    from qcore.tasks.call import Sealed
    from qcore.tasks.option_types import Declared
    from qcore_calendar.when import When

_P = ParamSpec("_P")
_R = TypeVar("_R")


class App(DeclaresWorkerHooks, EnqueuesAsync, HasSchedules, HasWaiting):
    """The producer's side of a queue: declares tasks, enqueues them, reads results.

    Declaring tasks does no I/O and needs no configuration. Without `config`, `Config.load()`
    is called at first use. One App serves any number of threads and survives a fork.
    """

    def __init__(self, config: Config | None = None, *, plugins: Plugins | None = None) -> None:
        self._config, self._plugins = validators.config(config, Config), plugins
        #: at most one; no lock guards it, because a fork in the middle would leave the child's locked
        self._runtimes: dict[str, Runtime] = {}
        #: shared with the Apps of other queues, which are here by name
        self._switch = DeliverySwitch()
        self._apps: dict[str, App] = {}
        self._names = DeclaredNames()
        #: what the tasks of this queue have returned
        self.results = TaskResults(self)
        #: the queue itself: how many messages there are, pausing, purging
        self.queue = Queue(self)

    @property
    def config(self) -> Config:
        """The configuration, loaded at first use."""
        if self._config is None:
            self._plugins = self._plugins or Plugins.discover()
            self._config = Config.load(plugins=self._plugins)
        return self._config

    @property
    def plugins(self) -> Plugins | None:
        """The plugins it was given, or has found; None = it has not looked for them yet."""
        return self._plugins

    @property
    def runtime(self) -> Runtime:
        """The assembled configuration."""
        found = self._runtimes.get(self.config.name)
        # Of several threads that are first, one has its runtime kept, and all use that one.
        return found or self._runtimes.setdefault(self.config.name, Runtime(self.config, self._plugins))

    def for_cluster(self, name: str) -> App:
        """Return the App of other clusters: same broker, store and key, another `name`.

        Raises:
            NotSupported: the broker cannot distinguish the two.
            ScheduleError: a cluster cannot have this name.
        """
        if not name or name == self.config.name:
            return self
        found = self._apps.get(name)
        if found is None:
            runtime = destination(self.runtime, name)
            app = App(runtime.config, plugins=self._plugins)
            app._runtimes[name] = runtime
            app._switch, app._apps = self._switch, self._apps
            self._apps.setdefault(self.config.name, self)
            found = self._apps.setdefault(name, app)
        return found

    def close(self) -> None:
        """Close connections; the next use opens them again."""
        self._apps.clear()
        while self._runtimes:
            self._runtimes.popitem()[1].close()

    @overload
    def task(self, function: Callable[_P, _R], /) -> Task[_P, _R]: ...

    @overload
    def task(self, /, **options: Unpack[Declared]) -> Callable[[Callable[_P, _R]], Task[_P, _R]]: ...

    def task(
        self,
        function: Callable[..., Any] | None = None,
        /,
        *,
        name: str | None = None,
        schedule: When | Sequence[When] | None = None,
        alone: bool = False,
        **options: Any,
    ) -> Any:
        """Declare a function as a task.

        Args:
            function: what to run.
            name: dotted name by which workers find it, if not its own.
            schedule: when to run it, by `cron` or `every`; a cluster that imports its module
                keeps the schedules as they are declared here.
            alone: nothing runs beside it in its worker.
            **options: fields of `Options`.

        Raises:
            ScheduleError: its schedule is one that code cannot declare.
            TaskNameError: a worker could not import the function, or not by that name.
            TypeError: there is no such option, or its value is of a wrong type.
            ValueError: the value of an option is out of range.
        """
        made = with_options(DEFAULT, options)
        check_repetition(self._config, made)
        if name is not None:
            validators.text("name", name)
            name_of(name)

        def declare(function: Callable[..., Any]) -> Task[..., Any]:
            task = Task(self, function, name or name_of(function), made, alone=alone)
            self._names.add(task.name, function)
            if schedule is not None:
                self.declared_schedules.add(task, schedule)
            return task

        return declare if function is None else declare(function)

    # -- enqueuing ------------------------------------------------------------------------------

    @overload
    def enqueue(
        self, function: Sender[_P, Coroutine[Any, Any, _R]], /, *args: _P.args, **kwargs: _P.kwargs
    ) -> Job[_R]: ...

    @overload
    def enqueue(self, function: Sender[_P, _R], /, *args: _P.args, **kwargs: _P.kwargs) -> Job[_R]: ...

    @overload
    def enqueue(self, function: Callable[_P, Any], /, *args: _P.args, **kwargs: _P.kwargs) -> Job[Any]: ...

    @overload
    def enqueue(self, function: str, /, *args: Any, **kwargs: Any) -> Job[Any]: ...

    def enqueue(
        self, function: Callable[..., Any] | Sender[..., Any] | str, /, *args: Any, **kwargs: Any
    ) -> Job[Any]:
        """Enqueue a call of any importable function, by object or by dotted name."""
        return self.send([bind(function, args, kwargs)])[0]

    def enqueue_many(self, calls: Iterable[Call]) -> list[Job[Any]]:
        """Enqueue many bound tasks in one round trip; all are accepted, or none."""
        return self.send(validators.calls(calls, Call))

    def async_task(
        self,
        func: Callable[..., Any] | Sender[..., Any] | str,
        /,
        *args: Any,
        q_options: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> str:
        """Enqueue a call and return its id, as `async_task` of Django-Q does.

        Options are given among the keyword arguments (group, save, sync, cached, ack_failure,
        timeout, task_name, broker, hook, cluster, chain) or in `q_options`. A key that `q_options`
        has is passed on to the function when it is also among the keyword arguments.
        """
        given, kwargs = lift_options(q_options, kwargs)
        broker, chain = given.pop("broker", None), given.pop("chain", None)
        call = bind(func, args, kwargs, options_from_django_q(given), checked=False)
        if chain and broker is not None:
            msg = "async_task: broker= takes one message, and the links of chain= are enqueued by workers"
            raise NotSupported(msg)
        if chain:
            return self.chain([call, *chain]).jobs[0].id
        return self.send([call], broker)[0].id

    def chain(self, steps: Iterable[Step] | Chain, *, pipe_result: bool = False) -> ChainJob:
        """Run steps one after the other; each is enqueued when the step before has ended.

        A step that fails for good ends the chain, unless it has the option `continue_on_failure`:
        the handle then fails and says where. Each step that ran has a result of its own.

        Args:
            steps: bound tasks, or functions by object or name, or (function, args, kwargs); or a
                `Chain` of them.
            pipe_result: each step is given what the step before returned, as its first argument;
                after one that failed, None.

        Raises:
            EncodeError: an argument cannot be serialised; the message names it.
            NotSupported: they are for several queues.
            TypeError, ValueError: a step is enqueued already or a chain, or there are no steps.
        """
        return start_chain(self, steps, pipe_result=pipe_result)

    def group(self, members: Iterable[Step | Chain | list[Any]]) -> Group:
        """Return a group of tasks, which are enqueued together and may have a callback.

        It has nothing to do with the option `group`, which names a result group.

        Args:
            members: bound tasks, or functions by object or name, or (function, args, kwargs); a
                list of these, or a `Chain`, is a chain.

        """
        return group_of(self, members)

    def iter(
        self, function: Callable[..., Any] | Sender[..., Any] | str, args: Iterable[Any], /, **options: Any
    ) -> CallbackJob:
        """Call a function once for each item; the result is the list of what the calls returned.

        Args:
            function: what to call; a declared task keeps its options.
            args: for each call a tuple of arguments, or a single one.
            **options: of the collected result, fields of `Options`.

        Raises:
            EncodeError: an argument cannot be serialised; the message names it.
        """
        return collect(self, function, args, options)

    def cancel(self, task_id: str) -> bool:
        """Cancel a task; return False if it has ended already, or if there is no such task.

        - A task in the queue is removed, if the broker can do that, and has failed when this returns.
        - In a running task `TaskCancelled` is raised within two seconds. If it has not ended a
          second later, its worker is killed. A task that returns all the same has succeeded.
        - A task that a worker holds but has not begun, or that the broker cannot remove, is flagged
          for a day: it is cancelled after 0.3 seconds of running. A shorter run comes to its end.

        The result has the state FAILED and the kind `cancelled`; no other attempt follows. An
        unknown id is flagged as well, because the task may be a follow-up that is enqueued later.

        Raises:
            ValueError: this is not a task id.
        """
        return self.cancel_many([task_id])[0]

    def cancel_many(self, task_ids: Sequence[str]) -> list[bool]:
        """Cancel tasks in as few steps as the broker allows; see `cancel` for each."""
        return control_api.cancel(self.runtime, task_ids)

    def status(self, task_id: str) -> TaskStatus:
        """Return how far a task has come.

        - `running` is known about a second after the start, from what its cluster publishes, and
          never if the broker keeps no status.
        - `queued` means that no result is stored, that no cluster says it runs, and that its message
          is in the queue: it waits, or has just begun.
        - `unknown` means that neither a message nor a result is there: there never was such a task,
          or its result was not stored, has expired or was deleted.
        - A broker that cannot find a message by its id has `queued` while there is any message.

        Raises:
            ValueError: this is not a task id.
        """
        return control_api.status(self.runtime, task_id)

    # -- delivering -----------------------------------------------------------------------------

    def send(self, calls: Sequence[Call], broker: Broker | None = None) -> list[Job[Any]]:
        """Seal calls and deliver them."""
        if IMPORTING_MAIN.get():
            raise ImportedMainReached
        for call in calls:
            if (name := call.options.cluster) and name != self.config.name:
                return send_apart(lambda name, some: self.for_cluster(name).send(some, broker), calls)
        return self.send_sealed(seal_calls(self.runtime, calls), broker)

    def send_sealed(self, sealed: Sequence[Sealed], broker: Broker | None = None) -> list[Job[Any]]:
        """Deliver sealed messages of this queue, those that no hook has skipped."""
        return send_sealed(self, self._switch.delivery if broker is None else GivenBroker(broker), sealed)

    def send_flow(self, sealed: Sequence[Sealed], *, delays: bool) -> None:
        """Deliver the first messages of a chain or of a group of tasks."""
        if IMPORTING_MAIN.get():
            raise ImportedMainReached
        if sealed:
            self._switch.delivery.deliver_flow(self.runtime, sealed, delays=delays)

    @property
    def delivers_to_broker(self) -> bool:
        """Whether messages go to the broker, and not to a test."""
        return isinstance(self._switch.delivery, BrokerDelivery)

    def deliver_to(self, delivery: Delivery) -> AbstractContextManager[None]:
        """Have `delivery` take what this App, and those of its other queues, enqueue in this block."""
        return self._switch.to(delivery)
