"""What `qcore doctor` says of the outbox."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qcore.cli.check_result import CheckResult, Verdict
from qcore.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qcore.cli.session import Session


def outbox(session: Session) -> Iterator[str | CheckResult]:
    """Count what waits in the outbox, where there is one."""
    name = session.config.outbox
    if name is None:
        return
    with session.runtime.outboxes.connection() as found:
        size = found.size()
    if size.dead_letters:
        text = f"{counted(size.dead_letters, 'task')} refused by the broker; the log of the clusters says why"
        yield CheckResult(Verdict.FAIL, "outbox", text)
    waiting = size.ready + (size.leased or 0)
    text = f"{name}: {counted(waiting, 'task')} to be moved to the broker"
    yield CheckResult(Verdict.WARN if waiting else Verdict.OK, "outbox", text)
