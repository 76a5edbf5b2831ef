"""Which App a cluster in the foreground works for."""

from __future__ import annotations

import logging
import os
import signal
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from qcore.app import App
from qcore.cli import pid1
from qcore.cli.exit_codes import Exit
from qcore.cli.failures import explain
from qcore.cli.near_modules import near
from qcore.cli.session import Session
from qcore.cli.text import say
from qcore.cluster import boot_of, check_backends
from qcore.config import Config
from qcore.errors import ConfigError
from qcore.guarding import guarded
from qcore.runtime import Runtime
from qcore.settings.options import MOST_COROUTINES, MOST_THREADS
from qcore.supervision.importer import ImportFailed, import_apart
from qcore.supervision.supervisor import Supervisor
from qcore.user_modules import import_user_module
from qcore_logs import setup
from qcore_reload.watcher import Watcher, forget, named
from qcore_settings.rules import EnvText
from qcore_text import wording
from qcore_text.sanitize import line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qcore.plugins import Plugins
    from qcore.supervision.zygote_link import ZygoteLink


_log = logging.getLogger("qcore.cluster")


@click.command("run")
@click.argument("target", metavar="[MODULE:APP]", required=False)
@click.option("--config", "config_file", metavar="FILE", help="TOML file to use instead of qcore.toml.")
@click.option("-p", "switched", metavar="no:NAME", multiple=True, help="Switch a plugin off.")
@click.option("--workers", type=click.IntRange(min=1), help="Processes that run tasks.")
@click.option("--threads", type=click.IntRange(1, MOST_THREADS), help="Plain functions at once in each.")
@click.option("--coroutines", type=click.IntRange(1, MOST_COROUTINES), help="Async tasks at once in each.")
@click.option(
    "--queues", type=EnvText, metavar="QUEUE,...", help="Queues whose tasks it runs, the first one first."
)
@click.option("--label", help="Name of the cluster in logs and monitors.")
@click.option("--log-level", help="Lowest level that is logged.")
@click.option("--log-format", help="text, or json: one object a line.")
@click.option("--log-tasks", is_flag=True, default=None, help="Log a line for each task that is done.")
@click.option("--shutdown-timeout", type=click.FloatRange(min=0), help="Seconds tasks get at the end.")
@click.option("--reload", is_flag=True, help="Replace the workers when your modules change.")
@click.pass_obj
def command(
    session: Session,
    /,
    target: str | None,
    config_file: str | None,
    switched: tuple[str, ...],
    *,
    reload: bool,
    **overrides: Any,
) -> int:
    """Run a cluster for the App named by MODULE:APP, such as shop:app, until it is stopped.

    Without MODULE:APP the configuration is used, and tasks are found by their dotted names.
    Ctrl-C or SIGTERM lets running tasks end; a second one interrupts them.
    """
    if os.getpid() == 1:
        pid1.stand_by()
    if config_file or switched:
        session = Session(
            config_file or session.config_file, (*(f"no:{one}" for one in session.blocked), *switched)
        )
    _tell_children(session)
    plugins = session.plugins  # they complete the path
    # Before the import, so that no change is missed.
    watcher = Watcher(sys.path) if reload else None
    zygote = None
    try:
        config, modules, zygote = _chosen(session, target)
        config = _overridden(
            config, {key: value for key, value in overrides.items() if value is not None}, session.plugins
        )
        serve(config, plugins, modules, zygote, watcher)
    finally:
        if watcher is not None:
            watcher.close()
        if zygote is not None:
            zygote.close()
    return Exit.OK


def serve(
    config: Config,
    plugins: Plugins,
    modules: Sequence[str] = (),
    zygote: ZygoteLink | None = None,
    watcher: Watcher | None = None,
) -> None:
    """Run a cluster in this process until it is stopped.

    Args:
        config: its settings.
        plugins: those installed.
        modules: imported in workers before they are forked, after `preload`.
        zygote: a process that has imported them.
        watcher: tells which files change, for workers to be replaced.

    Raises:
        QcoreError: it did not start; the message says why.

    """
    setup.configure(config)
    place = check_backends(config, plugins)
    _log.log(
        logging.INFO if config.placed else logging.WARNING,
        "queue %s: %s; configuration: %s",
        config.name,
        place,
        config.file_text,
    )
    boot = boot_of(config, modules, plugins=plugins)
    supervisor = Supervisor(Runtime(config, plugins, guard=guarded), boot, zygote)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
        # The terminal was closed; with nohup it stays ignored.
        signal.signal(signal.SIGHUP, lambda *_: supervisor.stop())
    supervisor.run(on_ready=partial(_reload_on, watcher, supervisor))


