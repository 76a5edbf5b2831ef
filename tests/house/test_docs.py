"""Every block of the documents runs, and prints what the page says it prints."""

from __future__ import annotations

import ast
import configparser
import json
import re
import subprocess
import tomllib
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.house.pages import Block, Reader, blocks, commands, matches, pages
from tests.house.tree import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LINK: Final = re.compile(r"(?<!!)\[[^\]]+\]\((?P<target>[^)\s]+)\)")
DOCKER: Final = frozenset(
    {"ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL", "RUN"}
    | {"STOPSIGNAL", "USER", "VOLUME", "WORKDIR"}
)


def each_page() -> list[Any]:
    """Every document, named by its path."""
    return [pytest.param(page, id=page.relative_to(ROOT).as_posix()) for page in pages()]


@pytest.mark.parametrize("page", each_page())
def test_a_page_does_what_it_says(page: Path, tmp_path: Path) -> None:
    """Its files are saved, its Python and its commands run from top to bottom."""
    reader = Reader(tmp_path)
    script: list[Block] = []
    try:
        for block in blocks(page):
            if block.file:
                reader.save(block.file, block.text)
            elif block.tag == "python":
                script.append(block)
            elif block.tag == "console":
                run_script(reader, script)
                run_commands(reader, block)
        run_script(reader, script)
    finally:
        reader.close()


def run_script(reader: Reader, script: list[Block]) -> None:
    """Run the Python blocks gathered so far as one script, as a reader would paste them."""
    if script:
        name = f"block_{script[0].line}.py"
        reader.save(name, "\n".join(block.text for block in script))
        script.clear()
        reader.run(f"python {name}")


def run_commands(reader: Reader, block: Block) -> None:
    """Run the commands of a console block; output that is shown must be what is printed."""
    for command in commands(block):
        printed = reader.run(command.text)
        if command.expected:
            assert matches(command.expected, printed), f"$ {command.text}\nprinted:\n{printed}"


def is_unit(text: str) -> None:
    """A systemd unit: sections and keys, of which some may come twice."""
    parser = configparser.ConfigParser(strict=False, interpolation=None, delimiters=("=",))
    parser.read_string(text)
    assert parser.sections()


def is_dockerfile(text: str) -> None:
    """Each line begins with an instruction, after joining continued ones."""
    joined = re.sub(r"\\\n", " ", text)
    instructions = [line.split()[0] for line in joined.splitlines() if line.strip() and line[0] != "#"]
    assert instructions[0] in {"ARG", "FROM"}
    assert set(instructions) <= DOCKER


def is_shell(text: str) -> None:
    """Bash can read it."""
    subprocess.run(["bash", "-n"], input=text, text=True, check=True)


#: language tag -> what can be said of a block without running it
READABLE: Final[dict[str, Callable[[str], object]]] = {
    "python": ast.parse,
    "console": lambda text: text.startswith("$ ") or pytest.fail("a console block begins with `$ `"),
    "toml": tomllib.loads,
    "json": json.loads,
    "ini": is_unit,
    "dockerfile": is_dockerfile,
    "sh": is_shell,
    "text": str,
    # the table of contents, which the build of the documents checks
    "{toctree}": str,
}


@pytest.mark.parametrize("page", each_page())
def test_a_block_can_be_read_as_what_it_claims(page: Path) -> None:
    """Each block has a known tag and is written in that language."""
    for block in blocks(page):
        assert block.tag in READABLE, f"{page.name}:{block.line} has the tag {block.tag!r}"
        READABLE[block.tag](block.text)


@pytest.mark.parametrize("page", each_page())
def test_links_lead_somewhere(page: Path) -> None:
    """A link to a file of the project leads to one that is there."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    targets = [match["target"].partition("#")[0] for match in LINK.finditer(text)]
    missing = [t for t in targets if t and "://" not in t and not (page.parent / t).exists()]

    assert not missing, missing


@pytest.mark.parametrize("page", each_page())
def test_a_page_has_one_title(page: Path) -> None:
    """One idea a page: it begins with the only heading of the first rank."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^# .+$", text, re.MULTILINE)

    assert len(titles) == 1
    assert text.startswith(titles[0])


@pytest.mark.parametrize(
    ("expected", "actual", "verdict"),
    [
        ("done", "done\n", True),
        ("3 tasks in ... s", "3 tasks in 0.21 s", True),
        ("first\n...", "first\nsecond\nthird", True),
        ("done", "not done", False),
    ],
)
def test_output_is_compared(expected: str, actual: str, *, verdict: bool) -> None:
    """What a page shows is what is printed; `...` stands for anything."""
    assert matches(expected, actual) is verdict
