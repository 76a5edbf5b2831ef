"""What the demo runs and prints."""

from __future__ import annotations

import os
import secrets
import sysconfig
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from qcore.cli.demo_run import Chaos, DemoRun, Parsed
from qcore.cli.exit_codes import Exit
from qcore.cli.progress import progress
from qcore.cli.text import fit, json_option, say, say_json
from qcore.config import Config
from qcore.plugins import Plugins
from qcore_text.sanitize import line
from qcore_text.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Reasons shown of files that do not parse.
_SHOWN: Final = 12
#: Folders below the standard library that hold other people's packages.
_NOT_OURS: Final = frozenset({"site-packages", "dist-packages"})


@click.command("demo")
@click.argument("path", required=False, type=click.Path(exists=True, path_type=Path))
@click.option("--chaos", is_flag=True, help="Kill a random worker every second meanwhile.")
@click.option("--workers", type=click.IntRange(1, 256), help="Processes that parse; one for each CPU.")
@json_option
def command(path: Path | None, chaos: bool, workers: int | None, as_json: bool) -> int:
    """Parse every Python file under PATH, or the standard library, in a pool of workers.

    The queue is a temporary one. Exit code 1 if a file was lost.
    """
    unread: list[str] = []
    root = path or Path(sysconfig.get_path("stdlib"))
    files = list(_python_files(root, unread, skip=frozenset() if path else _NOT_OURS))
    if not files:
        why = f": {unread[0]}" if unread else "; name a folder that holds .py files, or one file"
        msg = f"no Python file can be found under {click.format_filename(root)}{why}"
        raise click.ClickException(msg)
    with tempfile.TemporaryDirectory(prefix="qcore-demo-") as folder:
        config = _config(folder, workers, chaos=chaos)
        if not as_json:
            say(fit(f"parsing {counted(len(files), 'file')}: {line(str(root))}", error=True), error=True)
        with progress(len(files), "files", silent=as_json) as bar:
            done = DemoRun(config, files, bar, Chaos() if chaos else None).run()
    if as_json:
        say_json(done.figures())
    else:
        _print(done, root, config.workers, unread, chaos=chaos)
    return Exit.FAILED if done.lost else Exit.OK


def _config(folder: str, workers: int | None, *, chaos: bool) -> Config:
    # Where the default broker keeps its files, whichever it is; processes of the cluster inherit it.
    os.environ["XDG_STATE_HOME"] = folder
    settings: dict[str, Any] = {
        "name": "demo",
        # chosen by its name, so that nobody is warned of a queue that nothing places
        Plugins.discover().default_broker(): {},
        "secret_key": secrets.token_urlsafe(32),
        "preload": ["qcore.cli.demo_task"],
        # all results are read
        "save_limit": 0,
        # what a killed worker held is redelivered soon
        "retry": 10,
        "timeout": 120,
        "max_attempts": 3,
        "max_crashes": 100 if chaos else 3,
        "shutdown_timeout": 2,
        # workers are killed on purpose here, and the summary counts them
        "log_level": "CRITICAL",
    }
    if workers:
        settings["workers"] = workers
    return Config.from_dict(settings)


def _python_files(root: Path, unread: list[str], skip: frozenset[str]) -> Iterator[bytes]:
    if root.is_file():
        yield os.fsencode(root)
        return
    for folder, folders, names in os.walk(
        root, onerror=lambda error: unread.append(f"{error.filename}: {error.strerror}")
    ):
        folders[:] = sorted(name for name in folders if name not in skip)
        for name in sorted(names):
            path = os.path.join(folder, name)  # noqa: PTH118 - thousands of them
            # A pipe of that name would never end; a broken link is reported.
            if name.endswith(".py") and (os.path.isfile(path) or os.path.islink(path)):  # noqa: PTH113, PTH114 - as above
                yield os.fsencode(path)


def _print(done: Parsed, root: Path, workers: int, unread: list[str], *, chaos: bool) -> None:
    for trouble in unread:
        say(fit(f"not read: {line(trouble)}"))
    for path, reason in sorted(done.failed)[:_SHOWN]:
        say(fit(f"does not parse: {_short(path, root)}: {line(reason)}"))
    if len(done.failed) > _SHOWN:
        say(f"... and {len(done.failed) - _SHOWN:,} more")
    if done.failed or unread:
        say()
    say(f"files        {done.files:,}, {len(done.failed):,} of them do not parse")
    say(f"lines        {done.lines:,}")
    say(f"definitions  {done.definitions:,}")
    say(f"time         {done.seconds:.1f} s with {counted(workers, 'worker')}")
    say(f"rate         {counted(round(done.rate), 'task')} a second")
    if chaos:
        say(f"kills        {done.kills:,}")
        say(f"re-runs      {done.reruns:,}")
    say(f"lost         {f'{done.lost:,}' if done.lost else 'nothing'}")
    if done.trouble:
        say(f"qcore: {line(done.trouble)}", error=True)


def _short(path: bytes, root: Path) -> str:
    whole = Path(os.fsdecode(path))
    return line(str(whole.relative_to(root) if whole != root else whole).encode("utf-8", "replace").decode())
