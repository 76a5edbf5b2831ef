"""Whether a command that only looks leaves a backend as it was."""

from __future__ import annotations

import json
from contextlib import suppress
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import pytest

from qcore.cli import main
from qcore.cli.exit_codes import Exit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

#: what an operator does who has misspelt the name of a queue
LOOKS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "info": ("info",),
        "health": ("health", "--stalled-after", "0"),
        "dead-letters list": ("dead-letters", "list"),
        "move": ("move", "--from", "qcore.toml", "--to", "target.toml"),
    }
)
_KEY: Final = "a key of the tests of a plugin of qcore"


def check_looking_creates_nothing(
    look: str, settings: Mapping[str, Any], there: Callable[[], object], folder: Path
) -> None:
    """Run a command, in this process, for a queue that does not exist.

    - What the backend holds stays as it was, and so do the folders of the user.
    - The command ends, and not by a fault of the plugin's.

    Args:
        look: one of `LOOKS`.
        settings: the keys of the configuration that lead to the backend.
        there: returns what the backend holds.
        folder: empty, for the configuration.

    """
    named = {"name": "misspelt", "secret_key": _KEY}
    _write(folder / "qcore.toml", {**named, **settings})
    _write(folder / "target.toml", {**named, "sqlite": {"path": "target/queue.db"}})
    (folder / "state").mkdir()
    before, files = there(), _files(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("XDG_STATE_HOME", str(folder / "state"))
        with pytest.raises(SystemExit) as ended:
            main(LOOKS[look])

    assert ended.value.code in {Exit.OK, Exit.FAILED, Exit.UNAVAILABLE}
    assert there() == before, f"{look} made something in the backend"
    # the target of a move is made where the source is empty and not missing
    made = {name for name in _files(folder) - files if not name.startswith("target/")}
    assert not made, f"{look} made {', '.join(sorted(made))}"


def _files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.name != "target"}


def _write(path: Path, settings: Mapping[str, Any]) -> None:
    path.write_text("".join(f"{key} = {_toml(value)}\n" for key, value in settings.items()), encoding="utf-8")


def _toml(value: object) -> str:
    """Return a value of a configuration as TOML has it, which has JSON's but for tables."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(one)}" for key, one in value.items()) + "}"
    with suppress(TypeError):
        return json.dumps(value)
    return json.dumps(str(value))
