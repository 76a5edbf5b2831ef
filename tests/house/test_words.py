"""The words a reader would have to guess at, and what is said instead."""

from __future__ import annotations

import io
import re
import tokenize
from typing import TYPE_CHECKING, Final, NamedTuple

import pytest

from tests.house.pages import pages
from tests.house.reference import MARK
from tests.house.tree import ROOT, plugin_modules, test_modules, wheel_modules

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: pattern -> what to say instead; the case of letters does not matter
BANNED: Final = {
    r"call(ed|s|ing)?( it| them| one| tasks| (a|the) \w+)? off": "cancel",
    r"present(ed|s)? (\w+ ){0,3}again": "redelivered",
    r"pass(ed|es)? over\b(?! to)": "skipped, or ignored",
    r"outliv(e|es|ed|ing)": "expired, or survives",
    r"worn[ -]out": "the delivery limit is reached",
    r"take[ns]? (it |them |messages )?back": "removed from the queue",
    r"puts? (it |them |all )?back": "released",
    r"(dis)?gatherings?": "fan-in barrier",
    r"tenure": "lease",
    r"telling": "event",
    r"crowds?": "concurrency limit",
    r"condemn\w*": "disabled, or killed",
    r"bury|buried|buries": "dead-lettered",
    r"(?<!there )(is|was|are) no(?= [a-z]+)(?! (longer|more|other|one\b|less|\w+er than))": "is not a",
    r"he|him": "it, or the worker",
    r"the original|the specification": "Django-Q",
    r"prolong\w*": "extend, or renew",
    r"timekeeper|caretaker": "scheduler thread, maintenance thread",
    r"made up for": "caught up",
    r"(a|its|whose|their) turn|in turns|turns and": "rate slot",
    r"lies in|stands in(?! (for|place)\b)": "is stored in, or is listed in",
    r"nought": "zero",
    r"heed(s|ed|ing)?": "obey, or check",
    r"nobody knows": "unknown",
    r"reclaim\w*": "release",
    r", for (it|he|they|nobody|there)": "because",
    r"(keys, )?places and turns": "permits and rate slots",
    r"(is|are) told (too|as|of|with|and)|tells? (of|no)": "reported, logged, or shown",
    r"doors?": "interface",
    r"patien(ce|tly)": "timeout, or seconds",
}
#: whether there is any; looked for in a whole file at once
ANY: Final = re.compile(rf"\b({'|'.join(BANNED)})\b", re.IGNORECASE)
PATTERN: Final = {re.compile(rf"\b({word})\b", re.IGNORECASE): say for word, say in BANNED.items()}


class Found(NamedTuple):
    """A banned word in its line."""

    line: int
    word: str
    say: str


def found(text: str) -> Iterator[Found]:
    """Yield the banned words of a text."""
    for number, line in enumerate(text.splitlines(), 1) if ANY.search(text) else ():
        for pattern, say in PATTERN.items():
            for match in pattern.finditer(line):
                yield Found(number, match[0], say)


class Allowed(NamedTuple):
    """A banned word that stays, and why."""

    #: part of the path
    place: str
    #: the word as it is found, in small letters
    word: str
    reason: str


ALLOWED: Final = (Allowed("docs/reference/glossary.md", "buried", "beanstalkd's word for a dead letter"),)


def prose() -> list[Path]:
    """Every document and change note; what is generated from code is the code's."""
    return [
        *pages(),
        ROOT / "CONTRIBUTING.md",
        ROOT / "SECURITY.md",
        *ROOT.glob("*/changelog/*.md"),
        *ROOT.glob("*/CHANGELOG.md"),
        *ROOT.glob("plugins/*/changelog/*.md"),
        *ROOT.glob("plugins/*/CHANGELOG.md"),
    ]


def is_allowed(path: Path, word: str) -> bool:
    """Whether somebody gave a reason for this word in this file."""
    place = path.relative_to(ROOT).as_posix()
    return any(place.startswith(one.place) and one.word == word.lower() for one in ALLOWED)


#: blocks of data, and names in code type: those are the code's
CODE: Final = re.compile(
    r"^```(?:json|toml|text|python|console|sh)$.*?^```$|`[^`\n]+`", re.MULTILINE | re.DOTALL
)


def without_code(text: str) -> str:
    """Return a page with its code blanked, every line where it was."""
    return CODE.sub(lambda match: "\n" * match[0].count("\n"), text)


def complaints(path: Path, text: str) -> list[str]:
    """Return where a text has a banned word, and what to write."""
    place = path.relative_to(ROOT).as_posix()
    return [
        f"{place}:{one.line} has {one.word!r}: write {one.say}"
        for one in found(text)
        if not is_allowed(path, one.word)
    ]


def test_documents_use_the_words_of_the_field() -> None:
    """No page and no change note has a word of the list."""
    bad = [
        line
        for path in prose()
        for line in complaints(path, without_code(path.read_text(encoding="utf-8").partition(MARK)[0]))
    ]

    assert not bad, "\n".join(["", *bad])


#: code that is not held to the list, and why
EXEMPT: Final = {"tests/house/test_words.py": "it names the banned words"}


