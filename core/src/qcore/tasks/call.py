"""A call and its options, before it is sealed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import attrs
import msgspec

from qcore.errors import NotSupported
from qcore.messages.envelope import Head, encode_head
from qcore.tasks.resolve import name_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from qcore.model import Outgoing
    from qcore.settle import Retry


class Unset:
    """Told nothing, where None says something."""

    def __repr__(self) -> str:
        return "UNSET"


UNSET: Final = Unset()


def _at_least_one(_: object, attribute: attrs.Attribute[int], value: int) -> None:
    if value < 1:
        msg = f"{attribute.name} must be 1 or more, got {value!r}"
        raise ValueError(msg)


@attrs.frozen(kw_only=True)
class Options:
    """How one task is to be run; what is unset is decided by the worker's configuration."""

    #: seconds before it may start
    delay: float = 0.0
    #: seconds it may run; None = no limit
    timeout: float | Unset | None = UNSET
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
    #: called with the final `Result`: a function, or its dotted name
    hook: Callable[..., Any] | str | None = None
    #: queue it is put on; None = the app's own
    cluster: str | None = None
    #: enqueued only once: True = for its name and arguments, or a key
    unique: bool | str = False
    #: seconds `unique` holds; None = until the task has ended
    unique_for: float | None = None
    #: most tasks of the same `limit_key` that run at once
    concurrency: int | None = attrs.field(default=None, validator=attrs.validators.optional(_at_least_one))
    #: most tasks of the same `limit_key` in a time: (count, seconds), or `10/s`, `100/m`, `5/h`
    rate: tuple[int, float] | str | None = None
    #: what `concurrency` and `rate` count by; None = the task's name
    limit_key: str | None = None
    #: a chain goes on behind it although it failed
    go_on: bool = False

    @property
    def limited(self) -> bool:
        """Whether it may have to wait for others."""
        return self.concurrency is not None or self.rate is not None

    def head(self, name: str, headers: dict[str, str] | None = None) -> bytes:
        """Return the encoded head of a message."""
        retry = self.retry
        timeout = self.timeout
        return encode_head(
            Head(
                name,
                self.label,
                self.group,
                None if isinstance(timeout, Unset) else timeout or 0.0,
                retry.max_attempts if retry else None,
                retry.backoff if retry else None,
                retry.max_delay if retry else None,
                (retry.jitter or None) if retry else None,
                self.ack_failure,
                self.save,
                self.result_ttl,
                headers or None,
                retry.names() if retry else None,
                hook_name(self.hook),
                None,
                self.concurrency,
                _rate(self.rate),
                self.limit_key,
                True if self.delay else None,
            )
        )


def hook_name(hook: Callable[..., Any] | str | None) -> str | None:
    """Return the dotted name of a hook.

    Raises:
        TaskNameError: a worker could not import it.

    """
    if hook is None:
        return None
    # What is declared as a task knows its own name.
    declared = getattr(hook, "name", None) if hasattr(hook, "__qcore_retry__") else None
    return declared or name_of(hook)


#: seconds of the units of a rate
_UNITS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def _rate(rate: tuple[int, float] | str | None) -> tuple[int, float] | None:
    if rate is None:
        return None
    if not isinstance(rate, str):
        if rate[0] < 1 or rate[1] <= 0:
            msg = f"no rate: {rate!r}; (count, seconds), both above 0"
            raise ValueError(msg)
        return rate
    count, slash, unit = rate.partition("/")
    if not (slash and count.isascii() and count.isdigit() and int(count) and unit in _UNITS):
        msg = f"no rate: {rate!r}; write '10/s', '100/m', '5/h' or '1000/d', or (count, seconds)"
        raise ValueError(msg)
    return int(count), _UNITS[unit]


class Call(msgspec.Struct, frozen=True):
    """A task bound to its arguments, not yet enqueued."""

    name: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    options: Options
    #: the head, encoded once for all calls with these options
    head: bytes


class Sealed(msgspec.Struct, frozen=True, gc=False):
    """A call made into a message."""

    call: Call
    message: Outgoing
    #: whether it is to be run in this process
    sync: bool = False
    #: left out by a hook: it has an id, but no message
    skipped: bool = False
    #: name of the queue it is for; empty = the app's own
    queue: str = ""
    #: the key it is unique by; empty = it is not
    unique: str = ""
    #: left out because another task has its key: the id is that one's
    duplicate: bool = False


_FIELDS: Final = frozenset(field.name for field in attrs.fields(Options))
DEFAULT: Final = Options()
#: the specification's options this version acts on
SPECIFIED: Final = frozenset(
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
#: what the specification's own functions pass among themselves
_NOT_YET: Final = frozenset({"iter_count", "iter_cached"})


def evolve(options: Options, changes: Mapping[str, Any]) -> Options:
    """Return options with some fields changed.

    Raises:
        TypeError: there is no such option; the message lists those there are.

    """
    wrong = sorted(changes.keys() - _FIELDS)
    if wrong:
        msg = f"no task option {', '.join(map(repr, wrong))}; there are {', '.join(sorted(_FIELDS))}"
        raise TypeError(msg)
    return attrs.evolve(options, **changes)


def laid_over(base: Options, above: Options) -> Options:
    """Return `base` with all that `above` sets."""
    changed = {
        field.name: getattr(above, field.name)
        for field in attrs.fields(Options)
        if getattr(above, field.name) != field.default
    }
    return attrs.evolve(base, **changed)


def specified(given: dict[str, Any]) -> Options:
    """Translate the specification's options."""
    refused = sorted(key for key in given if key in _NOT_YET and given[key] not in (None, False))
    if refused:
        msg = f"async_task: the option {refused[0]!r} is not offered by this version of qcore"
        raise NotSupported(msg)
    unknown = sorted(set(given) - SPECIFIED)
    if unknown:
        known = ", ".join(sorted(SPECIFIED - _NOT_YET))
        msg = f"async_task: no option {unknown[0]!r} in q_options; there are {known}"
        raise TypeError(msg)
    changes: dict[str, Any] = {
        key: given[key]
        for key in ("group", "save", "sync", "ack_failure", "hook", "cluster")
        if given.get(key) is not None
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
