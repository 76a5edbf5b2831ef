"""The reference of the configuration says what the code does."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any, NamedTuple, get_args

import attrs
import pytest

from qcore.config import Config
from qcore.installed import KNOWN
from qcore.plugins import Plugins
from qcore.settings import options
from qcore_settings import sources

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "configuration.md"
ROW = re.compile(
    r"^\| `(?P<key>\w+)` \|(?P<kind>[^|\n]+)\|(?P<default>[^|\n]+)\|(?P<unit>[^|\n]*)\|(?P<effect>.+)\|$",
    re.MULTILINE,
)
#: what the page says of defaults that are worked out
WORKED_OUT = {
    "workers": "CPUs this process may use",
    "accept_serializers": "[`serializer`]",
}


class Row(NamedTuple):
    """One setting as the page lists it."""

    kind: str
    default: str
    unit: str
    effect: str


def rows() -> dict[str, Row]:
    """Return the settings the page lists."""
    found = ROW.findall(PAGE.read_text(encoding="utf-8"))
    assert len({row[0] for row in found}) == len(found), "a setting is listed twice"
    return {key: Row(*(text.strip() for text in rest)) for key, *rest in found}


def toml(value: Any) -> str:
    """Write a default as the page does."""
    return "none" if value is None else f"`{json.dumps(value)}`"


def test_page_lists_every_setting_and_no_other() -> None:
    """A setting is added to both or to none."""
    assert set(rows()) == set(options.every())


def test_page_gives_every_default() -> None:
    """What the page calls the default is what is taken."""
    config = Config.from_dict({}, Plugins.discover(env={})).as_dict()
    expected = {key: WORKED_OUT.get(key) or toml(config[key]) for key in options.every()}

    assert {key: row.default for key, row in rows().items()} == expected


def test_page_gives_type_and_unit_of_every_setting() -> None:
    """What the page calls type and unit is what the rule checks and counts."""
    expected = {key: (rule.kind, rule.unit) for key, rule in options.every().items()}

    assert {key: (row.kind, row.unit) for key, row in rows().items()} == expected


def test_page_gives_the_effect_of_every_setting() -> None:
    """No setting is listed without a word about what it does."""
    assert all(len(row.effect.split()) >= 3 for row in rows().values())


def test_page_examples_load() -> None:
    """Each TOML block of the page is a configuration."""
    blocks = re.findall(r"^```toml\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)

    assert blocks
    for block in blocks:
        Config.from_dict(tomllib.loads(block), Plugins.discover(env={}))


@pytest.mark.parametrize("name", sorted(sources.NOT_SETTINGS))
def test_page_tells_of_variables_that_are_no_settings(name: str) -> None:
    """Every variable qcore reads is on the page."""
    assert f"`{name}`" in PAGE.read_text(encoding="utf-8")


def test_page_tells_which_plugin_offers_a_known_key() -> None:
    """What a message asks to install, the page names too."""
    text = PAGE.read_text(encoding="utf-8")

    for key, distribution in KNOWN.items():
        assert re.search(rf"^\| .*`{key}`.* \| `{distribution}` \|$", text, re.MULTILINE), key


def test_page_tells_what_the_builtin_sections_take() -> None:
    """The keys of `sqlite` are on the page with their defaults."""
    text = PAGE.read_text(encoding="utf-8")
    kind = Plugins.discover(env={}).find("qcore_settings", "sqlite")

    for field in attrs.fields(kind):
        assert re.search(
            rf"^\| `sqlite\.{field.name}` \| [^|]+ \| {re.escape(toml(field.default))} \|", text, re.MULTILINE
        )


@pytest.mark.parametrize("key", sorted(KNOWN.keys() & Plugins.discover(env={}).all("qcore_settings").keys()))
def test_page_tells_what_a_plugin_of_ours_takes(key: str) -> None:
    """Each field is in the section of its key; one in a table has its type's default there."""
    kind = Plugins.discover(env={}).find("qcore_settings", key)
    fields = [field for one in (kind, *get_args(kind)) if attrs.has(one) for field in attrs.fields(one)]
    text = PAGE.read_text(encoding="utf-8")
    section = re.search(rf"^### {key}\n(.*?)^##", text, re.MULTILINE | re.DOTALL)
    told = section[1] if section else ""

    missing = [
        field.name for field in fields if f"`{field.name}`" not in told and not told_in_row(key, field, told)
    ]

    assert not missing
    assert fields or f"\n| `{key}` | " in text


def told_in_row(key: str, field: attrs.Attribute[Any], text: str) -> bool:
    """Whether a table has a row for a plugin's field, with its default."""
    made: Any = field.default
    default = toml(made.factory() if hasattr(made, "factory") else made)
    row = rf"^\| `{key}\.{field.name}` \| [^|]+ \| {re.escape(default)} \|"
    return re.search(row, text, re.MULTILINE) is not None