def spoken(text: str) -> Iterator[tuple[int, str]]:
    """Yield what a file says to a reader: comments, docstrings, and texts of several words."""
    parts = {tokenize.COMMENT, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", -1)}
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in parts and " " in token.string.strip():
            yield token.start[0], token.string


def test_code_uses_the_words_of_the_field() -> None:
    """No comment, docstring or message has a word of the list."""
    hits: dict[str, list[str]] = {}
    for module in [*wheel_modules(), *plugin_modules(), *test_modules()]:
        for line, said in spoken(module.text) if ANY.search(module.text) else ():
            for one in found(said):
                text = f"{module.place}:{line + one.line - 1} has {one.word!r}: write {one.say}"
                hits.setdefault(module.place, []).append(text)
    bad = [line for place, lines in hits.items() if place not in EXEMPT for line in lines]

    assert not bad, "\n".join(["", *bad])
    assert set(EXEMPT) <= set(hits), "an exempt file that has no banned word needs no exemption"


#: parts of names, in small letters; several parts are joined by one underscore
BANNED_NAMES: Final = {
    "bury": "dead_letter",
    "buried": "dead_letter",
    "called_off": "cancelled",
    "condemn": "disable, or kill",
    "crowd": "concurrency",
    "disbanded": "cleared",
    "doubt": "unknown_outcome",
    "doubtful": "unknown_outcome",
    "gathering": "barrier",
    "heed": "check",
    "outlived": "expired",
    "prolong": "extend",
    "prolonged": "extended",
    "reclaim": "release",
    "taken_back": "removed",
    "tenure": "lease",
    "withdraw": "remove",
    "withdrawn": "removed",
}
_PARTS: Final = re.compile(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])")
NAMES: Final = re.compile(rf"_({'|'.join(BANNED_NAMES)})_")
#: whether a file may have any, with its parts together or apart
ANY_NAME: Final = re.compile("|".join(name.replace("_", "_?") for name in BANNED_NAMES), re.IGNORECASE)


def test_names_use_the_words_of_the_field() -> None:
    """No class, function, parameter or variable is named by a word of the list."""
    bad = []
    for module in [*wheel_modules(), *plugin_modules(), *test_modules()]:
        if not ANY_NAME.search(module.text):
            continue
        for token in tokenize.generate_tokens(io.StringIO(module.text).readline):
            if token.type != tokenize.NAME:
                continue
            parts = "_".join(part.lower() for part in _PARTS.findall(token.string))
            if hit := NAMES.search(f"_{parts}_"):
                say = BANNED_NAMES[hit[1]]
                bad.append(f"{module.place}:{token.start[0]} is named {token.string!r}: write {say}")

    assert not bad, "\n".join(["", *bad])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The task is called off.", ["called off"]),
        ("Call the task off", ["Call the task off"]),
        ("He is presented twice again", ["presented twice again", "He"]),
        ("this is no plugin", ["is no"]),
        ("there is no plugin, and it is no longer here", []),
        ("a dead letter was buried", ["buried"]),
        ("it lies in the queue, for it stands in the list", ["lies in", ", for it", "stands in"]),
        ("it stands in for a service, for the others", []),
        ("the header, the other", []),
        ("the door is told of it", ["door", "is told of"]),
    ],
)
def test_a_banned_word_is_recognised(text: str, expected: list[str]) -> None:
    """The list finds what it is meant to find, and nothing else."""
    assert sorted(one.word for one in found(text)) == sorted(expected)


def test_no_exception_is_kept_for_nothing() -> None:
    """Each exception is needed, and carries its reason."""
    texts = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in prose()}
    idle = [
        one
        for one in ALLOWED
        if not any(
            place.startswith(one.place) and one.word in {hit.word.lower() for hit in found(text)}
            for place, text in texts.items()
        )
    ]

    assert not idle
    assert all(len(one.reason.split()) > 2 for one in ALLOWED)


#: with an extra of it a folder is in quotes, for shells
FOLDER: Final = re.compile(r"(\./[\w/-]+)|'(\./[\w/-]+)\[[a-z]+\]'")
INSTALL: Final = re.compile(r"pip install (?!-)(?P<what>[^`\n]+)")


def is_folder(word: str) -> bool:
    """Return whether a word of `pip install` is a folder of this repository that can be installed."""
    found = FOLDER.fullmatch(word)
    return found is not None and (ROOT / (found[1] or found[2]) / "pyproject.toml").exists()


def test_install_lines_name_folders_of_this_repository() -> None:
    """Nothing is published: a line of `pip install` names folders that are there, or tools."""
    known = {"-U", "pip", "tox", "tox-uv", "--no-cache-dir", "-r", "requirements.txt"}
    strange = [
        f"{path.relative_to(ROOT).as_posix()}: {word}"
        for path in prose()
        for match in INSTALL.finditer(path.read_text(encoding="utf-8"))
        for word in match["what"].partition("&&")[0].rstrip(",; ").split()
        if word not in known and not is_folder(word)
    ]

    assert not strange


#: what the vocabulary of this project must explain
TERMS: Final = (
    *("task", "job", "run", "message", "queue", "namespace", "lease", "acknowledge", "retry", "release"),
    *("dead-letter", "dead letter", "redelivery", "expiry", "cancel", "renewal", "result store"),
    *("schedule store", "coordination store", "lock", "permit", "rate slot", "fan-in barrier", "hook"),
    *("callback", "worker", "cluster", "supervisor", "zygote", "journal", "schedule", "slot", "catch-up"),
)


def test_the_glossary_explains_each_term_in_one_row() -> None:
    """A term has one sentence, and a cell for each of the four systems; no term has two rows."""
    page = (ROOT / "docs" / "reference" / "glossary.md").read_text(encoding="utf-8")
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in page.splitlines()
        if line.startswith("| **")
    ]
    names = [name for row in rows for name in re.findall(r"\*\*(.+?)\*\*", row[0])]

    assert not set(TERMS) - set(names)
    assert len(names) == len(set(names))
    assert all(len(row) == 6 and row[1].endswith(".") and all(row) for row in rows)
