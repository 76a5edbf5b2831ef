"""The doctor's checks, and what to do about a fault."""

from __future__ import annotations

import os
import platform
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from qcore import installed
from qcore.backend_clock import skew
from qcore.cli.check_result import CheckResult, Verdict
from qcore.cli.key_usage import key_ids, usage
from qcore.cli.overview import statuses, unserved, unserved_text
from qcore.journal.memory import Journal
from qcore.messages.head import Head
from qcore.model import Kind, Outcome, State
from qcore.supervision.unsigned import is_unsigned
from qcore_calendar.slots import passed_over
from qcore_process.cpus import available
from qcore_queues.view import queue_infos
from qcore_settings import keyfile
from qcore_text.wording import counted, typed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qcore.cli.session import Session

#: Seconds by which clocks of two machines may differ without a warning.
_SKEW: Final = 5.0
#: Newest results of which the keys are counted.
_RESULTS: Final = 1000
#: Different characters that a random key of 32 has at least.
_DIFFERENT: Final = 10
#: Dead letters that are looked at.
_LETTERS: Final = 1000
#: Epoch seconds: a clock that shows less is not set (January 2026).
_RECENT: Final = 1_767_225_600


# -- this machine -----------------------------------------------------------------------------


def interpreter(_: Session) -> Iterator[str | CheckResult]:
    """Check Python, the system and its clock."""
    python = f"{platform.python_implementation()} {platform.python_version()}"
    text = f"{python} on {platform.system()}, {sys.executable}"
    if not hasattr(os, "fork"):
        yield CheckResult(Verdict.FAIL, "interpreter", f"{text}; this system cannot fork, use Linux")
    elif platform.system() != "Linux":
        yield CheckResult(Verdict.WARN, "interpreter", f"{text}; qcore has been tested on Linux only")
    elif not hasattr(os, "pidfd_open"):
        yield f"{text}; without pidfd, deaths are noticed by polling"
    else:
        yield text
    if time.time() < _RECENT:
        today = time.strftime("%Y-%m-%d")
        yield CheckResult(
            Verdict.FAIL, "clock", f"it says {today}; set it: leases and results are timed by it"
        )


def memory(_: Session) -> Iterator[str | CheckResult]:
    """Check that processes can share memory."""
    where = "memfd" if hasattr(os, "memfd_create") else "a temporary file"
    try:
        journal = Journal.create(1)
        journal.page(0).snapshot()
        journal.close()
    except OSError as exc:
        text = f"{where} cannot be made ({exc.strerror}); supervisor and workers share one, allow it"
        yield CheckResult(Verdict.FAIL, "shared memory", text)
    else:
        yield where


def plugins(session: Session) -> Iterator[str | CheckResult]:
    """List the plugins, and those that cannot be used."""
    usable = [plugin for plugin in session.plugins.listing() if not plugin.broken and not plugin.blocked]
    yield ", ".join(plugin.title for plugin in usable)
    for plugin in session.plugins.listing():
        if plugin.broken:
            mend = installed.reinstall(plugin.distribution)
            yield CheckResult(
                Verdict.WARN, "plugins", f"{plugin.title} cannot be used: {plugin.broken}{mend}"
            )


def workers(session: Session) -> Iterator[str | CheckResult]:
    """Compare the number of workers with that of CPUs."""
    workers, cpus = session.config.workers, available()
    text = f"{workers} for {counted(cpus, 'CPU')}"
    if workers > 4 * cpus:
        yield CheckResult(
            Verdict.WARN, "workers", f"{text}; they wait for one another unless tasks wait for the network"
        )
    else:
        yield text


# -- configuration and keys -------------------------------------------------------------------


def configuration(session: Session) -> Iterator[str | CheckResult]:
    """Check that the configuration loads, and say from where."""
    config = session.config
    if config.file is None:
        warning = f"queue {config.name!r}, without a configuration file: give each program the same settings"
        yield CheckResult(Verdict.WARN, "configuration", warning)
    else:
        yield f"queue {config.name!r}, from {config.file.absolute()}"


def _private(file: Path) -> Iterator[CheckResult]:
    try:
        mode = file.expanduser().stat().st_mode
    except OSError as exc:
        yield CheckResult(Verdict.FAIL, "secret key", f"{file} cannot be read: {exc.strerror}")
        return
    if mode & 0o077:
        text = f"{file} holds the key and can be read by others; chmod 600 {file}"
        yield CheckResult(Verdict.WARN, "secret key", text)


