"""Defines a call and its options, and checks them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import attrs
import msgspec

from qcore.messages.head import Head, encode_head
from qcore.settle import Retry
from qcore_names.resolve import name_of
from qcore_queues import names
from qcore_queues.names import DEFAULT_QUEUE
from qcore_values.rates import check_rate, counted_rate
from qcore_values.validators import boolean, integer, refuse, seconds, text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from qcore.model import Outgoing
    from qcore_names.signatures import Check


class Unset:
    """The type of UNSET, for an option whose None has a meaning."""

    def __repr__(self) -> str:
        return "UNSET"


UNSET: Final = Unset()


def _timeout(name: str, value: object) -> None:
    if value is None or isinstance(value, Unset):
        return
    try:
        seconds(name, value)
    except ValueError as exc:
        msg = f"{exc}; None means no limit"
        raise ValueError(msg) from exc


def _retry(name: str, value: object) -> None:
    if not isinstance(value, Retry):
        refuse(name, "a qcore.Retry", value, "pass a Retry, for example Retry(max_attempts=3)")


def _crashes(name: str, value: object) -> None:
    integer(name, value, least=0)


def _unique(name: str, value: object) -> None:
    if not isinstance(value, bool | str):
        refuse(name, "True, False or a key", value, "a key is a text: pass str() of it")
    if value == "":
        msg = f"{name} must not be an empty key; True derives one from the task's name and arguments"
        raise ValueError(msg)


@attrs.frozen(kw_only=True)
class Options:
    """The options of a task; the worker's configuration applies to options that are not set."""

    #: seconds before the task may start
    delay: float = 0.0
    #: seconds the task may run; None or 0 = no limit
    timeout: float | Unset | None = UNSET
    retry: Retry | None = None
    #: runs that may kill their worker before the task is dead-lettered; 0 = no limit
    max_crashes: int | None = None
    #: acknowledge the task before it begins, so that it never runs twice
    at_most_once: bool | None = None
    #: acknowledge the task even if it fails
    ack_failure: bool | None = None
    #: whether a success is stored
    save: bool | None = None
    #: seconds for which its result is stored; 0 = for ever
    result_ttl: float | None = None
    group: str | None = None
    #: free text that is stored with the result
    label: str | None = None
    #: seconds after which the task must not start; 0 = never
    expires: float = 0.0
    #: run the task immediately in this process
    sync: bool | None = None
    #: callback that gets the final `Result`: a function, or its dotted name
    hook: Callable[..., Any] | str | None = None
    #: name of the clusters that run it; None = the app's own
    cluster: str | None = None
    #: queue it is put on, one of those of its clusters; None = `default`
    queue: str | None = None
    #: -100 to 100, of the tasks of a queue higher ones begin first; None = 0
    priority: int | None = None
    #: enqueue it only once: True = by its name and arguments, or by a key
    unique: bool | str = False
    #: seconds for which `unique` applies; None = until the task has ended
    unique_for: float | None = None
    #: most tasks of the same `limit_key` that run at once
    concurrency: int | None = None
    #: most starts of tasks of the same `limit_key` in a time: (count, seconds), or `10/s`, `100/m`, `5/h`
    rate: tuple[int, float] | str | None = None
    #: what `concurrency` and `rate` count by; None = the task's name
    limit_key: str | None = None
    #: continue the chain even if this task failed
    continue_on_failure: bool = False
    #: check that the task is here and that its arguments are of the annotated types; None = as configured
    strict: bool | None = None
    #: a connection to the broker's database: the task is enqueued by the transaction that is open on it,
    #: by `aenqueue` if it is an asynchronous one
    connection: Any = attrs.field(default=None, repr=False)

    def __attrs_post_init__(self) -> None:
        # attrs' validators take five times as long, and options are often created for one call.
        for name, default, check in _CHECKED:
            value = getattr(self, name)
            if value is not default:
                check(name, value)
        if self.at_most_once:
            refuse_second_run(self, "leave one of the two out")
        if self.connection is not None and self.unique:
            msg = "connection= excludes unique=, whose key no rollback would release; leave one of them out"
            raise ValueError(msg)

    @property
    def limited(self) -> bool:
        """Whether the task may have to wait for others."""
        return self.concurrency is not None or self.rate is not None

    @property
    def route(self) -> tuple[str, int]:
        """Queue and priority, as brokers know them."""
        return names.known_as(self.queue or ""), self.priority or 0

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
                counted_rate(self.rate),
                self.limit_key,
                True if self.delay else None,
                self.max_crashes,
                self.at_most_once,
                None if self.queue == DEFAULT_QUEUE else self.queue,
                self.priority or None,
            )
        )


