"""How the doctor's results are printed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs
import click

from qcore.cli.check_result import Verdict
from qcore.cli.checks import examine
from qcore.cli.exit_codes import Exit
from qcore.cli.text import json_option, say, say_json
from qcore_text.sanitize import clean

if TYPE_CHECKING:
    from qcore.cli.session import Session

_COLOURS: Final = ((Verdict.OK, "green"), (Verdict.WARN, "yellow"), (Verdict.FAIL, "red"))


@click.command("doctor")
@json_option
@click.pass_obj
def command(session: Session, as_json: bool) -> int:
    """Check configuration, keys, broker, store, plugins and this machine.

    Exit code 1 if something keeps tasks from being run; a warning is not a failure.
    """
    findings = []
    for finding in examine(session):
        findings.append(finding)
        if not as_json:
            mark = click.style(f"{finding.verdict.value:<5}", fg=dict(_COLOURS)[finding.verdict])
            first, *more = clean(finding.text).splitlines() or [""]
            say(f"{mark} {clean(finding.about):<14} {first}")
            for text in more:
                say(f"{'':<20} {text}")
    failed = any(finding.verdict is Verdict.FAIL for finding in findings)
    if as_json:
        checks = [{**attrs.asdict(finding), "verdict": finding.verdict.value} for finding in findings]
        say_json({"ok": not failed, "checks": checks})
    return Exit.FAILED if failed else Exit.OK
