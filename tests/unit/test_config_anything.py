"""Whatever a configuration contains, the answer is a Config or a ConfigError."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcore.config import Config
from qcore.errors import ConfigError
from qcore.plugins import Plugins
from qcore.settings import options

pytestmark = pytest.mark.portable

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=40)
    | st.sampled_from(["msgpack", "pickle", "log", "sqlite", "UTC", "INFO", "file:x", "none", "*"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=8,
)
KEYS = st.sampled_from([*options.every(), "sqlite", "memory", "redis"]) | st.text(max_size=10)
INNER = st.dictionaries(
    st.sampled_from(["path", "synchronous", "busy_timeout"]) | st.text(max_size=5), VALUES
)
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)


@pytest.fixture(scope="module")
def plugins() -> Plugins:
    """Return what is installed."""
    return Plugins.discover(env={})


def judged(make: Any, plugins: Plugins) -> None:
    """Let a configuration be made or refused, and see that what was made can be sent."""
    told: tuple[str, ...] = ()
    try:
        config: Config = make()
    except ConfigError as error:
        told = error.problems or ("no fault",)
    else:
        assert Config.from_dict(config.as_dict(), plugins) == config
        attrs.asdict(config.settings())
    assert "no fault" not in told
    assert all(told)


@given(settings=st.dictionaries(KEYS, VALUES | INNER, max_size=6))
def test_any_table_is_taken_or_refused(plugins: Plugins, settings: dict[str, Any]) -> None:
    """No table raises anything but ConfigError."""
    judged(lambda: Config.from_dict(settings, plugins), plugins)


@given(key=st.sampled_from([*options.every(), "sqlite"]), value=VALUES)
def test_any_value_is_taken_or_refused(plugins: Plugins, key: str, value: Any) -> None:
    """No value of any setting raises anything but ConfigError."""
    judged(lambda: Config.from_dict({key: value}, plugins), plugins)


@given(
    key=st.sampled_from([*options.every(), "sqlite", "sqlite__path", "sqlite__busy_timeout", ""]),
    text=TEXT | st.from_regex(r"[\[{0-9.,\"a-z}\]]{1,12}", fullmatch=True),
)
def test_any_variable_is_taken_or_refused(
    plugins: Plugins, key: str, text: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """No text of the environment raises anything but ConfigError."""
    empty = tmp_path_factory.getbasetemp() / "empty.toml"
    empty.touch()

    judged(lambda: Config.load(empty, env={f"QCORE_{key.upper()}": text}, plugins=plugins), plugins)
