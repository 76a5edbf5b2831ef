"""Defines tasks as functions with options, and jobs as their handles."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Final, Generic, ParamSpec, Protocol, Self, TypeVar, overload

from qcore.errors import TaskNameError
from qcore.tasks.call import DEFAULT, Call, Options, check_alone, merge_options, with_options
from qcore_names.identity import refuse_methods, refuse_stand_ins, spelled
from qcore_names.resolve import imported, name_of
from qcore_names.signatures import known_check
from qcore_names.unknown import SEEN, warn_of_unknown

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence
    from typing import Unpack

    from qcore.model import Result
    from qcore.runtime import Runtime
    from qcore.status import TaskStatus
    from qcore.tasks.call import Sealed
    from qcore.tasks.option_types import TaskOptions
    from qcore_names.signatures import Check

#: digits of a task's id; `bytes.fromhex` would accept fewer, and blanks
_DIGITS: Final = 32
_HEXADECIMAL: Final = frozenset("0123456789abcdefABCDEF")

_P = ParamSpec("_P")
_T = TypeVar("_T")
_R_co = TypeVar("_R_co", covariant=True)


class ReadsResults(Protocol):
    """What jobs need of `App.results`."""

    def get(self, task_id: str, wait: float = 0.0) -> Any:  # noqa: ANN401 - whatever the task returned
        """Return what a task returned."""

    def fetch(self, task_id: str, wait: float = 0.0) -> Result | None:
        """Return the whole result."""

    def fetch_many(self, task_ids: Sequence[str], wait: float = 0.0) -> list[Result | None]:
        """Return whole results."""

    async def aget(self, task_id: str, wait: float = 0.0) -> Any:  # noqa: ANN401 - as above
        """Return what a task returned."""

    async def afetch(self, task_id: str, wait: float = 0.0) -> Result | None:
        """Return the whole result."""

    def delete(self, task_id: str) -> bool:
        """Delete a result."""


class Producer(Protocol):
    """What tasks, jobs, flows and schedules need of an `App`."""

    @property
    def runtime(self) -> Runtime:
        """The assembled configuration."""

    @property
    def results(self) -> ReadsResults:
        """The results of its tasks."""

    def for_cluster(self, name: str) -> Producer:
        """Return the producer of the clusters of another name; empty = this one."""

    def send(self, calls: Sequence[Call], /) -> list[Job[Any]]:
        """Enqueue calls."""

    async def asend(self, calls: Sequence[Call], /) -> list[Job[Any]]:
        """Enqueue calls."""

    def send_flow(self, sealed: Sequence[Sealed], *, delays: bool) -> None:
        """Enqueue the first messages of a flow."""

    def cancel(self, task_id: str) -> bool:
        """Cancel a task."""

    def cancel_many(self, task_ids: Sequence[str]) -> list[bool]:
        """Cancel tasks."""

    def status(self, task_id: str) -> TaskStatus:
        """Return the state of a task."""


class Job(Generic[_R_co]):
    """A handle of one enqueued task, `Job[int]` of one that returns an int."""

    __slots__ = ("_app", "duplicate", "id")

    def __init__(self, app: Producer, id: str, *, duplicate: bool = False) -> None:
        self._app = app
        #: 32 hexadecimal digits
        self.id = id
        #: nothing was enqueued: this is a handle on the task that holds the same `unique` key
        self.duplicate = duplicate

    def result(self, wait: float = 0.0) -> _R_co:
        """Return what the task returned; see `App.results.get`."""
        value: _R_co = self._app.results.get(self.id, wait)
        return value

    def fetch(self, wait: float = 0.0) -> Result | None:
        """Return the whole `Result`; see `App.results.fetch`."""
        return self._app.results.fetch(self.id, wait)

    def delete(self) -> bool:
        """Delete the task's result; return whether there was one."""
        return self._app.results.delete(self.id)

    def cancel(self) -> bool:
        """Cancel the task; return False if it has ended already. See `App.cancel`."""
        return self._app.cancel(self.id)

    def status(self) -> TaskStatus:
        """Return the state of the task; see `App.status`."""
        return self._app.status(self.id)

    async def aresult(self, wait: float = 0.0) -> _R_co:
        """Return what the task returned, without blocking the event loop; see `result`."""
        value: _R_co = await self._app.results.aget(self.id, wait)
        return value

    async def afetch(self, wait: float = 0.0) -> Result | None:
        """Return the whole `Result`, without blocking the event loop; see `fetch`."""
        return await self._app.results.afetch(self.id, wait)

    async def acancel(self) -> bool:
        """Cancel the task, without blocking the event loop; see `cancel`."""
        import asyncio  # noqa: PLC0415 - whoever awaits this has imported it

        return await asyncio.to_thread(self.cancel)

    async def astatus(self) -> TaskStatus:
        """Return the state of the task, without blocking the event loop; see `status`."""
        import asyncio  # noqa: PLC0415 - whoever awaits this has imported it

        return await asyncio.to_thread(self.status)

    def __repr__(self) -> str:
        return f"<Job {self.id}>"