#: Why calls that are enqueued together are refused.
ONE_CONNECTION: Final = (
    "calls that are enqueued together have one transaction, and these have different connection=; enqueue"
    " those of each connection apart"
)
#: What a user can do whose configuration excludes a second run, and whose task asks for one.
IN_CONFIGURATION: Final = (
    "the configuration sets it for all tasks: leave one of the two out, or give the task at_most_once=False"
)


def refuse_second_run(options: Options, remedy: str) -> None:
    """Refuse options that ask for a second run of a task that never has one."""
    retry, crashes = options.retry, options.max_crashes
    if retry is not None and retry.max_attempts != 1:
        wrong = f"retry={retry!r}"
    elif crashes is not None and crashes != 1:
        wrong = f"max_crashes={crashes!r}"
    elif options.ack_failure is False:
        wrong = "ack_failure=False"
    else:
        return
    msg = f"at_most_once excludes a second run, and {wrong} asks for one; {remedy}"
    raise ValueError(msg)


def check_alone(alone: object, options: Options) -> None:
    """Refuse what is not a truth value, and a permit that is held while the task waits for others."""
    boolean("alone", alone)
    if alone and options.concurrency is not None:
        msg = (
            f"alone=True excludes concurrency={options.concurrency}, whose permit it would hold while it "
            "waits for its neighbours; leave one of the two out"
        )
        raise ValueError(msg)


def hook_name(hook: Callable[..., Any] | str | None) -> str | None:
    """Return the dotted name of a callback.

    Raises:
        TaskNameError: a worker cannot import it.

    """
    if hook is None:
        return None
    # A declared task knows its own name.
    declared = getattr(hook, "name", None) if hasattr(hook, "__qcore_retry__") else None
    return declared or name_of(hook)


class Call(msgspec.Struct, frozen=True):
    """A task bound to its arguments, not yet enqueued."""

    name: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    options: Options
    #: the head, encoded once for all calls with these options
    head: bytes
    #: checks its arguments when it is enqueued; None = nothing is known of the function
    check: Check | None = None


class Sealed(msgspec.Struct, frozen=True, gc=False):
    """A call with its signed message."""

    call: Call
    message: Outgoing
    #: whether it runs in this process
    sync: bool = False
    #: skipped by a hook: it has an id, but no message
    skipped: bool = False
    #: its deduplication key; empty = none
    unique: str = ""
    #: skipped because another task has its key; the id is that task's
    duplicate: bool = False
    #: see `Options.connection`
    connection: Any = None


_FIELDS: Final = frozenset(field.name for field in attrs.fields(Options))
#: field -> function that checks its value; a callback is checked when its name is needed
VALIDATORS: Final[Mapping[str, Callable[[str, Any], None]]] = {
    "delay": seconds,
    "timeout": _timeout,
    "retry": _retry,
    "max_crashes": _crashes,
    "at_most_once": boolean,
    "ack_failure": boolean,
    "save": boolean,
    "result_ttl": seconds,
    "group": text,
    "label": text,
    "expires": seconds,
    "sync": boolean,
    "cluster": text,
    "queue": names.check_queue,
    "priority": names.check_priority,
    "unique": _unique,
    "unique_for": seconds,
    "concurrency": integer,
    "rate": check_rate,
    "limit_key": text,
    "continue_on_failure": boolean,
    "strict": boolean,
}
#: the fields to check, with their defaults, which are valid
_CHECKED: Final = tuple(
    (field.name, field.default, VALIDATORS[field.name])
    for field in attrs.fields(Options)
    if field.name in VALIDATORS
)
DEFAULT: Final = Options()


def with_options(options: Options, changes: Mapping[str, Any]) -> Options:
    """Return options with some fields changed.

    Raises:
        TypeError: an option does not exist, and the message lists the known ones; or a value has a
            wrong type.
        ValueError: a value is out of range.

    """
    wrong = sorted(changes.keys() - _FIELDS)
    if wrong:
        msg = f"no task option {', '.join(map(repr, wrong))}; known are {', '.join(sorted(_FIELDS))}"
        raise TypeError(msg)
    return attrs.evolve(options, **changes)


def merge_options(base: Options, above: Options) -> Options:
    """Return `base` with the options that `above` sets."""
    changed = {
        field.name: getattr(above, field.name)
        for field in attrs.fields(Options)
        if getattr(above, field.name) != field.default
    }
    return attrs.evolve(base, **changed)
