"""How words of the command line become a task's arguments."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

import click

from qcore.cli.exit_codes import Exit
from qcore.cli.result import print_result
from qcore.cli.text import json_option, say
from qcore.errors import QcoreError
from qcore.tasks.call import UNSET, Call, Options
from qcore_names.resolve import name_of

if TYPE_CHECKING:
    from qcore.cli.session import Session

_NEGATIVE: Final = re.compile(r"-(\d|\.\d|Infinity$)")


class WithNumbers(click.Command):
    """Takes `-2` for a number, not for an option."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Set a blank before numbers below zero, which JSON ignores."""
        end = args.index("--") if "--" in args else len(args)
        return super().parse_args(
            ctx,
            [f" {arg}" if _NEGATIVE.match(arg) and at < end else arg for at, arg in enumerate(args)],
        )


def as_arguments(_: click.Context, __: click.Parameter, words: tuple[str, ...]) -> list[Any]:
    """Read words as arguments of a task; a callback of click."""
    return [_argument(word) for word in words]


def _argument(word: str) -> Any:  # noqa: ANN401 - JSON
    try:
        return json.loads(word)
    except (ValueError, RecursionError):
        return word


def as_named(_: click.Context, __: click.Parameter, text: str | None) -> dict[str, Any]:
    """Read a JSON object as named arguments of a task; a callback of click."""
    try:
        found = json.loads(text or "{}")
    except (ValueError, RecursionError) as exc:
        msg = f"{text!r} is not JSON ({exc}); write an object such as '{{\"pence\": 50}}'"
        raise click.BadParameter(msg) from exc
    if not isinstance(found, dict):
        msg = f"{text!r} is not a JSON object; write one such as '{{\"pence\": 50}}'"
        raise click.BadParameter(msg)
    return found


@click.command("enqueue", cls=WithNumbers)
@click.argument("name")
@click.argument("arguments", metavar="[ARGUMENTS]...", nargs=-1, callback=as_arguments)
@click.option("--kwargs", "named", metavar="JSON", callback=as_named, help="Named arguments, an object.")
@click.option(
    "--delay",
    metavar="SECONDS",
    type=click.FloatRange(min=0),
    default=0.0,
    help="Run it no sooner than that.",
)
@click.option(
    "--timeout", metavar="SECONDS", type=click.FloatRange(min=0, min_open=True), help="Seconds it may run."
)
@click.option("--group", help="Result group of the result.")
@click.option("--label", help="Free text kept with the result.")
@click.option("--wait", metavar="SECONDS", type=click.FloatRange(min=0), help="Wait and print the result.")
@json_option
@click.pass_obj
def command(
    session: Session,
    name: str,
    arguments: list[Any],
    named: dict[str, Any],
    wait: float | None,
    as_json: bool,
    delay: float,
    timeout: float | None,
    group: str | None,
    label: str | None,
) -> int:
    """Enqueue a call of NAME, such as math.copysign, and print the task's id.

    Each argument is read as JSON, or else as text: 3, 2.5, true, '[1, 2]', word, '"3"'.
    """
    options = Options(delay=delay, timeout=UNSET if timeout is None else timeout, group=group, label=label)
    call = Call(name_of(name), tuple(arguments), named, options, options.head(name))
    (job,) = session.app.enqueue_many([call])
    if not job.id:
        msg = f"a plugin's pre_enqueue hook skipped {name!r}; nothing was enqueued"
        raise QcoreError(msg)
    if wait is not None:
        return print_result(session, job.id, job.fetch(wait), as_json=as_json)
    say(json.dumps({"id": job.id}) if as_json else job.id)
    return Exit.OK