def id_of(task_id: object) -> bytes:
    """Return the bytes of a task's id.

    Raises:
        TypeError: it is not a text.
        ValueError: it does not have 32 hexadecimal digits.

    """
    if not isinstance(task_id, str):
        what_to_do = "pass its id" if isinstance(task_id, Job) else "pass 32 hexadecimal digits"
        msg = f"not a task id: {task_id!r:.80}; {what_to_do}"
        raise TypeError(msg)
    if len(task_id) != _DIGITS or not _HEXADECIMAL.issuperset(task_id):
        msg = f"not a task id: {task_id!r:.80}; pass {_DIGITS} hexadecimal digits"
        raise ValueError(msg)
    return bytes.fromhex(task_id)


class Sender(Generic[_P, _R_co]):
    """A task with options, to enqueue or to bind arguments to."""

    def __init__(self, app: Producer, function: Callable[_P, _R_co], name: str, options: Options) -> None:
        self._app = app
        self._function = function
        self.options = options
        #: dotted name by which a worker finds it
        self.name = name
        self._head = options.head(name)
        #: whether its name was seen to lead to its function, which is looked at once
        self._leads_here = False
        self._check: Check | None = None

    @overload
    def enqueue(
        self: Sender[_P, Coroutine[Any, Any, _T]], *args: _P.args, **kwargs: _P.kwargs
    ) -> Job[_T]: ...

    @overload
    def enqueue(self, *args: _P.args, **kwargs: _P.kwargs) -> Job[_R_co]: ...

    def enqueue(self, *args: _P.args, **kwargs: _P.kwargs) -> Job[Any]:
        """Enqueue the task.

        Raises:
            EncodeError: an argument cannot be serialised; the message names it.
            BackendUnavailable: the broker does not answer.
            TaskNameError: its name leads to another function by now.
            TypeError: the function does not take these arguments.

        """
        if not self._leads_here:
            self._look_at_function()
        return self._app.send([Call(self.name, args, kwargs, self.options, self._head, self._check)])[0]

    @overload
    async def aenqueue(
        self: Sender[_P, Coroutine[Any, Any, _T]], *args: _P.args, **kwargs: _P.kwargs
    ) -> Job[_T]: ...

    @overload
    async def aenqueue(self, *args: _P.args, **kwargs: _P.kwargs) -> Job[_R_co]: ...

    async def aenqueue(self, *args: _P.args, **kwargs: _P.kwargs) -> Job[Any]:
        """Enqueue the task, without blocking the event loop; see `enqueue`."""
        return (await self._app.asend([self.bind(*args, **kwargs)]))[0]

    def bind(self, *args: _P.args, **kwargs: _P.kwargs) -> Call:
        """Return a call of the task, for `App.enqueue_many`."""
        if not self._leads_here:
            self._look_at_function()
        return Call(self.name, args, kwargs, self.options, self._head, self._check)

    def using(self, **options: Unpack[TaskOptions]) -> Sender[_P, _R_co]:
        """Return this task with other options, the fields of `Options`."""
        other = Sender(self._app, self._function, self.name, with_options(self.options, options))
        other._leads_here, other._check = self._leads_here, self._check
        return other

    def _look_at_function(self) -> None:
        refuse_stand_ins(self._function, self.name)
        module, qualified = spelled(self._function)
        if module == "__main__" or self.name == f"{module}.{qualified}":
            # What another name leads to is the worker's matter.
            self._check = known_check(self._function, self.name)
        self._leads_here = True


