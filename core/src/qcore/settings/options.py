"""Every setting: its type, its default and its rule."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import attrs

from qcore.interfaces import Per
from qcore.settings import keyfile
from qcore.settings.cpus import available
from qcore.settings.rules import (
    UNSET,
    Rule,
    choice,
    flag,
    integer,
    level,
    retention,
    seconds,
    tables,
    text,
    texts,
    zone,
)

#: a queue's name becomes a table, a key, a file or a URL with one broker or another
_NAME: Final = r"[A-Za-z0-9_.:-]{1,80}"
_DOTTED: Final = r"[^\W\d]\w*(\.[^\W\d]\w*)*"
_MIB: Final = 1024 * 1024
#: the specification's words for what successes are counted by -> the fields of a stored result
PER: Final[Mapping[str, Per]] = MappingProxyType({"func": "name", "group": "group", "name": "label"})


def _set(rule: Rule, **default: Any) -> Any:  # noqa: ANN401 - like attrs.field itself
    return attrs.field(metadata={"rule": rule}, **default)


@attrs.frozen(kw_only=True)
class Options:
    """What producers and clusters may be told, apart from plugins' keys."""

    #: name of the queue; whoever has the same broker, name and key works together
    name: str = _set(text("must be 1 to 80 letters, digits or _ . : -", _NAME), default="default")
    #: processes that run tasks; one for each CPU this process may use
    workers: int = _set(integer(1, "leave it out for one for each CPU", none=UNSET), factory=available)
    #: workers may not start multiprocessing children of their own
    daemonize_workers: bool = _set(flag(), default=True)
    #: tasks a worker runs before it is replaced; 0 = never
    recycle: int = _set(integer(0, "0 replaces a worker never", none=0, unit="tasks"), default=500)
    #: resident memory at which a worker is replaced after its task; None = never
    max_rss: int | None = _set(
        integer(1, "leave it out for no limit", none=None, unit="KiB", zero=None), default=None
    )
    #: seconds a task may run; None = no limit
    timeout: float | None = _set(seconds("leave it out for no limit", above=0, none=None), default=None)
    #: a failed task counts as delivered and is not run again
    ack_failures: bool = _set(flag(), default=False)
    #: runs of a failing task, the first included; 0 = no limit
    max_attempts: int = _set(integer(0, "0 is no limit", unit="runs"), default=0)
    #: seconds without a sign of life after which a message is presented again; 0 = never, where a
    #: broker can promise that
    retry: float = _set(seconds("it is how long a broker waits for a task", least=0), default=60.0)
    #: compress large messages
    compress: bool = _set(flag(), default=False)
    #: successes kept; 0 = all, -1 = none
    save_limit: int = _set(integer(-1, "0 keeps all successes, -1 none", unit="results"), default=250)
    #: what save_limit counts apart: `group`, `name` (of a task, its label) or `func`; None = nothing
    save_limit_per: str | None = _set(
        choice(tuple(PER), "leave it out to count all successes together"), default=None
    )
    #: longest sleep of the supervisor between two looks at its workers
    guard_cycle: float = _set(seconds("0.5 suits most", above=0, below=60), default=0.5)
    #: run tasks at once, in the process that enqueues them
    sync: bool = _set(flag(), default=False)
    #: most messages a cluster holds in memory; None = as many as the workers keep up with
    queue_limit: int | None = _set(
        integer(1, "leave it out to adapt to the tasks", none=None, unit="messages"), default=None
    )
    #: what a cluster is called where people see it
    label: str = _set(text("must be a text without control characters"), default="qcore")
    #: schedules make up for slots they missed
    catch_up: bool = _set(flag(), default=True)
    #: most slots of one schedule made up for; the oldest beyond are left out
    catch_up_limit: int = _set(integer(1, "1000 suits most", unit="slots"), default=1000)
    #: slots missed longer ago are left out, but for the newest; None = however long ago
    catch_up_window: float | None = _set(
        seconds("leave it out for no window", above=0, none=None), default=None
    )
    #: most messages one call to the broker asks for; None = as many as the workers keep up with
    bulk: int | None = _set(
        integer(1, "leave it out to adapt to the tasks", none=None, unit="messages"), default=None
    )
    #: seconds between looks at an empty queue, with brokers that cannot wait
    poll: float = _set(seconds("0.2 suits most", above=0), default=0.2)
    #: how long results are kept: True = as long as save_limit lets them, or seconds
    cached: bool | float = _set(retention(), default=False)
    #: enqueue what schedules say
    scheduler: bool = _set(flag(), default=True)
    #: error reporters by name, each with its settings
    error_reporter: Mapping[str, Mapping[str, Any]] = _set(tables(), factory=dict, repr=False)
    #: CPUs each worker may use; 0 = all
    cpu_affinity: int = _set(integer(0, "0 lets a worker use every CPU", none=0, unit="CPUs"), default=0)
    #: dotted path of a subclass of qcore.interfaces.Broker, instead of a plugin's broker
    broker_class: str | None = _set(
        text("must be the dotted path of a class, such as 'myproject.queues.MyBroker'", _DOTTED, none=None),
        default=None,
    )
    #: least level of what is logged
    log_level: str = _set(level(), default="INFO")
    #: where schedules take their hours from
    time_zone: str = _set(zone(), default="UTC")
    #: the first signs, all verify; each at least 16 characters, or `file:PATH`
    secret_key: tuple[str, ...] = _set(keyfile.rule(), default=(), repr=False)
    #: writes arguments and results
    serializer: str = _set(text("must be the name of a serializer", r".+"), default="msgpack")
    #: serializers whose bytes are read
    accept_serializers: tuple[str, ...] = _set(
        texts("must be a list of names of serializers", r".+", none=UNSET),
        default=attrs.Factory(lambda self: (self.serializer,), takes_self=True),
    )
    #: patterns (`*` `?` `[...]`) of names that may be run; None = every name
    tasks_allowed: tuple[str, ...] | None = _set(
        texts(
            "must be a list of patterns such as 'myproject.tasks.*'; leave it out to allow all",
            r"\S+",
            none=None,
        ),
        default=None,
    )
    #: crashes of its worker after which a task is buried; 0 = no limit
    max_crashes: int = _set(integer(0, "0 is no limit", unit="runs"), default=3)
    #: prolong the lease of a task that still runs
    renew_leases: bool = _set(flag(), default=True)
    #: seconds running tasks are given when a cluster stops
    shutdown_timeout: float = _set(seconds("0 ends running tasks at once", least=0), default=25.0)
    #: modules imported once, before workers are forked
    preload: tuple[str, ...] = _set(
        texts("must be a list of modules such as 'myproject.tasks'", _DOTTED, none=(), empty=()), default=()
    )
    #: name of the store for results; None = the broker's own, else sqlite
    result_store: str | None = _set(
        text("must be the name of a result store", r".+", none=None), default=None
    )
    #: largest message
    max_message: int = _set(integer(1, "8388608 is 8 MiB", unit="bytes"), default=8 * _MIB)
    #: largest result
    max_result: int = _set(integer(1, "16777216 is 16 MiB", unit="bytes"), default=16 * _MIB)


def every() -> dict[str, Rule]:
    """Return the rules of all settings by name."""
    return {field.name: field.metadata["rule"] for field in attrs.fields(Options)}
