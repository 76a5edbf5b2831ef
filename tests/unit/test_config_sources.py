"""Settings come from a file, the environment and overrides, laid over one another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import pytest

from qcore.config import UNSET, Config
from qcore.errors import ConfigError
from qcore.hookspecs import hookimpl
from qcore.plugins import Plugins
from qcore_settings import sources

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

pytestmark = pytest.mark.portable

KEY = "an old song of the sea sung twice"
CHECK = "check quotes and commas"


@attrs.frozen(kw_only=True)
class Store:
    """What a made-up plugin gets."""

    path: str = ""
    port: int | None = 1
    share: float = 0.5
    safe: bool = True
    nodes: tuple[str, ...] = ()
    numbers: list[int] = attrs.field(factory=list)
    options: dict[str, int] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class Place:
    """What is a URL, or a table."""

    url: str | None = None
    password: str | None = None


@attrs.frozen(kw_only=True)
class Target:
    """The same, with another word for it."""

    host: str | None = None
    password: str | None = None


class StorePlugin:
    """Offer the key `store`, which is not a broker."""

    @hookimpl
    def qcore_settings(self) -> dict[str, object]:
        """Offer the key."""
        return {"store": Store, "place": Place | str, "target": Target | str}

    @hookimpl
    def qcore_error_reporters(self) -> dict[str, object]:
        """Offer a reporter."""
        return {"tracker": object}


@pytest.fixture(scope="module")
def plugins() -> Plugins:
    """Return the built-in plugin and a made-up one."""
    return Plugins.discover(extra={"store": StorePlugin()}, env={})


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder of this test's own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def load(plugins: Plugins, env: Mapping[str, str]) -> Config:
    """Load a configuration from the environment alone."""
    return Config.load(env=env, plugins=plugins)


def problems_of(plugins: Plugins, **env: str) -> list[str]:
    """Return the problems of the file in the working directory and these variables."""
    with pytest.raises(ConfigError) as caught:
        Config.load(env=env, plugins=plugins)
    return list(caught.value.problems)


# -- layers -----------------------------------------------------------------------------------


def test_each_layer_lies_over_the_one_before(plugins: Plugins, folder: Path) -> None:
    """Defaults, then the file, then the environment, then overrides."""
    (folder / "qcore.toml").write_text('name = "file"\nworkers = 2\nrecycle = 3\n')
    env = {"QCORE_WORKERS": "4", "QCORE_RECYCLE": "5"}

    config = Config.load(env=env, plugins=plugins, recycle=6)

    assert (config.name, config.workers, config.recycle, config.max_attempts) == ("file", 4, 6, 0)


@pytest.mark.parametrize(
    ("key", "value"), [("timeout", None), ("recycle", 0), ("renew_leases", False), ("label", "")]
)
def test_falsy_override_overrides(plugins: Plugins, folder: Path, key: str, value: Any) -> None:
    """None, 0, False and an empty text are values like any other."""
    (folder / "qcore.toml").write_text('timeout = 5\nrecycle = 7\nrenew_leases = true\nlabel = "file"\n')

    assert getattr(Config.load(env={}, plugins=plugins, **{key: value}), key) == value


def test_unset_overrides_nothing(plugins: Plugins, folder: Path) -> None:
    """A command line passes UNSET for options that were not given."""
    (folder / "qcore.toml").write_text("workers = 3\n[store]\nport = 4\n")

    config = Config.load(env={}, plugins=plugins, workers=UNSET, store={"port": UNSET, "path": "x"})

    assert (config.workers, config.sections["store"]) == (3, Store(port=4, path="x"))
    assert repr(UNSET) == "UNSET"


def test_section_is_laid_over_a_section_key_by_key(plugins: Plugins, folder: Path) -> None:
    """One variable changes one key of a section."""
    (folder / "qcore.toml").write_text('[store]\npath = "file"\nport = 2\n')

    config = Config.load(env={"QCORE_STORE__PORT": "3"}, plugins=plugins, store={"safe": False})

    assert config.sections["store"] == Store(path="file", port=3, safe=False)


def test_none_takes_a_section_away(plugins: Plugins, folder: Path) -> None:
    """An override of None removes a section of the file."""
    (folder / "qcore.toml").write_text('[store]\npath = "file"\n')

    assert Config.load(env={}, plugins=plugins, store=None).sections == {}
    assert load(plugins, {"QCORE_STORE": "none"}).sections == {}


@pytest.mark.parametrize("key", ["place", "target"])
def test_a_table_is_laid_over_a_text_as_over_the_table_it_stands_for(
    plugins: Plugins, folder: Path, key: str
) -> None:
    """An address in the file and a password in the environment are both meant."""
    (folder / "qcore.toml").write_text(f'{key} = "server://far"\n')

    config = load(plugins, {f"QCORE_{key.upper()}__PASSWORD": "s3cret"})

    target = Target(host="server://far", password="s3cret")
    place = Place(url="server://far", password="s3cret")
    assert config.sections[key] == (place if key == "place" else target)
    assert Config.from_dict(config.as_dict(), plugins).sections == config.sections


def test_a_text_where_there_are_tables_only_is_not_forgotten(plugins: Plugins, folder: Path) -> None:
    """A variable that sets a key of the table does not make the wrong text a right one."""
    (folder / "qcore.toml").write_text('store = "far.db"\n')

    (alone,) = problems_of(plugins)
    assert "store: got a text from qcore.toml; must be a table" in alone
    assert problems_of(plugins, QCORE_STORE__PORT="5") == [alone]


def test_a_text_replaces_what_lies_below_it(plugins: Plugins, folder: Path) -> None:
    """Another server is not sent the password of the first."""
    (folder / "qcore.toml").write_text('[place]\nurl = "server://far"\npassword = "s3cret"\n')

    assert load(plugins, {"QCORE_PLACE": "server://near"}).sections["place"] == "server://near"


def test_a_variable_and_its_table_are_laid_together(plugins: Plugins) -> None:
    """Both may come from the environment, in whatever order they stand there."""
    env = {"QCORE_PLACE__PASSWORD": "s3cret", "QCORE_PLACE": "server://far"}

    assert load(plugins, env).sections["place"] == Place(url="server://far", password="s3cret")


# -- files ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["qcore.toml", "pyproject.toml"])
def test_the_file_of_a_folder_above_is_found(
    plugins: Plugins, folder: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A program that is started in a subfolder works on the same queue."""
    table = "[tool.qcore]\n" if name == "pyproject.toml" else ""
    (folder / name).write_text(f'{table}name = "shop"\n')
    (folder / "deep" / "deeper").mkdir(parents=True)
    # of another tool alone: it is not a configuration of ours
    (folder / "deep" / "pyproject.toml").write_text('[project]\ndependencies = ["qcore"]\n')
    monkeypatch.chdir(folder / "deep" / "deeper")

    config = load(plugins, {})

    assert (config.name, config.file) == ("shop", folder / name)