class Task(Sender[_P, _R_co]):
    """A function that is declared as a task; calling it runs it in this process."""

    def __init__(
        self,
        app: Producer,
        function: Callable[_P, _R_co],
        name: str,
        options: Options,
        *,
        alone: bool = False,
    ) -> None:
        refuse_methods(function)
        check_alone(alone, options)
        #: of a class, but without need of an object
        self._is_static = isinstance(function, staticmethod)
        function = function.__func__ if isinstance(function, staticmethod) else function
        super().__init__(app, function, name, options)
        functools.update_wrapper(self, function)
        #: the retry policy, read by workers
        self.__qcore_retry__ = options.retry
        #: whether it may run only once, read by workers; None = see the configuration
        self.__qcore_once__ = options.at_most_once
        #: whether nothing may run beside it, read by workers
        self.__qcore_alone__ = alone
        #: how many crashes it may have, read by workers; None = see the configuration
        self.__qcore_max_crashes__ = options.max_crashes

    def __call__(self, *args: _P.args, **kwargs: _P.kwargs) -> _R_co:
        """Call the function in this process."""
        return self._function(*args, **kwargs)

    def __get__(self, instance: object, owner: type | None = None) -> Self:
        """Return the task; refuse the way through an object, which would not reach the worker."""
        qualified: str = getattr(self._function, "__qualname__", "")
        if instance is None or self._is_static or "." not in qualified.rpartition("<locals>.")[2]:
            return self
        msg = (
            f"the task {self.name!r} is reached through an object, which would not reach the worker; put "
            "@staticmethod above @app.task if it needs none, or write a function at the top level"
        )
        raise TaskNameError(msg)

    def __repr__(self) -> str:
        return f"<Task {self.name}>"


def bind(
    function: Callable[..., Any] | Sender[..., Any] | str,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    options: Options = DEFAULT,
    *,
    checked: bool = True,
) -> Call:
    """Return a call of a declared task, or of any function by object or by dotted name.

    Args:
        function: what to call.
        args: what it is given by position.
        kwargs: what it is given by name.
        options: of the call; those of a declared task hold where these are not set.
        checked: whether its arguments are compared with what the function takes when it is enqueued.

    Raises:
        TaskNameError: a worker could not import the function.

    """
    if isinstance(function, Sender):
        if not function._leads_here:  # noqa: SLF001 - of this module
            function._look_at_function()  # noqa: SLF001 - of this module
        # The declared task's own options hold where the call gives none.
        merged = function.options if options is DEFAULT else merge_options(function.options, options)
        check = function._check if checked else None  # noqa: SLF001 - of this module
        return Call(function.name, args, kwargs, merged, merged.head(function.name), check)
    name = name_of(function)
    if isinstance(function, str):
        if name not in SEEN:
            warn_of_unknown(name)
        # Undeclared, or declared by a module that this process has imported.
        found = imported(name) if checked else None
        check = known_check(found._function if isinstance(found, Task) else found, name)  # noqa: SLF001 - as above
    else:
        refuse_stand_ins(function, name)
        check = known_check(function, name) if checked else None
    return Call(name, args, kwargs, options, options.head(name), check)
