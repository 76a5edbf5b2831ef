"""Who is measured on Redis, and the rows of the table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from tests.benchmarks.contest import Peer


@dataclass(frozen=True, eq=False)
class Rival(Peer):
    """One system that is measured on Redis."""

    #: tasks a second it is about able to drain: how many are made, so that no drain takes long
    pace: int
    #: whether it can be set to run one task at a time in each process, for the rows of real work
    single: bool = False
    #: runs coroutines at once in each process
    coroutines: bool = False
    #: runs functions at once in each process
    threads: bool = False
    #: forks or starts worker processes for programs that load Django
    models: bool = False


def _rival(
    name: str,
    requirements: tuple[str, ...],
    setup: str,
    *,
    pace: int,
    single: bool = False,
    coroutines: bool = False,
    threads: bool = False,
    models: bool = False,
    distribution: str = "",
) -> Rival:
    module = f"{name.replace('-', '_')}_redis"
    return Rival(
        name,
        module,
        requirements,
        distribution or name,
        {"always": setup},
        pace,
        single=single,
        coroutines=coroutines,
        threads=threads,
        models=models,
    )


OURS: Final = _rival(
    "qcore",
    ("core", "plugins/qcore-redis", "django"),
    "qcore-redis; every task signed, verified, leased with a receipt, journalled and acknowledged after it "
    "ran; results sealed; recycle=0 but in the rows called defaults; save_limit=-1 where no results are "
    "stored, else 0; coroutines=100 and threads=8 in the rows of tasks at once",
    pace=200_000,
    single=True,
    coroutines=True,
    threads=True,
    models=True,
)

RIVALS: Final = (
    _rival(
        "celery",
        ("celery[redis]", "hiredis", "django"),
        "prefork -c 2; task_acks_late, task_reject_on_worker_lost; worker_prefetch_multiplier=100 (its "
        "guide for short tasks); no gossip, mingle, heartbeat, remote control or events; ignore_result "
        "where none are stored",
        pace=1500,
        models=True,
    ),
    _rival(
        "dramatiq",
        ("dramatiq[redis]", "hiredis", "django"),
        "RedisBroker, acknowledged after it ran; 2 processes of 8 threads (default); Results with "
        "RedisBackend where results are stored",
        pace=1500,
        single=True,
        threads=True,
        models=True,
    ),
    _rival(
        "huey",
        ("huey", "redis", "hiredis"),
        "RedisHuey (blocking pop, no acknowledgement); -k process -w 2 -n -q; results=False where none are "
        "stored; -c 1 (looks after its workers each second)",
        pace=4000,
    ),
    _rival(
        "taskiq",
        ("taskiq", "taskiq-redis", "orjson", "hiredis", "uvloop"),
        "RedisStreamBroker, the one that acknowledges (when executed and saved); ORJSONSerializer; uvloop; "
        "2 workers of 100 tasks (default); --no-parse",
        pace=3000,
        single=True,
        coroutines=True,
    ),
    _rival(
        "rq",
        ("rq", "hiredis", "django"),
        "worker-pool -n 2 of SimpleWorker (does not fork for each job); results are stored in every row: to "
        "delete them (result_ttl=0) takes it longer; enqueue_many in bulk",
        pace=800,
        models=True,
    ),
    _rival(
        "arq",
        ("arq", "hiredis"),
        "two programs; max_jobs=100, queue_read_limit=1000, poll_delay=0.01; keep_result=0 where none "
        "are stored",
        pace=1000,
        coroutines=True,
    ),
    _rival(
        "saq",
        ("saq[redis,hiredis]", "typing-extensions"),
        "RedisQueue; --workers 2, concurrency 100; ttl=-1 where no results are stored",
        pace=1500,
        coroutines=True,
    ),
    _rival(
        "streaq",
        ("streaq", "uvloop"),
        "--workers 2, concurrency 100, uvloop; ttl=0 where no results are stored; enqueue_many in bulk",
        pace=3000,
        coroutines=True,
    ),
    _rival(
        "django-q2",
        ("django-q2", "django", "redis", "hiredis"),
        "Redis broker (no acknowledgement), signed; workers 2, queue_limit 500, scheduler off; results "
        "in the Redis cache (cached=600), else save_limit=-1",
        pace=800,
    ),
)

EVERYBODY: Final = (OURS, *RIVALS)


class Row(NamedTuple):
    """One line of the table."""

    key: str
    label: str
    session: str
    #: which figure of the session
    figure: str
    unit: str
    #: the ratio to the fastest peer that is aimed at; for some the figure itself
    target: float | None = None
    more_is_better: bool = False
    #: the target is a figure of qcore's own, no ratio
    absolute: bool = False


def _own(key: str, label: str, session: str, figure: str, *, unit: str = "%", target: float = 95) -> Row:
    return Row(key, label, session, figure, unit, target, more_is_better=True, absolute=True)


def _more(key: str, label: str, session: str, figure: str, target: float | None = None) -> Row:
    return Row(key, label, session, figure, "tasks/s", target, more_is_better=True)


ROWS: Final = (
    _more("enqueue", "enqueue one by one", "rush", "enqueue", 1.5),
    _more("enqueue10k", "enqueue one by one, 10 kB arguments", "large", "enqueue10k", 1.2),
    _more("enqueue100k", "enqueue one by one, 100 kB arguments", "large", "enqueue100k", 1.0),
    _more("bulk", "enqueue in bulk", "rush", "bulk", 10),
    _more("drain", "drain, no results", "rush", "drain", 20),
    _more("usual", "drain, no results, defaults", "usual", "drain", 20),
    _more("stored", "drain, results stored", "stored", "drain", 12),
    _more("usualstored", "drain, results stored, defaults", "usualstored", "drain", 12),
    _more("heavy1", "drain, 1 kB arguments, defaults", "heavy1", "drain", 12),
    _more("heavy10", "drain, 10 kB arguments, defaults", "heavy10", "drain", 8),
    _more("heavy100", "drain, 100 kB arguments, defaults", "heavy100", "drain", 2),
    Row("recycling", "processor time of one recycling", "recycled", "each", "ms", 3, absolute=True),
    Row("gap", "gap at a recycling", "recycled", "gap", "ms", 2, absolute=True),
    Row("p50", "latency p50", "calm", "p50", "ms", 0.5),
    Row("p99", "latency p99", "calm", "p99", "ms", 0.6),
    Row("startup", "start-up to the first task", "calm", "startup", "s", 1.0),
    Row("memory", "idle memory of the tree (PSS)", "calm", "memory", "MB", 1.0),
    Row("further", "each further worker (PSS)", "wide", "each", "MB", 4, absolute=True),
    Row("models", "8 workers, Django, 40 models (PSS)", "models", "memory", "MB", 0.5),
    Row("idle", "idle CPU of the tree", "calm", "cpu", "%", 0.5, absolute=True),
    Row("idleredis", "idle CPU of Redis", "calm", "redis", "%"),
    Row("redis", "Redis CPU a task", "rush", "redis", "us"),
    Row("bytes", "Redis memory a queued task", "rush", "bytes", "bytes"),
    Row("killed", "kill -9 amid a task: runs again after", "killed", "again", "s", 0.1, absolute=True),
    _own("sleep1", "workers busy, tasks sleeping 1 ms", "work", "sleep1"),
    _own("sleep10", "workers busy, tasks sleeping 10 ms", "work", "sleep10"),
    _own("spin1", "workers busy, tasks computing 1 ms", "work", "spin1"),
    Row("wait50", "99% short, 1% long: short ones wait, p50", "mix", "wait50", "ms"),
    Row("wait99", "99% short, 1% long: short ones wait, p99", "mix", "wait99", "ms"),
    _own("coroutines", "places taken, 200 coroutines that await 100 ms", "coroutines", "filled"),
    _own("threads", "places taken, 16 functions that sleep 20 ms", "threads", "filled"),
    _more("asyncs", "drain, coroutines that do nothing", "asyncs", "drain", 10),
    Row("urgent50", "urgent tasks behind 100,000 wait, p50", "urgent", "wait50", "ms"),
    Row("urgent99", "urgent tasks behind 100,000 wait, p99", "urgent", "wait99", "ms", 12, absolute=True),
)

#: only with `--long`, and of qcore only
LONG: Final = (
    _more("pending", "drain, 1,000,000 pending", "deep", "pending"),
    _more("few", "drain, 20,000 pending", "deep", "few"),
    _own("deep", "rate at 1,000,000 pending over 20,000", "deep", "ratio", unit="", target=0.95),
)

#: sessions in which a worker process runs one task at a time, so that busy means the same for all
SINGLE: Final = frozenset({"work", "mix"})
#: how a system is set up for a session that is not about its usual setting
STYLES: Final = {
    **dict.fromkeys(SINGLE, "work"),
    **dict.fromkeys(("coroutines", "asyncs"), "coroutines"),
    "threads": "threads",
    "models": "models",
    # as installed
    **dict.fromkeys(
        ("usual", "usualstored", "heavy1", "heavy10", "heavy100", "recycled", "calm", "wide"), "defaults"
    ),
}
#: sessions that are held once: a death is waited for long, a deep queue is long in the making
ONCE: Final = frozenset({"killed", "deep"})


#: sessions that a peer holds as another one, because it has no other settings for it
SAME: Final = {"usual": "rush", "usualstored": "stored"}
#: sessions that compare qcore with itself
OWN: Final = frozenset({"deep", "wide", "urgent", "recycled"})


def session_of(name: str, row: Row) -> str:
    """Return the session that has a system's figure of a row."""
    return row.session if name == OURS.name else SAME.get(row.session, row.session)


def takes(rival: Rival, session: str) -> bool:
    """Return whether a system is measured in a session."""
    if session in OWN or session in SAME:
        return rival is OURS
    if STYLES.get(session) == "coroutines":
        return rival.coroutines
    if session == "threads":
        return rival.threads
    if session == "models":
        return rival.models
    return rival.single or session not in SINGLE