def keys(session: Session) -> Iterator[str | CheckResult]:
    """Check how strong the keys are and who can read them."""
    config = session.config
    queue = None if config.secret_key else config.queue_file(config.name)
    if queue is not None and not keyfile.exists(queue) and not keyfile.path_beside(queue).exists():
        yield "none yet; it is made with the queue"
        return
    keys = config.keys()
    count = "one key" if len(keys) == 1 else f"{len(keys)} keys, the first signs"
    yield f"{count}, {counted(min(map(len, keys)), 'character')} or more"
    if any(len(set(key)) < _DIFFERENT for key in keys):
        text = f"a key repeats a few characters and can be guessed; make another with {typed('keys new')}"
        yield CheckResult(Verdict.WARN, "secret key", text)
    if len(set(keys)) < len(keys):
        yield CheckResult(Verdict.WARN, "secret key", "one key is listed twice; leave it out once")
    given, file = config.secret_key, config.file
    in_clear = any(not key.startswith(keyfile.FILE) for key in given)
    # A file of settings that is a program has it from anywhere, which only the program knows.
    if file and in_clear and config.key_origin == str(file):
        yield from _private(file)
    for key in given:
        if key.startswith(keyfile.FILE):
            yield from _private(Path(key.removeprefix(keyfile.FILE)))


# -- broker, store, clusters ------------------------------------------------------------------


def broker(session: Session) -> Iterator[str | CheckResult]:
    """Check that the broker answers and what it can do."""
    with session.runtime.brokers.connection() as broker:
        began = time.perf_counter()
        broker.ping()
        took = (time.perf_counter() - began) * 1000
        yield f"{broker.info()}; answers in {took:.1f} ms"
        if not broker.capabilities.redelivers:
            yield CheckResult(
                Verdict.WARN, "broker", "it does not redeliver: a task is lost with the worker that runs it"
            )
        if not broker.capabilities.cross_process:
            yield CheckResult(
                Verdict.WARN, "broker", "it lives in one process and cannot feed a cluster; for tests only"
            )
        size = broker.size()
        delayed = "unknown" if size.delayed is None else f"{size.delayed:,}"
        yield CheckResult(Verdict.OK, "queue", f"{size.ready:,} ready, {delayed} delayed")
        clusters, _ = statuses(session.runtime, broker.statuses())
        for one in unserved(queue_infos(session.runtime, broker), clusters):
            yield CheckResult(Verdict.WARN, "queue", unserved_text(one))
        if size.dead_letters:
            unsigned = sum(map(is_unsigned, broker.dead_letters(_LETTERS)))
            nobody = f", {unsigned:,} of them signed by nobody" if unsigned else ""
            there_are = f"{counted(size.dead_letters, 'dead letter')}{nobody}"
            text = f"{there_are}; {typed('dead-letters list')} shows them"
            yield CheckResult(Verdict.WARN, "queue", text)


def clock(session: Session) -> Iterator[str | CheckResult]:
    """Compare this machine's clock with the broker's."""
    with session.runtime.brokers.connection() as broker:
        ahead = skew(broker)
    if ahead is None:
        yield "the broker has none of its own, so that of each machine decides about expiries and slots"
    elif abs(ahead) <= _SKEW:
        yield f"the same as the broker's, to {counted(round(max(abs(ahead), 0.001), 3), 'second')}"
    else:
        which = "ahead of" if ahead < 0 else "behind"
        apart = counted(round(abs(ahead)), "second")
        text = f"this machine's is {apart} {which} the broker's, which decides about expiries and slots"
        yield CheckResult(Verdict.WARN, "clock", f"{text}; set both by NTP")


def store(session: Session) -> Iterator[str | CheckResult]:
    """Save, read and delete a result."""
    runtime = session.runtime
    id_, now = os.urandom(16), time.time()
    sample = Outcome(Kind.SUCCESS, started=now, finished=now)
    sealed = runtime.results.seal(
        id_,
        Head("qcore.doctor", result_ttl=60.0),
        State.SUCCESS,
        sample,
        runtime.serializer.dumps("well"),
        created=int(now * 1000),
        attempts=1,
        crashes=0,
    )
    with runtime.stores.connection() as store:
        store.save([sealed])
        found = store.get([id_])[0]
        store.delete([id_])
    if found is None or runtime.results.read(found).value != "well":
        yield CheckResult(
            Verdict.FAIL, "results", "a saved result was not found again; check the result store"
        )
    else:
        yield "saved, read and deleted one"
    local = runtime.plugins.all("qcore_local_brokers")
    if runtime.result_store in local and runtime.config.broker not in local:
        text = (
            f"the broker {runtime.config.broker!r} may serve several machines, but results are in a file of"
            " this one: name a store that all of them share in result_store, such as redis"
        )
        yield CheckResult(Verdict.WARN, "results", text)


