"""What the doctor checks, and where it stops."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from qcore.cli import system_checks
from qcore.cli.check_result import CheckResult, Verdict
from qcore.cli.outbox_check import outbox
from qcore.errors import QcoreError, QueueMissing
from qcore_text import wording

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from qcore.cli.session import Session
    from qcore.installed import Plugin
    from qcore.interfaces import Settings

    _Look = Callable[[Session], Iterator["str | CheckResult"]]

#: hooks that offer what a configuration chooses by name
_CHOSEN: Final = (
    "qcore_settings",
    "qcore_brokers",
    "qcore_result_stores",
    "qcore_coordination_stores",
    "qcore_serializers",
    "qcore_error_reporters",
)


_OF_A_QUEUE: Final = (
    ("clock", system_checks.clock),
    ("results", system_checks.store),
    ("coordination", system_checks.coordination),
    ("outbox", outbox),
    ("clusters", system_checks.clusters),
    ("schedules", system_checks.schedules),
    ("seals", system_checks.seals),
)


def examine(session: Session) -> Iterator[CheckResult]:
    """Run all checks, the most basic first; stop if the configuration or the broker cannot be used."""
    for about, look in (
        ("interpreter", system_checks.interpreter),
        ("shared memory", system_checks.memory),
        ("plugins", system_checks.plugins),
    ):
        yield from _run(about, look, session)
    for about, look in (
        ("configuration", system_checks.configuration),
        ("secret key", system_checks.keys),
        ("broker", system_checks.broker),
    ):
        found = list(_run(about, look, session))
        yield from found
        if any(finding.verdict is Verdict.FAIL for finding in found):
            return
    yield from _run("workers", system_checks.workers, session)
    # Of a queue that is not there yet, the broker says so, and there is nothing in it.
    for about, look in _OF_A_QUEUE if found[0].verdict is Verdict.OK else ():
        yield from _run(about, look, session)
    for plugin in session.plugins.listing():
        if _in_use(plugin, session):
            for name, check in plugin.offers.get("qcore_checks", {}).items():
                yield from _run(name, _of_plugin(check), session)


def _in_use(plugin: Plugin, session: Session) -> bool:
    """Whether the configuration uses the plugin: a service that is not used need not answer."""
    config = session.config
    chosen = {config.broker, config.result_store, config.coordination_store, config.serializer}
    chosen |= {config.outbox, *config.accept_serializers}
    chosen |= {*config.error_reporter, *config.sections}
    offered = {name for hook in _CHOSEN for name in plugin.offers.get(hook, ())}
    return not offered or not offered.isdisjoint(chosen)


def _of_plugin(check: Callable[[Settings], str]) -> _Look:
    def look(session: Session) -> Iterator[str]:
        yield check(session.config.settings())

    return look


def _run(about: str, look: _Look, session: Session) -> Iterator[CheckResult]:
    """Turn what a check yields, logs and raises into results."""
    found: list[CheckResult] = []
    with _warnings() as warnings:
        try:
            found.extend(
                one if isinstance(one, CheckResult) else CheckResult(Verdict.OK, about, one)
                for one in look(session)
            )
        except QueueMissing as exc:
            found.append(CheckResult(Verdict.WARN, about, str(exc)))
        except QcoreError as exc:
            found.append(CheckResult(Verdict.FAIL, about, str(exc)))
        except (Exception, SystemExit) as exc:  # noqa: BLE001 - a check that fails is a result too
            found.append(CheckResult(Verdict.FAIL, about, wording.reason(exc)))
    yield from found
    for text in warnings:
        yield CheckResult(Verdict.WARN, about, text)


@contextmanager
def _warnings() -> Iterator[list[str]]:
    """Collect the warnings that qcore logs meanwhile."""
    warned: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.getMessage() not in warned:
                warned.append(record.getMessage())

    log = logging.getLogger("qcore")
    collector = Collector(logging.WARNING)
    before = log.propagate
    log.addHandler(collector)
    log.propagate = False
    try:
        yield warned
    finally:
        log.propagate = before
        log.removeHandler(collector)
