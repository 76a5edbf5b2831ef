"""Command lines in this process, in a folder with a configuration."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NamedTuple

import pytest

import qcore.cli
from qcore import App, Config

if TYPE_CHECKING:
    from pathlib import Path


KEY = "a key of the tests of the command line"


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


def typed(capture: pytest.CaptureFixture[str], *words: str) -> Ended:
    """Run a command line; `capfd` captures what its children print, too."""
    with pytest.raises(SystemExit) as ended:
        qcore.cli.main(words)
    out, err = capture.readouterr()
    return Ended(int(ended.value.code or 0), out, err)


def configured(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, more: str = "") -> App:
    """Return a producer on an empty queue, configured in the folder, which becomes the current one."""
    file = folder / "qcore.toml"
    file.write_text(f'name = "{name}"\nsecret_key = "{KEY}"\n{more}[sqlite]\npath = "queue.db"\n')
    file.chmod(0o600)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [*sys.path])
    made = App(Config.load(file))
    made.runtime.make_broker().close()
    return made
