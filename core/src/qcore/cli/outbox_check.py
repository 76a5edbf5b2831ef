"""What `qcore doctor` says of the outbox."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from qcore.cli.check_result import CheckResult, Verdict
from qcore.cli.info import outbox_text
from qcore.cli.overview import outbox_info
from qcore_text.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qcore.cli.session import Session


def outbox(session: Session) -> Iterator[str | CheckResult]:
    """Count what waits in the outbox, where there is one, and say for how long."""
    if session.config.outbox is None:
        return
    with session.runtime.outboxes.connection() as found:
        size = found.size()
    if size.dead_letters:
        text = f"{counted(size.dead_letters, 'task')} refused by the broker; the log of the clusters says why"
        yield CheckResult(Verdict.FAIL, "outbox", text)
    info = outbox_info(session.runtime)
    if info is not None:
        verdict = Verdict.WARN if info.waiting else Verdict.OK
        yield CheckResult(verdict, "outbox", outbox_text(attrs.evolve(info, refused=0)))
