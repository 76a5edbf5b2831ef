"""The documents as the tests read them: pages, blocks, commands."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from tests.house.tree import ROOT, plugin_folders

if TYPE_CHECKING:
    from collections.abc import Iterator

#: seconds one command of a page may take
TIMEOUT: Final = 200.0
FENCE: Final = re.compile(
    r"(?:<!-- file: (?P<file>\S+) -->\n+)?^(?P<fence>```+)(?P<tag>[\w{}-]*)\n(?P<text>.*?)^(?P=fence)$",
    re.MULTILINE | re.DOTALL,
)


class Block(NamedTuple):
    """One fenced block of a page."""

    line: int
    tag: str
    text: str
    #: the file a reader saves it as, from a comment `file: name` above the block
    file: str


def pages() -> list[Path]:
    """Every document a user reads."""
    readmes = [ROOT / "README.md", ROOT / "core" / "README.md"]
    return [
        *(path for path in readmes if path.exists()),
        *sorted((ROOT / "docs").rglob("*.md")),
        *(folder / "README.md" for folder in plugin_folders() if (folder / "README.md").exists()),
    ]


def blocks(page: Path) -> Iterator[Block]:
    """Yield the blocks of a page in their order."""
    text = page.read_text(encoding="utf-8")
    for match in FENCE.finditer(text):
        line = text.count("\n", 0, match.start("fence")) + 1
        yield Block(line, match["tag"], match["text"], match["file"] or "")


class Command(NamedTuple):
    """One `$ ` line of a console block and what the page says it prints."""

    line: int
    text: str
    expected: str


def commands(block: Block) -> Iterator[Command]:
    """Yield the commands of a console block; a line ended by a backslash goes on."""
    found: list[tuple[int, list[str], list[str]]] = []
    for number, line in enumerate(block.text.splitlines(), block.line + 1):
        if line.startswith("$ "):
            found.append((number, [line[2:]], []))
        elif found and not found[-1][2] and found[-1][1][-1].endswith("\\"):
            found[-1][1].append(line)
        else:
            found[-1][2].append(line)
    for number, parts, output in found:
        yield Command(number, "\n".join(parts), "\n".join(output))


def matches(expected: str, actual: str) -> bool:
    """Whether a command printed what the page says; `...` stands for anything."""
    pattern = ".*".join(re.escape(part) for part in expected.strip().split("..."))
    return re.fullmatch(pattern, actual.strip(), re.DOTALL) is not None


class Reader:
    """Does what a page says, in a folder of its own, as a new user would."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._left_running: list[tuple[str, subprocess.Popen[str]]] = []
        foreign = ("QCORE", "XDG", "PYTEST", "COV", "DJANGO")
        kept = {k: v for k, v in os.environ.items() if not k.startswith(foreign)}
        self._environment = {
            **kept,
            "HOME": str(folder),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": "",
            # as on a terminal: what is printed first is seen first
            "PYTHONUNBUFFERED": "1",
        }

    def save(self, name: str, text: str) -> None:
        """Save a block as the file the page names."""
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def run(self, command: str) -> str:
        """Run a command and return what it printed on both streams."""
        if command.endswith(" &"):
            self._left_running.append((command, self._start(command.removesuffix(" &"))))
            return ""
        process = self._start(command)
        try:
            output, _ = process.communicate(timeout=TIMEOUT)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, _ = process.communicate()
            raise AssertionError(f"$ {command}\ndid not end in {TIMEOUT} s:\n{output}") from None
        assert process.returncode == 0, f"$ {command}\nended with {process.returncode}:\n{output}"
        return output

    def _start(self, command: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["bash", "-euo", "pipefail", "-c", command],
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def close(self) -> None:
        """Stop what the page left running, as control-C would; it must have been running until now."""
        for command, process in self._left_running:
            ended = process.poll() is not None
            if not ended:
                os.killpg(process.pid, signal.SIGINT)
            try:
                output, _ = process.communicate(timeout=TIMEOUT)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                output, _ = process.communicate()
                ended = True
            assert not ended, f"$ {command}\nended too early or not at all:\n{output}"
