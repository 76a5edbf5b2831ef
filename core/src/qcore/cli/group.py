"""Which verbs there are, and how a command ends."""

from __future__ import annotations

import importlib
import sys
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import click

from qcore import installed
from qcore.cli.exit_codes import Exit
from qcore.cli.failures import explain
from qcore.cli.session import Session
from qcore.cli.text import say
from qcore.errors import PluginError
from qcore_text import wording
from qcore_text.wording import typed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

#: verb -> what it does: the help is printed without importing any of them
VERBS: Final = MappingProxyType(
    {
        "run": "Run a cluster in the foreground.",
        "demo": "Parse Python files in a pool of workers.",
        "enqueue": "Enqueue a call of a function.",
        "schedule": "List, create, update, preview, pause, resume, run or delete schedules.",
        "result": "Print what a task returned.",
        "status": "Print the state of a task.",
        "cancel": "Cancel a task.",
        "group": "Show or delete the results of a result group.",
        "info": "Show broker, queue, results and clusters.",
        "queue": "List, show, pause, resume, purge or move the queues of a name.",
        "pause": "Pause the queue: clusters take no new tasks.",
        "resume": "Resume the queue.",
        "health": "Check that the queue is being worked on.",
        "dead-letters": "List, show, requeue or drop dead letters.",
        "purge": "Remove every waiting task.",
        "move": "Drain the queue into another broker.",
        "plugins": "List the plugins and what they offer.",
        "doctor": "Check configuration, broker, plugins and this machine.",
        "keys": "Make secret keys.",
    }
)
#: verb -> its file, where that has another name
_FILES: Final = MappingProxyType({"group": "grouped", "dead-letters": "dead_letters"})


class Verbs(click.Group):
    """Imports a verb when it is used, and asks plugins for the others."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return our verbs, then the plugins'."""
        offered = session(ctx).plugins.all("qcore_commands")
        return [*VERBS, *sorted(offered.keys() - VERBS.keys())]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a verb, or have a plugin make its command."""
        if cmd_name in VERBS:
            module = importlib.import_module(f"qcore.cli.{_FILES.get(cmd_name, cmd_name)}")
            verb: click.Command = module.command
            return verb
        if cmd_name.startswith("-"):
            return None
        offered = session(ctx).plugins.all("qcore_commands")
        if cmd_name not in offered:
            near = wording.did_you_mean(cmd_name, [*VERBS, *offered])
            if cmd_name in installed.KNOWN_COMMANDS:
                package = installed.KNOWN_COMMANDS[cmd_name]
                near = f"; the package {package} offers it: {installed.install(package)}"
            there_are = near or f"; {typed('--help')} lists them"
            msg = f"no command {cmd_name!r}{there_are}"
            raise click.UsageError(msg, ctx)
        try:
            made: click.Command = offered[cmd_name]()
        except (Exception, SystemExit) as exc:
            msg = f"the plugin's command {cmd_name!r} cannot be used: {wording.reason(exc)}"
            raise PluginError(msg) from exc
        return made

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        offered = session(ctx).plugins.all("qcore_commands")
        rows = [(name, VERBS.get(name) or _help_of(offered[name])) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def _help_of(factory: Callable[[], Any]) -> str:
    """Return the first line of the docstring of a plugin's factory, without calling it."""
    return (factory.__doc__ or "A plugin's command.").strip().partition("\n")[0]


def session(ctx: click.Context) -> Session:
    """Return what the commands of this run share."""
    root = ctx.find_root()
    if root.obj is None:
        made = Session(root.params.get("config_file"), root.params.get("switched", ()))
        root.call_on_close(made.close)
        root.obj = made
    found: Session = root.obj
    return found


def _version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from importlib.metadata import version  # noqa: PLC0415 - for this option alone

        say(f"qcore {version('qcore')}")
        ctx.exit()


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--config", "config_file", metavar="FILE", help="TOML file to use instead of qcore.toml.")
@click.option("-p", "switched", metavar="no:NAME", multiple=True, help="Switch a plugin off.")
@click.option(
    "--version", is_flag=True, expose_value=False, is_eager=True, callback=_version, help="Print it."
)
@click.pass_context
def command(ctx: click.Context, config_file: str | None, switched: tuple[str, ...]) -> None:
    """Run a task queue: qcore run MODULE:APP. To see one at work: qcore demo."""
    del config_file, switched
    session(ctx)


def main(arguments: Sequence[str] | None = None, *, begin: Callable[[], None] | None = None) -> None:
    """Run the command line and exit with the code that `qcore.cli` documents.

    Args:
        arguments: instead of those of the process.
        begin: called once a Ctrl-C is handled here.

    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # A character that the terminal cannot show is not a reason to fail.
            stream.reconfigure(errors="backslashreplace")
    sys.exit(_code(arguments, begin or (lambda: None)))


def _code(arguments: Sequence[str] | None, begin: Callable[[], None]) -> int:
    try:
        begin()
        done: Any = command.main(arguments, prog_name="qcore", standalone_mode=False)
    except (Exception, KeyboardInterrupt) as exc:  # noqa: BLE001 - the last frame: each is told in its way
        return explain(exc)
    return done if isinstance(done, int) else Exit.OK
