"""What the doctor looks at, and what it says to do."""

from __future__ import annotations

import enum
import logging
import os
import platform
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

from qcore import faults, keyfile, sources
from qcore.cli.info import statuses
from qcore.cpus import available
from qcore.envelope import Head
from qcore.errors import QcoreError
from qcore.journal import Journal
from qcore.model import Kind, Outcome, State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from qcore.cli.session import Session
    from qcore.interfaces import Settings

    _Look = Callable[[Session], Iterator["str | Finding"]]

#: Seconds by which clocks of two machines may differ before it is told.
_SKEW: Final = 5.0
#: Different characters a random key of 32 has at the very least.
_DIFFERENT: Final = 10
#: Epoch seconds: a clock that shows less is not set (January 2026).
_RECENT: Final = 1_767_225_600


class Verdict(enum.Enum):
    """How grave it is."""

    OK = "ok"
    #: tasks run, but not as well or as safely as they could
    WARN = "warn"
    #: tasks do not run
    FAIL = "fail"


@attrs.frozen
class Finding:
    """One line of the doctor's."""

    verdict: Verdict
    about: str
    text: str


def examine(session: Session) -> Iterator[Finding]:
    """Look at everything, from what the rest stands on upwards; stop where the ground is missing."""
    for about, look in (("interpreter", _interpreter), ("shared memory", _memory), ("plugins", _plugins)):
        yield from _looked(about, look, session)
    for about, look in (("configuration", _configuration), ("secret key", _keys), ("broker", _broker)):
        found = list(_looked(about, look, session))
        yield from found
        if any(finding.verdict is Verdict.FAIL for finding in found):
            return
    for about, look in (("results", _store), ("clusters", _clusters), ("workers", _workers)):
        yield from _looked(about, look, session)
    for name, check in session.plugins.checks().items():
        yield from _looked(name, _of_plugin(check), session)


def _of_plugin(check: Callable[[Settings], str]) -> _Look:
    def look(session: Session) -> Iterator[str]:
        yield check(session.config.settings())

    return look


def _looked(about: str, look: _Look, session: Session) -> Iterator[Finding]:
    """Make findings of what a look tells, logs and raises."""
    found: list[Finding] = []
    with _overheard() as warnings:
        try:
            found.extend(
                one if isinstance(one, Finding) else Finding(Verdict.OK, about, one) for one in look(session)
            )
        except QcoreError as exc:
            found.append(Finding(Verdict.FAIL, about, str(exc)))
        except (Exception, SystemExit) as exc:  # noqa: BLE001 - a doctor does not fall ill of what it finds
            found.append(Finding(Verdict.FAIL, about, faults.reason(exc)))
    yield from found
    for text in warnings:
        yield Finding(Verdict.WARN, about, text)


@contextmanager
def _overheard() -> Iterator[list[str]]:
    """Collect what qcore warns of in its log meanwhile."""
    heard: list[str] = []

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.getMessage() not in heard:
                heard.append(record.getMessage())

    log = logging.getLogger("qcore")
    ear = Ear(logging.WARNING)
    before = log.propagate
    log.addHandler(ear)
    log.propagate = False
    try:
        yield heard
    finally:
        log.propagate = before
        log.removeHandler(ear)


# -- this machine -----------------------------------------------------------------------------


def _interpreter(_: Session) -> Iterator[str | Finding]:
    python = f"{platform.python_implementation()} {platform.python_version()}"
    text = f"{python} on {platform.system()}, {sys.executable}"
    if not hasattr(os, "fork"):
        yield Finding(Verdict.FAIL, "interpreter", f"{text}; this system cannot fork, use Linux or macOS")
    elif not hasattr(os, "pidfd_open"):
        yield f"{text}; without pidfd, deaths are noticed by polling"
    else:
        yield text
    if time.time() < _RECENT:
        today = time.strftime("%Y-%m-%d")
        yield Finding(Verdict.FAIL, "clock", f"it says {today}; set it: leases and results are timed by it")


def _memory(_: Session) -> Iterator[str | Finding]:
    where = "memfd" if hasattr(os, "memfd_create") else "a temporary file"
    try:
        journal = Journal.create(1)
        journal.page(0).look()
        journal.close()
    except OSError as exc:
        told = f"{where} cannot be made ({exc.strerror}); supervisor and workers share one, allow it"
        yield Finding(Verdict.FAIL, "shared memory", told)
    else:
        yield where


def _plugins(session: Session) -> Iterator[str | Finding]:
    usable = [plugin for plugin in session.plugins.listing() if not plugin.broken and not plugin.blocked]
    yield ", ".join(plugin.title for plugin in usable)
    for plugin in session.plugins.listing():
        if plugin.broken:
            remedy = f"; pip install --upgrade {plugin.distribution}" if plugin.distribution else ""
            yield Finding(Verdict.WARN, "plugins", f"{plugin.title} cannot be used: {plugin.broken}{remedy}")


