"""A plugin's settings are structured strictly, and every fault has its path."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Literal, TypedDict

import attrs
import pytest

from qcore.config import Config
from qcore.errors import ConfigError
from qcore.hookspecs import hookimpl
from qcore.plugins import Plugins

pytestmark = pytest.mark.portable


@attrs.frozen(kw_only=True)
class Pool:
    """A table within a table."""

    size: int = attrs.field(default=1, validator=attrs.validators.ge(1))


@attrs.frozen(kw_only=True)
class Full:
    """Every shape a plugin may ask for."""

    must: str
    port: int = 1
    share: float = 1.0
    safe: bool = True
    mode: Literal["fast", "sure"] = "fast"
    file: Path = Path("x")
    maybe: int | None = None
    pool: Pool = attrs.field(factory=Pool)
    pools: list[Pool] = attrs.field(factory=list)
    named: dict[str, Pool] = attrs.field(factory=dict)
    words: frozenset[str] = frozenset()
    anything: Any = None
    kind: str = attrs.field(default="a", validator=attrs.validators.in_(["a", "b"]))


@dataclasses.dataclass
class Plain:
    """A dataclass does as well."""

    port: int = 1


class Typed(TypedDict, total=False):
    """So does a typed dict."""

    port: int


class Unreadable:
    """Nothing that a table can become."""


class Offer:
    """Offer one key for each shape."""

    @hookimpl
    def qcore_settings(self) -> dict[str, object]:
        """Offer the keys."""
        return {
            "full": Full,
            "plain": Plain,
            "typed": Typed,
            "free": dict[str, Any],
            "url": Pool | str,
            "either": int | bool,
            "unreadable": Unreadable,
        }


@pytest.fixture(scope="module")
def plugins() -> Plugins:
    """Return the built-in plugin and a made-up one."""
    return Plugins.discover(extra={"offer": Offer()}, env={})


def problems_of(plugins: Plugins, **settings: object) -> list[str]:
    """Return what is wrong with these settings."""
    with pytest.raises(ConfigError) as caught:
        Config.from_dict(settings, plugins)
    return list(caught.value.problems)


@pytest.mark.parametrize(
    ("key", "raw", "expected"),
    [
        ("full", {"must": "x"}, Full(must="x")),
        (
            "full",
            {"must": "x", "port": 2.0, "share": 2, "safe": False, "mode": "sure", "file": "a/b", "maybe": 3},
            Full(must="x", port=2, share=2.0, safe=False, mode="sure", file=Path("a/b"), maybe=3),
        ),
        (
            "full",
            {
                "must": Path("x"),
                "pool": {"size": 2},
                "pools": [{"size": 3}],
                "named": {"a": {}},
                "words": ["w"],
            },
            Full(
                must="x", pool=Pool(size=2), pools=[Pool(size=3)], named={"a": Pool()}, words=frozenset("w")
            ),
        ),
        ("full", {"must": "x", "anything": [{"a": 1}]}, Full(must="x", anything=[{"a": 1}])),
        ("plain", {"port": 2}, Plain(port=2)),
        ("typed", {"port": 2}, {"port": 2}),
        ("free", {"a": {"b": [1]}}, {"a": {"b": [1]}}),
        ("url", "pool://2", "pool://2"),
        ("url", {"size": 2}, Pool(size=2)),
        ("either", 2, 2),
    ],
)
def test_section_is_structured_into_its_type(
    plugins: Plugins, key: str, raw: object, expected: object
) -> None:
    """A factory is handed what its plugin declared."""
    config = Config.from_dict({key: raw}, plugins)

    assert config.sections[key] == expected
    assert Config.from_dict(config.as_dict(), plugins) == config


@pytest.mark.parametrize(
    ("settings", "messages"),
    [
        ({}, ["full.must: missing; it has no default"]),
        ({"must": 1}, ["full.must: got 1; must be a text"]),
        ({"must": "x", "port": "2"}, ["full.port: got '2'; must be a whole number, without quotes"]),
        ({"must": "x", "port": True}, ["full.port: got True; must be a whole number"]),
        ({"must": "x", "share": "much"}, ["full.share: got 'much'; must be a number"]),
        ({"must": "x", "safe": 1}, ["full.safe: got 1; must be true or false"]),
        (
            {"must": "x", "mode": "sur"},
            ["full.mode: got 'sur'; must be one of 'fast', 'sure'; did you mean 'sure'?"],
        ),
        (
            {"must": "x", "maybe": "2"},
            ["full.maybe: got '2'; must be a whole number or nothing, without quotes"],
        ),
        ({"must": "x", "pool": 2}, ["full.pool: got a number; must be a table of settings"]),
        ({"must": "x", "pool": {"sise": 2}}, ["full.pool.sise: unknown key; did you mean 'size'?"]),
        ({"must": "x", "pool": {"xyz": 2}}, ["full.pool.xyz: unknown key; there are size"]),
        ({"must": "x", "pool": {"size": 0}}, ["full.pool.size: got 0; must be >= 1"]),
        ({"must": "x", "kind": "c"}, ["full.kind: got 'c'; must be in ['a', 'b']"]),
        ({"must": "x", "pools": "ab"}, ["full.pools: got 'ab'; must be a list"]),
        ({"must": "x", "words": "ab"}, ["full.words: got 'ab'; must be a list"]),
        (
            {"must": "x", "pools": [{}, {"size": "a"}], "named": {"b": {"size": "c"}}},
            [
                "full.pools[1].size: got 'a'; must be a whole number",
                "full.named.b.size: got 'c'; must be a whole number",
            ],
        ),
    ],
)
def test_fault_in_a_section_has_its_path(plugins: Plugins, settings: object, messages: list[str]) -> None:
    """Every fault of a section is reported at once, each where it is."""
    assert problems_of(plugins, full=settings) == messages


@pytest.mark.parametrize(
    ("key", "raw", "message"),
    [
        ("full", "x", "full: got a text; must be a table of settings"),
        ("plain", {"prt": 1}, "plain.prt: unknown key; did you mean 'port'?"),
        ("url", 5, "url: got a number; must be a table or a text"),
        ("url", [], "url: got an empty list; must be a table or a text"),
        ("url", {"size": "a"}, "url.size: got 'a'; must be a whole number"),
        ("either", "x", "either: got 'x'; must be a whole number or true or false"),
    ],
)
def test_wrong_section_is_reported(plugins: Plugins, key: str, raw: object, message: str) -> None:
    """A section of the wrong shape says which shape is due."""
    assert problems_of(plugins, **{key: raw}) == [message]


def test_type_that_cannot_be_read_is_the_plugins_fault(plugins: Plugins) -> None:
    """A plugin may declare what no table can become."""
    [told] = problems_of(plugins, unreadable={})

    assert told.startswith("unreadable: its plugin declares a type that qcore cannot read; ")


def test_key_that_two_plugins_offer_is_reported(plugins: Plugins) -> None:
    """Whose type is meant is not guessed."""

    class Other:
        @hookimpl
        def qcore_settings(self) -> dict[str, object]:
            """Offer a key that is taken."""
            return {"plain": Plain}

    both = Plugins.discover(extra={"offer": Offer(), "other": Other()}, env={})

    assert problems_of(both, plain={}) == [
        (
            "plain: the setting 'plain' is offered by offer and other; uninstall one of them, "
            "or switch one off by name in QCORE_DISABLE_PLUGINS"
        )
    ]


def test_value_of_python_alone_is_told_by_its_type(plugins: Plugins) -> None:
    """A table of Python may hold what no file can."""
    assert problems_of(plugins, plain={"port": object()}) == [
        "plain.port: got a value of type object; must be a whole number"
    ]
