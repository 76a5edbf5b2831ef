"""Defines every setting: type, default and rule."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import attrs

from qcore.interfaces import Per
from qcore_process.cpus import available
from qcore_queues.names import QUEUE_NAME, QUEUE_RULE
from qcore_settings import keyfile
from qcore_settings.queue_rule import queues
from qcore_settings.rules import (
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

#: brokers use a queue's name in keys, file names and URLs
_NAME: Final = r"[A-Za-z0-9_.:-]{1,80}"
_DOTTED: Final = r"[^\W\d]\w*(\.[^\W\d]\w*)*"
_MIB: Final = 1024 * 1024
_RECYCLE: Final = 500
#: what the journal of a worker has room for
MOST_THREADS: Final = 200
MOST_COROUTINES: Final = 1000
#: Django-Q's words for what successes are counted by -> fields of a stored result
PER: Final[Mapping[str, Per]] = MappingProxyType({"func": "name", "group": "group", "name": "label"})


def _set(rule: Rule, **default: Any) -> Any:  # noqa: ANN401 - like attrs.field itself
    return attrs.field(metadata={"rule": rule}, **default)


def _recycle_after(options: Options) -> float:
    return 1.0 if options.recycle == _RECYCLE else 0.0


@attrs.frozen(kw_only=True)
class Options:
    """The settings of producers and clusters, without the keys of plugins."""

    #: name of the queue; processes with the same broker, name and key work together
    name: str = _set(text("must be 1 to 80 letters, digits or _ . : -", _NAME), default="default")
    #: queues whose tasks this cluster runs: a list, the first one first, or a table of weights such as
    #: `{mail = 3, reports = 1}`; None = all, by priority
    queues: tuple[str, ...] | Mapping[str, int] | None = _set(queues(QUEUE_NAME, QUEUE_RULE), default=None)
    #: processes that run tasks; by default one for each CPU that this process may use
    workers: int = _set(integer(1, "leave it out for one for each CPU", none=UNSET), factory=available)
    #: plain functions that run at once in each worker, each in a thread
    threads: int = _set(
        integer(1, "1 runs them one after the other", most=MOST_THREADS, unit="threads"), default=1
    )
    #: `async def` tasks that run at once in each worker, on one event loop
    coroutines: int = _set(
        integer(1, "1 runs them one after the other", most=MOST_COROUTINES, unit="tasks"), default=10
    )
    #: what such tasks run on: the loop of `asyncio`, or that of `uvloop`
    event_loop: str = _set(
        choice(("asyncio", "uvloop"), "uvloop comes with the extra qcore[uvloop]", none="asyncio"),
        default="asyncio",
    )
    #: what a task has started ends with it: when it is interrupted, or its worker ends
    daemonize_workers: bool = _set(flag(), default=True)
    #: tasks a worker runs before it is replaced; 0 = never
    recycle: int = _set(integer(0, "0 never replaces a worker", none=0, unit="tasks"), default=_RECYCLE)
    #: seconds a worker lives before `recycle` counts, unless it has grown by 16 MiB; by default 1 where
    #: `recycle` is 500, so that short tasks do not spend their time on new workers, and else 0
    recycle_after: float = _set(
        seconds("0 counts tasks alone"), default=attrs.Factory(_recycle_after, takes_self=True)
    )
    #: KiB of resident memory from which a worker is replaced after its task; None = never
    max_rss: int | None = _set(
        integer(1, "leave it out for no limit", none=None, unit="KiB", zero=None), default=None
    )
    #: seconds a task may run; None = no limit
    timeout: float | None = _set(seconds("leave it out for no limit", above=0, none=None), default=None)
    #: acknowledge a failed task, so that it does not run again
    ack_failures: bool = _set(flag(), default=False)
    #: most runs of a failing task, including the first; 0 = no limit
    max_attempts: int = _set(integer(0, "0 means no limit", unit="runs"), default=0)
    #: seconds of a lease: a message whose worker shows no sign of life for so long is redelivered;
    #: 0 = never, with brokers that do not redeliver
    retry: float = _set(seconds("it is how long a broker waits for a task", least=0), default=60.0)
    #: compress the arguments of large messages
    compress: bool = _set(flag(), default=False)
    #: number of successes that are stored; 0 = all, -1 = none
    save_limit: int = _set(integer(-1, "0 keeps all successes, -1 none", unit="results"), default=250)
    #: count `save_limit` separately for each `group`, `name` (a task's label) or `func`; None = for all
    save_limit_per: str | None = _set(
        choice(tuple(PER), "leave it out to count all successes together"), default=None
    )
    #: most seconds between two checks of the workers by the supervisor
    guard_cycle: float = _set(seconds("0.5 suits most", above=0, below=60), default=0.5)
    #: run tasks immediately in the process that enqueues them
    sync: bool = _set(flag(), default=False)
    #: most messages a cluster holds in memory; None = as many as the workers keep up with
    queue_limit: int | None = _set(
        integer(1, "leave it out to adapt to the tasks", none=None, unit="messages"), default=None
    )
    #: name of a cluster in the monitor and in logs
    label: str = _set(text("must be a text without control characters"), default="qcore")
    #: run the slots that a schedule missed
    catch_up: bool = _set(flag(), default=True)
    #: most missed slots of one schedule that are run; older ones are skipped
    catch_up_limit: int = _set(integer(1, "1000 suits most", unit="slots"), default=1000)
    #: seconds; slots missed longer ago are skipped, except the newest; None = no limit
    catch_up_window: float | None = _set(
        seconds("leave it out for no window", above=0, none=None), default=None
    )
    #: most messages one call to the broker asks for; None = as many as the workers keep up with
    bulk: int | None = _set(
        integer(1, "leave it out to adapt to the tasks", none=None, unit="messages"), default=None
    )
    #: seconds between two checks of an empty queue, with brokers that cannot wait
    poll: float = _set(seconds("0.2 suits most", above=0), default=0.2)
    #: seconds for which results are stored; True or False = as long as `save_limit` allows
    cached: bool | float = _set(retention(), default=False)
    #: run the schedules of the queue
    scheduler: bool = _set(flag(), default=True)
    #: error reporters by name, each with its settings
    error_reporter: Mapping[str, Mapping[str, Any]] = _set(tables(), factory=dict, repr=False)
    #: what is enqueued must be here, and its arguments of the annotated types
    strict: bool = _set(flag(), default=False)
    #: CPUs each worker may use; 0 = all
    cpu_affinity: int = _set(integer(0, "0 lets a worker use every CPU", none=0, unit="CPUs"), default=0)
    #: dotted path of a subclass of qcore.interfaces.Broker, instead of a plugin's broker
    broker_class: str | None = _set(
        text("must be the dotted path of a class, such as 'myproject.queues.MyBroker'", _DOTTED, none=None),
        default=None,
    )
    #: lowest level of log lines that are written
    log_level: str = _set(level(), default="INFO")
    #: `text`, or `json`: one object a line
    log_format: str = _set(
        choice(("text", "json"), "json writes one object a line", none="text"), default="text"
    )
    #: log a line for each task that is done
    log_tasks: bool = _set(flag(), default=False)
    #: time zone of schedules
    time_zone: str = _set(zone(), default="UTC")
    #: keys that sign messages; the first signs, all verify; each 16 or more characters, or `file:PATH`
    secret_key: tuple[str, ...] = _set(keyfile.rule(), default=(), repr=False)
    #: serializer that writes arguments and results
    serializer: str = _set(text("must be the name of a serializer", r".+"), default="msgpack")
    #: serializers that arguments and results are read with
    accept_serializers: tuple[str, ...] = _set(
        texts("must be a list of names of serializers", r".+", none=UNSET),
        default=attrs.Factory(lambda self: (self.serializer,), takes_self=True),
    )
    #: patterns (`*` `?` `[...]`) of names of tasks that may run; None = every name
    tasks_allowed: tuple[str, ...] | None = _set(
        texts(
            "must be a list of patterns such as 'myproject.tasks.*'; leave it out to allow all",
            r"\S+",
            none=None,
        ),
        default=None,
    )
    #: crashes of its worker after which a task is dead-lettered; 0 = no limit
    max_crashes: int = _set(integer(0, "0 means no limit", unit="runs"), default=3)
    #: dead letters that nobody signed, of which the newest are kept; 0 = none, -1 = all
    unsigned_limit: int = _set(integer(-1, "0 keeps none, -1 all", unit="messages"), default=1000)
    #: seconds for which a dead letter that nobody signed is kept; None = no limit
    unsigned_ttl: float | None = _set(
        seconds("leave it out for a week", above=0, none=None), default=604_800.0
    )
    #: the same of those whose key is not in `secret_key`
    unknown_key_limit: int = _set(integer(-1, "0 keeps none, -1 all", unit="messages"), default=1_000_000)
    #: seconds; None = no limit
    unknown_key_ttl: float | None = _set(
        seconds("leave it out for 90 days", above=0, none=None), default=7_776_000.0
    )
    #: acknowledge a task before it begins, so that it never runs twice
    at_most_once: bool = _set(flag(), default=False)
    #: extend the lease of a task that is still running
    renew_leases: bool = _set(flag(), default=True)
    #: seconds that running tasks may take to end when a cluster stops
    shutdown_timeout: float = _set(seconds("0 ends running tasks at once", least=0), default=25.0)
    #: modules that are imported once, before workers are forked
    preload: tuple[str, ...] = _set(
        texts("must be a list of modules such as 'myproject.tasks'", _DOTTED, none=(), empty=()), default=()
    )
    #: name of the result store; None = the broker's own, else sqlite
    result_store: str | None = _set(
        text("must be the name of a result store", r".+", none=None), default=None
    )
    #: name of the store for limits, unique tasks, fan-in and pauses; None = the broker's own, else
    #: that of `result_store`, else sqlite
    coordination_store: str | None = _set(
        text("must be the name of a coordination store", r".+", none=None), default=None
    )
    #: name of a broker in a database of yours; a task with the option `connection` is enqueued there, in
    #: your transaction, and moved to the broker after its commit
    outbox: str | None = _set(
        text("must be the name of a broker, such as 'sql'", r".+", none=None), default=None
    )
    #: seconds within which a second copy of a message that has ended is not run; 0 = every copy is run;
    #: None = a week where the broker remembers and successes are stored, and 0 elsewhere
    replay_window: float | None = _set(
        seconds("leave it out for what the broker does at little cost", least=0, none=None), default=None
    )
    #: ended messages that are remembered at least, however many end within `replay_window`
    replay_limit: int = _set(integer(1, "100000 suits most", unit="messages"), default=100_000)
    #: connections that the threads of a process share to the broker, and as many to each store
    max_connections: int = _set(integer(2, "100 suits most", unit="connections"), default=100)
    #: bytes of the largest message
    max_message: int = _set(integer(1, "8388608 is 8 MiB", most=512 * _MIB, unit="bytes"), default=8 * _MIB)
    #: bytes of the largest result
    max_result: int = _set(integer(1, "16777216 is 16 MiB", unit="bytes"), default=16 * _MIB)
    #: store the arguments of a task with its result, unless they are larger than `max_result`
    keep_arguments: bool = _set(flag(), default=False)


def every() -> dict[str, Rule]:
    """Return the rule of each setting by name."""
    return {field.name: field.metadata["rule"] for field in attrs.fields(Options)}