def _reload_on(watcher: Watcher | None, supervisor: Supervisor) -> None:
    """Have a supervisor replace the workers when files have changed, if they are watched."""
    if watcher is None:
        return

    def changed() -> None:
        files = watcher.changed()
        if files is None:
            supervisor.unwatch(watcher.fileno())
            _log.error("files are not watched any more, because the process that does it has ended")
        elif files:
            _log.info("%s changed; your modules are imported anew", named(files))
            supervisor.reload(lambda: forget(files))

    _log.info("files are watched below %s", wording.listed(watcher.folders))
    supervisor.watch(watcher.fileno(), changed)


def _tell_children(session: Session) -> None:
    """Have an `App()` made by a task, in a worker, use the same file and the same plugins."""
    if session.config_file:
        os.environ["QCORE_CONFIG"] = str(Path(session.config_file).absolute())
    if session.blocked:
        said = os.environ.get("QCORE_DISABLE_PLUGINS", "")
        os.environ["QCORE_DISABLE_PLUGINS"] = ",".join(filter(None, [said, *session.blocked]))


def _chosen(session: Session, target: str | None) -> tuple[Config, list[str], ZygoteLink | None]:
    """Return the configuration to run with, the modules to import in workers, and who has done so."""
    if target is None:
        return session.config, [], None
    module, _, name = target.partition(":")
    _check_name(module, name)
    try:
        values, zygote = import_apart(
            module,
            lambda: _configured(session, target, module, name),
            session.plugins,
            explain=explain,
            show=lambda text: say(text, error=True),
        )
    except ImportFailed as exc:
        raise click.exceptions.Exit(exc.code) from exc
    return Config.unpacked(values, session.plugins), [module], zygote


def _configured(session: Session, target: str, module: str, name: str) -> Config:
    """Import the user's module, in a process that is not the supervisor, and return its configuration."""
    config = _app(module, name).config
    if session.config_file and config != Config.load(session.config_file, plugins=session.plugins):
        msg = (
            f"{target} is configured in its code, so that --config {session.config_file} would not be used; "
            "leave it out, or make the app with App()"
        )
        raise click.UsageError(msg)
    return config


def _check_name(module: str, name: str) -> None:
    meant = _meant(module)
    if not all(part.isidentifier() for part in module.split(".")) or Path(module).suffix == ".py":
        known = near(module and meant)
        msg = f"{line(module)!r} is not the name of a module; write {meant}:{name or 'app'}{known}"
        raise click.UsageError(msg)


def _app(module: str, name: str) -> App:
    try:
        found: Any = import_user_module(module)
    except ModuleNotFoundError as exc:
        if not name and "." in module:
            named = f"; write {line(':'.join(module.rsplit('.', 1)))} if the last part is the app"
        else:
            named = near(module) or f"; name it as in 'import {line(module)}'"
        msg = f"no module {exc.name!r} here or on the path{named}"
        raise click.UsageError(msg) from exc
    apps = {key: value for key, value in vars(found).items() if isinstance(value, App)}
    if not name:
        if len(apps) == 1:
            return next(iter(apps.values()))
        msg = f"{module} has {len(apps)} apps ({wording.listed(apps)}); write {module}:NAME"
        raise click.UsageError(msg)
    for part in name.split("."):
        if not hasattr(found, part):
            meant = wording.did_you_mean(name, apps)
            msg = f"{module} has no {name!r}; its apps: {wording.listed(apps)}{meant}"
            raise click.UsageError(msg)
        found = getattr(found, part)
    if not isinstance(found, App):
        kind = type(found).__name__
        msg = f"{module}:{name} is of type {kind} and not a qcore.App; its apps: {wording.listed(apps)}"
        raise click.UsageError(msg)
    return found


def _meant(module: str) -> str:
    """Return the name of the module that a path leads to, such as `shop.tasks` for `./shop/tasks.py`."""
    parts = [part for part in Path(module.lstrip(".").removesuffix(".py")).parts if part.isidentifier()]
    return ".".join(parts) or "shop"


def _overridden(config: Config, overrides: dict[str, Any], plugins: Plugins) -> Config:
    if not overrides:
        return config
    packed = config.packed()
    try:
        return Config.unpacked({**packed, "settings": {**packed["settings"], **overrides}}, plugins)
    except ConfigError as exc:
        raise click.UsageError(str(exc)) from exc