def coordination(session: Session) -> Iterator[str | CheckResult]:
    """Set, read and remove a flag of the coordination store."""
    runtime = session.runtime
    key, value = f"qcore.doctor:{os.urandom(8).hex()}", b"well"
    with runtime.coordination_stores.connection() as store:
        store.set_flag(key, value, 60.0)
        (found,) = store.get_flags([key])
        store.set_flag(key, b"", 60.0)
        (left,) = store.get_flags([key])
    if found != value or left is not None:
        text = "a flag was not kept, or not removed; check the coordination store"
        yield CheckResult(Verdict.FAIL, "coordination", text)
    else:
        yield f"{runtime.coordination_store}: set, read and removed a flag"
    local = runtime.plugins.all("qcore_local_brokers")
    if runtime.coordination_store in local and runtime.config.broker not in local:
        text = (
            f"the broker {runtime.config.broker!r} may serve several machines, but locks, limits and pauses"
            " are in a file of this one: name a store that all of them share in coordination_store, such as"
            " redis"
        )
        yield CheckResult(Verdict.WARN, "coordination", text)


def clusters(session: Session) -> Iterator[str | CheckResult]:
    """Check the clusters of the queue."""
    runtime = session.runtime
    with runtime.brokers.connection() as broker:
        if not broker.capabilities.cluster_status:
            yield "this broker keeps no status of clusters"
            return
        found, unreadable = statuses(runtime, broker.statuses())
    if unreadable:
        text = f"{unreadable} signed with a key that is not in secret_key; add it, or stop them"
        yield CheckResult(Verdict.WARN, "clusters", text)
    if not found:
        yield CheckResult(
            Verdict.WARN, "clusters", f"none works on this queue; {typed('run MODULE:APP')} starts one"
        )
    for one in found:
        ahead = one.published - time.time()
        yield f"{one.label} on {one.host}, pid {one.pid}: {one.state}, {counted(len(one.workers), 'worker')}"
        if ahead > _SKEW:
            text = f"the clock of {one.host} is {ahead:.0f} s ahead of ours; set both by NTP"
            yield CheckResult(Verdict.WARN, "clock", text)
        for trouble in one.troubles:
            yield CheckResult(Verdict.WARN, "clusters", f"{one.label} on {one.host}: {trouble}")


def schedules(session: Session) -> Iterator[str | CheckResult]:
    """Check for broken schedules."""
    found = session.app.schedules.list()
    broken = [one for one in found if one.fault]
    if not broken:
        yield f"{len(found)}, none of them broken"
    now = session.runtime.clock.now()
    for one in found:
        if slot := passed_over(one, now):
            shown = f"{datetime.fromtimestamp(slot, UTC):%Y-%m-%d %H:%M:%S} UTC"
            text = (
                f"{one.name} skips {shown} and later slots: they were fired by a clock that was ahead;"
                f" {typed('schedule update')} {one.name} --next-run sets its next slot"
            )
            yield CheckResult(Verdict.WARN, "schedules", text)
    for one in broken:
        # One that cannot be read has no rule, and its fault says what to do.
        remedy = f"; mend it, then {typed('schedule resume')} {one.name}" if one.rule else ""
        text = f"{one.name} is broken: {one.fault}{remedy}"
        yield CheckResult(Verdict.WARN, "schedules", text)


def seals(session: Session) -> Iterator[str | CheckResult]:
    """Check that a key in secret_key opens what is stored."""
    known, found = key_ids(session.runtime), usage(session.runtime, _RESULTS)
    unknown = found.ids - set(known)
    for key_id in sorted(unknown):
        counts = ", ".join(f"{what} {count}" for what, count in found.of(key_id).items())
        text = f"sealed with a key that is not in secret_key ({key_id.hex()}): {counts}; "
        ours = " and ".join(sorted(one.hex() for one in known))
        remedy = (
            f"there is {ours}, from {session.config.key_text}: add that key, or see {typed('keys check')}"
        )
        yield CheckResult(Verdict.WARN, "seals", f"{text}{remedy}")
    if not unknown:
        yield f"all that is stored is sealed with one of {counted(len(known), 'key')}"
