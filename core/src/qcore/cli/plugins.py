"""How plugins are listed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from qcore.cli.exit_codes import Exit
from qcore.cli.text import json_option, say, say_json
from qcore_text.sanitize import line

if TYPE_CHECKING:
    from qcore.cli.session import Session
    from qcore.installed import Plugin


@click.command("plugins")
@json_option
@click.pass_obj
def command(session: Session, as_json: bool) -> int:
    """List the plugins with what they offer, or the reason why one cannot be used."""
    found = session.plugins.listing()
    if as_json:
        say_json({"plugins": [_record(plugin) for plugin in found]})
        return Exit.OK
    for index, plugin in enumerate(found):
        if index:
            say()
        say(line(plugin.title))
        for what, value in _lines(plugin):
            say(f"  {what:<16} {line(value)}")
    return Exit.OK


def _lines(plugin: Plugin) -> list[tuple[str, str]]:
    if plugin.broken:
        return [("cannot be used", plugin.broken)]
    if plugin.blocked:
        return [("switched off", "by -p or QCORE_DISABLE_PLUGINS")]
    lines = [(what, ", ".join(names)) for what, names in _offers(plugin).items()]
    if plugin.hooks:
        lines.append(("hooks", ", ".join(plugin.hooks)))
    return [*lines, ("file", plugin.file)] if plugin.file else lines


def _offers(plugin: Plugin) -> dict[str, list[str]]:
    return {
        hook.removeprefix("qcore_").replace("_", " "): sorted(names)
        for hook, names in sorted(plugin.offers.items())
        if names
    }


def _record(plugin: Plugin) -> dict[str, object]:
    return {
        "name": plugin.name,
        "distribution": plugin.distribution,
        "version": plugin.version,
        "file": plugin.file,
        "offers": {what.replace(" ", "_"): names for what, names in _offers(plugin).items()},
        "hooks": list(plugin.hooks),
        "broken": plugin.broken,
        "switched_off": plugin.blocked,
    }
