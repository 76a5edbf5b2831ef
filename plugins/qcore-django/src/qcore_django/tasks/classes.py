"""What the classes of Django-Q become."""

# ruff: noqa: FBT001, FBT002, PLR0917 - signatures are Django-Q's, positional booleans and all

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qcore_django.tasks import calls, reading

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from qcore.flows.handles import ChainJob
    from qcore_django.results import TaskResult


class AsyncTask:
    """A call that `run` enqueues; what is changed later counts for the next run."""

    def __init__(self, func: Callable[..., Any] | str, *args: Any, **kwargs: Any) -> None:
        self.func = func
        self.args = args
        self.kwargs = kwargs
        self.id: str = ""
        self.started = False

    def run(self) -> str:
        """Enqueue it and return its id."""
        self.id = calls.async_task(self.func, *self.args, **self.kwargs)
        self.started = True
        return self.id

    def result(self, wait: float = 0) -> Any:  # noqa: ANN401 - whatever the task returned
        """Return what it returned; None if it was not run or has not ended."""
        return reading.result(self.id, wait, self.cached) if self.started else None

    def fetch(self, wait: float = 0) -> TaskResult | None:
        """Return its whole result; None if it was not run or has not ended."""
        return reading.fetch(self.id, wait, self.cached) if self.started else None

    def result_group(self, failures: bool = False, wait: float = 0, count: int | None = None) -> Any:  # noqa: ANN401 - as above
        """Return what the tasks of its result group returned."""
        if not self.started or not self.group:
            return None
        return reading.result_group(self.group, failures, wait, count, self.cached)

    def fetch_group(self, failures: bool = True, wait: float = 0, count: int | None = None) -> Any:  # noqa: ANN401 - as above
        """Return the whole results of its result group."""
        if not self.started or not self.group:
            return None
        return reading.fetch_group(self.group, failures, wait, count, self.cached)

    def _option(self, key: str) -> Any:  # noqa: ANN401 - an option of any type
        return self.kwargs.get("q_options", self.kwargs).get(key)

    def _set_option(self, key: str, value: object) -> None:
        if "q_options" in self.kwargs:
            self.kwargs["q_options"] = {**self.kwargs["q_options"], key: value}
        else:
            self.kwargs[key] = value
        self.started = False

    @property
    def broker(self) -> Any:  # noqa: ANN401 - an option
        """What enqueues it; None = the broker of the site."""
        return self._option("broker")

    @broker.setter
    def broker(self, value: object) -> None:
        self._set_option("broker", value)

    @property
    def group(self) -> Any:  # noqa: ANN401 - an option
        """The result group its result belongs to."""
        return self._option("group")

    @group.setter
    def group(self, value: str) -> None:
        self._set_option("group", value)

    @property
    def sync(self) -> Any:  # noqa: ANN401 - an option
        """Whether it is run in this process."""
        return self._option("sync")

    @sync.setter
    def sync(self, value: bool) -> None:
        self._set_option("sync", value)

    @property
    def save(self) -> Any:  # noqa: ANN401 - an option
        """Whether its result is stored."""
        return self._option("save")

    @save.setter
    def save(self, value: bool) -> None:
        self._set_option("save", value)

    @property
    def hook(self) -> Any:  # noqa: ANN401 - an option
        """What is called with its result."""
        return self._option("hook")

    @hook.setter
    def hook(self, value: Callable[..., Any] | str) -> None:
        self._set_option("hook", value)

    @property
    def cached(self) -> Any:  # noqa: ANN401 - an option
        """For how many seconds the cache keeps its result, True = for ever."""
        return self._option("cached")

    @cached.setter
    def cached(self, value: bool | float) -> None:
        self._set_option("cached", value)


class Iter:
    """Calls of one function that run together."""

    def __init__(
        self,
        func: Callable[..., Any] | str | None = None,
        args: Iterable[Any] | None = None,
        kwargs: dict[str, Any] | None = None,
        cached: bool | float | None = None,
        sync: bool | None = None,
        broker: object = None,
    ) -> None:
        self.func = func
        self.args = list(args or ())
        self.kwargs = dict(kwargs or {})
        self.cached = cached
        self.sync = sync
        self.broker = broker
        self.id: str = ""
        self.started = False

    def append(self, *args: Any) -> int:
        """Add a call; return how many there are."""
        self.args.append(args)
        self.started = False
        return self.length()

    def run(self) -> str:
        """Enqueue the calls and return the id of their one result.

        Raises:
            ValueError: it has no function.

        """
        if self.func is None:
            msg = "this Iter has no function to call; give it one, as Iter(func) or in its attribute func"
            raise ValueError(msg)
        given = {"cached": self.cached, "sync": self.sync, "broker": self.broker}
        options = {key: value for key, value in given.items() if value is not None}
        self.id = calls.async_iter(self.func, self.args, **{**self.kwargs, **options})
        self.started = True
        return self.id

    def result(self, wait: float = 0) -> Any:  # noqa: ANN401 - whatever the tasks returned
        """Return the list of what they returned; None if not all have ended."""
        return reading.result(self.id, wait, self.cached) if self.started else None

    def fetch(self, wait: float = 0) -> TaskResult | None:
        """Return the result that holds the list."""
        return reading.fetch(self.id, wait, self.cached) if self.started else None

    def length(self) -> int:
        """Return how many calls there are."""
        return len(self.args)


class Chain:
    """Calls that run one after the other."""

    def __init__(
        self,
        chain: Sequence[Any] | None = None,
        group: str | None = None,
        cached: bool | float | None = None,
        sync: bool | None = None,
        broker: object = None,
    ) -> None:
        self.chain = list(chain or ())
        self.group = group or ""
        self.cached = cached
        self.sync = sync
        self.broker = broker
        self.started = False
        #: its last run
        self._job: ChainJob | None = None

    def append(self, func: Callable[..., Any] | str, *args: Any, **kwargs: Any) -> int:
        """Add a call with its options, as `async_task` takes them; return how many there are.

        Results of an earlier run leave the group.
        """
        self.chain.append((func, args, kwargs))
        if self.started:
            reading.delete_group(self.group, cached=self.cached)
            self.started = False
        return self.length()

    def run(self) -> str:
        """Enqueue the first call and return the name of the result group."""
        options = {"cached": self.cached, "sync": self.sync, "broker": self.broker}
        self.group, self._job = calls.chained(self.chain, self.group, options)
        self.started = True
        return self.group

    def result(self, wait: float = 0) -> Any:  # noqa: ANN401 - whatever the tasks returned
        """Return what the calls returned, when all have ended, one has failed, or `wait` is over."""
        found = self.fetch(failures=False, wait=wait)
        return None if found is None else [one.result for one in found]

    def fetch(self, failures: bool = True, wait: float = 0) -> list[TaskResult] | None:
        """Return the whole results; see `result`."""
        if not self.started or self._job is None:
            return None
        # A link that fails ends the chain, and the last link then has a result that says so.
        reading.fetch(self._job.id, wait, self.cached)
        return reading.fetch_group(self.group, failures=failures, cached=self.cached)

    def current(self) -> int | None:
        """Return how many calls have ended, None before it is run."""
        return reading.count_group(self.group, cached=self.cached) if self.started else None

    def length(self) -> int:
        """Return how many calls there are."""
        return len(self.chain)