def _workers(session: Session) -> Iterator[str | Finding]:
    workers, cpus = session.config.workers, available()
    text = f"{workers} for {cpus} CPUs"
    if workers > 4 * cpus:
        yield Finding(
            Verdict.WARN, "workers", f"{text}; they wait for one another unless tasks wait for the network"
        )
    else:
        yield text


# -- configuration and keys -------------------------------------------------------------------


def _configuration(session: Session) -> Iterator[str | Finding]:
    config = session.config
    file = _file(session)
    where = f"from {file}" if file else "without a file"
    yield f"queue {config.name!r}, {where}"


def _file(session: Session) -> Path | None:
    """Return the configuration file that is read."""
    if named := session.config_file or os.environ.get("QCORE_CONFIG"):
        return Path(named)
    return next(filter(Path.exists, (sources.DEFAULT_FILE, sources.PROJECT_FILE)), None)


def _private(file: Path) -> Iterator[Finding]:
    try:
        mode = file.expanduser().stat().st_mode
    except OSError as exc:
        yield Finding(Verdict.FAIL, "secret key", f"{file} cannot be read: {exc.strerror}")
        return
    if mode & 0o077:
        told = f"{file} holds the key and can be read by others; chmod 600 {file}"
        yield Finding(Verdict.WARN, "secret key", told)


def _keys(session: Session) -> Iterator[str | Finding]:
    keys = session.config.keys()
    count = "one key" if len(keys) == 1 else f"{len(keys)} keys, the first signs"
    yield f"{count}, {min(map(len, keys))} characters or more"
    if any(len(set(key)) < _DIFFERENT for key in keys):
        told = "a key repeats a few characters and can be guessed; make another with qcore keys new"
        yield Finding(Verdict.WARN, "secret key", told)
    if len(set(keys)) < len(keys):
        yield Finding(Verdict.WARN, "secret key", "one key is listed twice; leave it out once")
    given, file = session.config.secret_key, _file(session)
    in_clear = any(not key.startswith(keyfile.FILE) for key in given)
    if file and in_clear and "QCORE_SECRET_KEY" not in os.environ:
        yield from _private(file)
    for key in given:
        if key.startswith(keyfile.FILE):
            yield from _private(Path(key.removeprefix(keyfile.FILE)))


# -- broker, store, clusters ------------------------------------------------------------------


def _broker(session: Session) -> Iterator[str | Finding]:
    with session.runtime.brokers.lend() as broker:
        began = time.perf_counter()
        broker.ping()
        took = (time.perf_counter() - began) * 1000
        yield f"{broker.info()}; answers in {took:.1f} ms"
        if not broker.capabilities.receipts:
            yield Finding(
                Verdict.WARN, "broker", "it has no receipts: a task is lost with the worker that runs it"
            )
        if not broker.capabilities.processes:
            yield Finding(
                Verdict.WARN, "broker", "it lives in one process and cannot feed a cluster; for tests only"
            )
        size = broker.size()
        yield Finding(Verdict.OK, "queue", f"{size.ready:,} ready, {size.delayed or 0:,} delayed")
        if size.buried:
            told = f"{size.buried:,} dead letters; qcore buried list shows them"
            yield Finding(Verdict.WARN, "queue", told)


def _store(session: Session) -> Iterator[str | Finding]:
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
    with runtime.stores.lend() as store:
        store.save([sealed])
        found = store.get([id_])[0]
        store.delete([id_])
    if found is None or runtime.results.read(found).value != "well":
        yield Finding(Verdict.FAIL, "results", "what was saved did not come back; look at the result store")
    else:
        yield "saved, read and deleted one"


def _clusters(session: Session) -> Iterator[str | Finding]:
    runtime = session.runtime
    with runtime.brokers.lend() as broker:
        if not broker.capabilities.status:
            yield "this broker cannot tell"
            return
        found, unreadable = statuses(runtime, broker.statuses())
    if unreadable:
        told = f"{unreadable} signed with a key that is not in secret_key; add it, or stop them"
        yield Finding(Verdict.WARN, "clusters", told)
    if not found:
        yield Finding(Verdict.WARN, "clusters", "none works on this queue; qcore run MODULE:APP starts one")
    for one in found:
        ahead = one.published - time.time()
        yield f"{one.label} on {one.host}, pid {one.pid}: {one.state}, {len(one.workers)} workers"
        if ahead > _SKEW:
            told = f"the clock of {one.host} is {ahead:.0f} seconds ahead of ours; set both by NTP"
            yield Finding(Verdict.WARN, "clock", told)
        for trouble in one.troubles:
            yield Finding(Verdict.WARN, "clusters", f"{one.label} on {one.host}: {trouble}")