def test_the_nearest_file_holds(plugins: Plugins, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with a file of its own is a project of its own."""
    (folder / "qcore.toml").write_text('name = "above"\n')
    (folder / "own").mkdir()
    (folder / "own" / "qcore.toml").write_text('name = "own"\n')
    monkeypatch.chdir(folder / "own")

    assert load(plugins, {}).name == "own"


def test_a_strangers_file_above_is_not_trusted(
    plugins: Plugins, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever may write a folder above ours does not choose which code we run."""
    (folder / "qcore.toml").write_text('name = "trap"\n')
    (folder / "ours").mkdir()
    monkeypatch.chdir(folder / "ours")
    monkeypatch.setattr(sources, "_is_trusted", lambda *_: False)

    assert load(plugins, {}).name == "default"
    assert str(folder / "qcore.toml") in caplog.text


def test_paths_in_a_file_start_from_its_folder(
    plugins: Plugins, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same file names the same queue and key, wherever a program is started."""
    (folder / "qcore.toml").write_text(
        'secret_key = ["file:keys/main", "file:~/key"]\n[sqlite]\npath = "data/queue.db"\n'
    )
    (folder / "deep").mkdir()
    monkeypatch.chdir(folder / "deep")

    config = load(plugins, {})

    assert config.sections["sqlite"].path == folder / "data" / "queue.db"
    assert config.secret_key == (f"file:{folder / 'keys' / 'main'}", "file:~/key")
    assert Config.from_dict(config.as_dict(), plugins).sections == config.sections


def test_paths_of_the_environment_start_from_here(plugins: Plugins, folder: Path) -> None:
    """As those of a command line do."""
    (folder / "qcore.toml").write_text('[sqlite]\npath = "/srv/queue.db"\n')

    config = load(plugins, {"QCORE_SQLITE__PATH": "near.db", "QCORE_SECRET_KEY": "file:key"})

    assert str(config.sections["sqlite"].path) == "near.db"
    assert config.secret_key == ("file:key",)


def test_a_byte_order_mark_is_no_part_of_a_file(plugins: Plugins, folder: Path) -> None:
    """Some editors write one."""
    (folder / "qcore.toml").write_bytes(b"\xef\xbb\xbfname = 'marked'\n")

    assert load(plugins, {}).name == "marked"


def test_keys_of_the_environment_are_told_apart_by_commas(plugins: Plugins) -> None:
    """As every list of the environment is; a key that qcore makes holds no comma."""
    two, one = "a key of this year,  a key of last year ", '["a key, with a comma in it"]'

    assert load(plugins, {"QCORE_SECRET_KEY": two}).secret_key == ("a key of this year", "a key of last year")
    assert load(plugins, {"QCORE_SECRET_KEY": one}).secret_key == ("a key, with a comma in it",)
    (told,) = problems_of(plugins, QCORE_SECRET_KEY="a key of this year, one")
    assert "key 2 of 2" in told
    assert "commas separate keys" in told


def test_file_is_found_by_argument_variable_and_place(plugins: Plugins, folder: Path) -> None:
    """The first of these is used: argument, QCORE_CONFIG, qcore.toml, pyproject.toml."""
    (folder / "pyproject.toml").write_text('[tool.qcore]\nname = "project"\n')
    assert Config.load(env={}, plugins=plugins).name == "project"

    (folder / "qcore.toml").write_text('name = "place"\n')
    assert Config.load(env={}, plugins=plugins).name == "place"

    (folder / "variable.toml").write_text('name = "variable"\n')
    env = {"QCORE_CONFIG": str(folder / "variable.toml")}
    assert Config.load(env=env, plugins=plugins).name == "variable"

    (folder / "argument.toml").write_text('name = "argument"\n')
    assert Config.load("argument.toml", env=env, plugins=plugins).name == "argument"
    assert Config.load(folder / "pyproject.toml", env=env, plugins=plugins).name == "project"


def test_project_without_our_table_sets_nothing(plugins: Plugins, folder: Path) -> None:
    """Most projects have a pyproject.toml."""
    (folder / "pyproject.toml").write_text('[project]\nname = "shop"\n')

    assert Config.load(env={}, plugins=plugins).name == "default"


def test_missing_file_is_reported(plugins: Plugins, folder: Path) -> None:
    """A file that is named must exist."""
    assert problems_of(plugins, QCORE_CONFIG="gone.toml") == [
        (
            "QCORE_CONFIG: the configuration file 'gone.toml' cannot be read: No such file or directory; "
            "check the path"
        )
    ]


def test_file_that_is_not_toml_is_reported_with_line_and_column(plugins: Plugins, folder: Path) -> None:
    """The message says where the error in the file is."""
    (folder / "qcore.toml").write_text("workers = \n")

    assert problems_of(plugins) == [
        (
            "the configuration file 'qcore.toml' cannot be read: Invalid value (at line 1, column 11); "
            "correct the file"
        )
    ]


def test_file_that_is_not_text_is_reported(plugins: Plugins, folder: Path) -> None:
    """A file with any bytes is reported as unreadable."""
    (folder / "qcore.toml").write_bytes(b"\xff\xfe\x00")

    [problems] = problems_of(plugins)
    assert problems.startswith("the configuration file 'qcore.toml' cannot be read: ")


def test_table_of_the_project_must_be_a_table(plugins: Plugins, folder: Path) -> None:
    """`qcore = ...` below `[tool]` is reported as a mistake."""
    (folder / "pyproject.toml").write_text("[tool]\nqcore = 1\n")

    assert problems_of(plugins) == ["tool.qcore: must be a table in 'pyproject.toml'; write [tool.qcore]"]


def test_problem_names_the_file_or_variable_it_comes_from(plugins: Plugins, folder: Path) -> None:
    """With several sources the message says which one to correct."""
    (folder / "qcore.toml").write_text('retry = -1\nwokers = 1\n[store]\nport = "x"\npth = 1\n')

    problems = problems_of(plugins, QCORE_POLL="x")

    assert [fault.partition(";")[0] for fault in problems] == [
        "retry: got -1 from qcore.toml",
        "poll: got 'x' from QCORE_POLL",
        "wokers: unknown setting from qcore.toml",
        "store.port: got 'x' from qcore.toml",
        "store.pth: unknown key from qcore.toml",
    ]


# -- environment ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variable", "text", "key", "kept"),
    [
        ("QCORE_WORKERS", " 4 ", "workers", 4),
        ("QCORE_TIMEOUT", "0.5", "timeout", 0.5),
        ("QCORE_TIMEOUT", "None", "timeout", None),
        ("QCORE_SYNC", "YES", "sync", True),
        ("QCORE_RENEW_LEASES", "0", "renew_leases", False),
        ("QCORE_CACHED", "true", "cached", True),
        ("QCORE_CACHED", "1", "cached", 1.0),
        ("QCORE_LABEL", "4", "label", "4"),
        ("QCORE_LABEL", "[x", "label", "[x"),
        ("QCORE_ACCEPT_SERIALIZERS", "msgpack, json", "accept_serializers", ("msgpack", "json")),
        ("QCORE_ACCEPT_SERIALIZERS", '["msgpack"]', "accept_serializers", ("msgpack",)),
        ("QCORE_TASKS_ALLOWED", "none", "tasks_allowed", None),
        ("QCORE_SECRET_KEY", KEY, "secret_key", (KEY,)),
        ("QCORE_SECRET_KEY", f'["{KEY}", "{KEY}{KEY}"]', "secret_key", (KEY, KEY * 2)),
        ("QCORE_ERROR_REPORTER", '{"tracker": {"rate": 1}}', "error_reporter", {"tracker": {"rate": 1}}),
        ("QCORE_ERROR_REPORTER__TRACKER__RATE", "1", "error_reporter", {"tracker": {"rate": "1"}}),
    ],
)
def test_variable_is_read_as_its_setting_needs(
    plugins: Plugins, variable: str, text: str, key: str, kept: object
) -> None:
    """Text of the environment stands for numbers, switches, nothing, lists and tables."""
    value = getattr(load(plugins, {variable: text}), key)

    assert (value, type(value)) == (kept, type(kept))


def test_variable_is_read_as_the_plugins_type_needs(plugins: Plugins) -> None:
    """A plugin's section is set key by key."""
    env = {
        "QCORE_STORE__PATH": "007",
        "QCORE_STORE__PORT": "none",
        "QCORE_STORE__SHARE": "1",
        "QCORE_STORE__SAFE": "off",
        "QCORE_STORE__NODES": "a:1,b:2",
        "QCORE_STORE__NUMBERS": "[1, 2]",
        "QCORE_STORE__OPTIONS": '{"a": 1}',
    }

    config = load(plugins, env)

    expected = Store(
        path="007", port=None, share=1.0, safe=False, nodes=("a:1", "b:2"), numbers=[1, 2], options={"a": 1}
    )
    assert config.sections["store"] == expected
    assert Config.from_dict(config.as_dict(), plugins) == config
    assert {type(value) for value in config.raw["store"].values()} <= {
        str,
        int,
        float,
        bool,
        list,
        dict,
        type(None),
    }


def test_whole_section_is_a_json_table_or_a_text(plugins: Plugins) -> None:
    """Where a plugin takes a URL as well, a variable may be one."""
    assert load(plugins, {"QCORE_PLACE": "place://x"}).sections == {"place": "place://x"}
    assert load(plugins, {"QCORE_PLACE": '{"password": "p"}'}).sections == {"place": Place(password="p")}
    assert load(plugins, {"QCORE_STORE": '{"port": 3}', "QCORE_STORE__PATH": "x"}).sections == {
        "store": Store(port=3, path="x")
    }


def test_other_variables_are_left_alone(plugins: Plugins) -> None:
    """Not every variable is ours, and not every one of ours is a setting."""
    env = {"PATH": "/bin", "QCOREX": "1", "QCORE_CONFIG": "", "QCORE_DISABLE_PLUGINS": "none-such"}

    assert load(plugins, env) == Config.from_dict({}, plugins)


@pytest.mark.parametrize(
    ("variable", "text", "message"),
    [
        ("QCORE_WORKRS", "4", "workrs: unknown setting from QCORE_WORKRS; did you mean 'workers'?"),
        ("QCORE_STORE__PRT", "4", "store.prt: unknown key from QCORE_STORE__PRT; did you mean 'port'?"),
        (
            "QCORE_STORE__PORT",
            "x",
            "store.port: got 'x' from QCORE_STORE__PORT; must be a whole number or nothing",
        ),
        (
            "QCORE_STORE",
            "x",
            "store: got a text from QCORE_STORE; must be a table of settings",
        ),
        (
            "QCORE_LABEL",
            " ",
            "label: got ' ' from QCORE_LABEL; the variable is empty; unset it, or write none for no value",
        ),
        (
            "QCORE_STORE",
            '{"path": "hunter2"',
            f"store: got a text from QCORE_STORE; it begins like a JSON table but is not valid JSON; {CHECK}",
        ),
        (
            "QCORE_ACCEPT_SERIALIZERS",
            "[msgpack]",
            (
                "accept_serializers: got '[msgpack]' from QCORE_ACCEPT_SERIALIZERS; it begins like JSON but "
                f"is not valid JSON; {CHECK}"
            ),
        ),
        ("QCORE___X", "1", "QCORE___X: not the name of a setting; write QCORE_KEY or QCORE_SECTION__KEY"),
    ],
)
def test_wrong_variable_is_reported(plugins: Plugins, variable: str, text: str, message: str) -> None:
    """A message names the variable."""
    assert problems_of(plugins, **{variable: text}) == [message]
