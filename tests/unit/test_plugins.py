"""Plugins are found, judged one at a time, and asked by name."""

from __future__ import annotations

import logging
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from qcore import hookspecs, installed
from qcore.errors import PluginBroken, PluginError, PluginNotFound, SkipTask
from qcore.hookspecs import ExecuteEvent, SettledEvent, hookimpl
from qcore.installed import Plugin, by_hand, check_distribution, from_metadata
from qcore.model import TaskInfo
from qcore.plugins import KINDS, Plugins
from qcore_names.entry_points import EntryPoint, entry_points

if TYPE_CHECKING:
    from collections.abc import Callable


def module(**functions: Callable[..., Any]) -> ModuleType:
    """Make a plugin's module of these hooks."""
    made = ModuleType("made_up")
    for name, function in functions.items():
        setattr(made, name, hookimpl(function))
    return made


def quiet(event: object) -> None:
    """Be a hook that does nothing."""


def offering(hook: str, *names: str) -> ModuleType:
    """Make a module that offers names through one registration hook."""
    return module(**{hook: lambda: dict.fromkeys(names, object)})


def plugin(name: str, distribution: str | None, load: Callable[[], object]) -> Plugin:
    """Describe a plugin as installed by a distribution."""
    return Plugin(name=name, distribution=distribution, version=distribution and "26.11.0", load=load)


def failing(error: BaseException) -> Callable[[], object]:
    """Make an entry point whose import raises."""

    def load() -> object:
        raise error

    return load


def only(plugins: Plugins, name: str) -> Plugin:
    """Return the one plugin of that name."""
    [found] = [record for record in plugins.listing() if record.name == name]
    return found


# -- what is installed ------------------------------------------------------------------------


def test_built_in_plugin_is_found_by_its_entry_point() -> None:
    """What comes with qcore is registered like a stranger's."""
    plugins = Plugins.discover()

    record = only(plugins, "builtin")
    assert (record.distribution, record.broken) == ("qcore", "")
    assert {"sqlite", "memory"} <= plugins.names("qcore_brokers")
    assert {"msgpack", "json", "pickle"} <= plugins.names("qcore_serializers")


def test_each_discovery_has_a_manager_of_its_own() -> None:
    """Two applications in one process do not see each other's plugins."""
    Plugins.discover(extra={"mine": offering("qcore_brokers", "mine")})

    assert "mine" not in Plugins.discover().names("qcore_brokers")


def test_entry_points_are_read_with_their_distribution() -> None:
    """A record says which distribution and version a plugin comes from, ours first."""
    points = [EntryPoint("aaa", "logging"), *(one for one in entry_points("qcore") if one.name == "builtin")]

    assert [(p.name, p.distribution) for p in from_metadata(points)] == [("builtin", "qcore"), ("aaa", None)]


def test_module_given_by_hand_replaces_an_entry_point() -> None:
    """What a user passes explicitly takes the place of what is installed under that name."""
    plugins = Plugins.discover(extra={"sqlite": offering("qcore_brokers", "sqlite")})

    assert "sqlite" not in plugins.names("qcore_result_stores")
    assert only(plugins, "sqlite").offers == {"qcore_brokers": {"sqlite": object}}


def test_stranger_of_our_name_is_recognised() -> None:
    """The unrelated library of the same name is distinguished from ours by its version."""
    with pytest.raises(
        PluginError, match=r"'qcore' is version 1\.11\.1, an unrelated library .* pip install"
    ):
        check_distribution(lambda _: "1.11.1")


def test_qcore_that_is_not_installed_says_so() -> None:
    """A source folder on the path has no entry points, so nothing would be found."""
    with pytest.raises(PluginError, match=r"is imported from .* but is not installed.*pip install"):
        check_distribution(lambda _: None)


# -- what names lead to -----------------------------------------------------------------------


@pytest.mark.parametrize("hook", sorted(KINDS))
def test_name_leads_to_what_was_offered(hook: str) -> None:
    """Each kind of thing is looked up by the name it was offered under."""
    plugins = Plugins.of({"mine": offering(hook, "thing")})

    assert object is plugins.find(hook, "thing")


@pytest.mark.parametrize("hook", sorted(KINDS))
def test_everything_of_a_kind_is_listed(hook: str) -> None:
    """Keys, commands and checks are asked for all at once."""
    plugins = Plugins.of({"one": offering(hook, "a"), "two": offering(hook, "b")})

    assert {"a": object, "b": object} == plugins.all(hook)


def test_listing_says_what_a_plugin_offers() -> None:
    """`qcore plugins` shows names, hooks and files."""
    made = offering("qcore_brokers", "thing")
    made.qcore_settled = hookimpl(quiet)  # type: ignore[attr-defined]  # a module made by hand
    made.__file__ = "made_up.py"

    record = only(Plugins.of({"mine": made}), "mine")

    assert {"qcore_brokers": {"thing": object}} == record.offers
    assert record.hooks == ("qcore_settled",)
    assert record.file == "made_up.py"


def test_unknown_broker_names_what_is_there_and_what_to_install() -> None:
    """The message for a broker that is not installed can be acted on."""
    plugins = Plugins.of({"builtin": offering("qcore_brokers", "sqlite", "memory")})

    with pytest.raises(PluginNotFound) as caught:
        plugins.find("qcore_brokers", "sqs")

    assert str(caught.value) == (
        "no broker named 'sqs'; installed: memory, sqlite; the package qcore-sqs offers it: in a clone of "
        "qcore, pip install ./plugins/qcore-sqs"
    )


def test_misspelt_name_is_answered_with_the_nearest() -> None:
    """A slip of the finger is recognised."""
    plugins = Plugins.of({"builtin": offering("qcore_serializers", "msgpack", "json")})

    with pytest.raises(PluginNotFound) as caught:
        plugins.find("qcore_serializers", "msgpak")

    assert (
        str(caught.value) == "no serializer named 'msgpak'; installed: json, msgpack; did you mean 'msgpack'?"
    )


def test_name_offered_twice_is_an_error_that_names_both() -> None:
    """Which of two plugins is meant is not guessed."""
    plugins = Plugins(
        [
            plugin("redis", "qcore-redis", lambda: offering("qcore_brokers", "redis")),
            plugin("redis", "other-redis", lambda: offering("qcore_brokers", "redis")),
        ]
    )

    with pytest.raises(PluginError) as caught:
        plugins.find("qcore_brokers", "redis")

    assert str(caught.value) == (
        "the broker 'redis' is offered by redis (other-redis 26.11.0) and redis (qcore-redis 26.11.0); "
        "uninstall one of them, or switch one off by name in QCORE_DISABLE_PLUGINS"
    )


# -- broken, refused, switched off ------------------------------------------------------------


@pytest.mark.parametrize("error", [ImportError("no module"), ValueError("no value"), SystemExit(3)])
def test_broken_plugin_does_not_hurt_the_others(error: BaseException) -> None:
    """Whatever an import raises stays with the plugin that raised it."""
    plugins = Plugins(
        [
            plugin("bad", "qcore-bad", failing(error)),
            plugin("good", "qcore-good", lambda: offering("qcore_brokers", "good")),
        ]
    )

    assert plugins.names("qcore_brokers") == {"good"}
    assert f"{type(error).__name__}: {error}" == only(plugins, "bad").broken


def test_broken_plugin_is_complained_of_when_it_is_asked_for() -> None:
    """The reason is given where the plugin is missed."""
    missing = ModuleNotFoundError("No module named 'boto3'")
    plugins = Plugins([plugin("amazon", "qcore-sqs", failing(missing))])

    with pytest.raises(PluginBroken) as caught:
        plugins.find("qcore_brokers", "sqs")

    assert str(caught.value) == (
        "the plugin amazon (qcore-sqs 26.11.0) could not be used: "
        "ModuleNotFoundError: No module named 'boto3'; to mend it: in a clone of qcore, "
        "pip install ./plugins/qcore-sqs"
    )


def test_unknown_name_lists_broken_plugins_that_might_offer_it() -> None:
    """What a broken plugin would offer cannot be known."""
    plugins = Plugins([plugin("odd", "qcore-odd", failing(ImportError("gone")))])

    with pytest.raises(PluginNotFound) as caught:
        plugins.find("qcore_brokers", "nats")

    assert str(caught.value) == (
        "no broker named 'nats'; installed: none; "
        "could not be used: odd (qcore-odd 26.11.0): ImportError: gone"
    )


def test_misspelt_hook_is_an_error_of_its_plugin() -> None:
    """A hook that would never be called is not ignored."""
    plugins = Plugins.of({"mine": module(qcore_pre_enqeue=quiet)})

    assert (
        only(plugins, "mine").broken
        == "it implements an unknown hook 'qcore_pre_enqeue'; did you mean 'qcore_pre_enqueue'?"
    )


def test_unmarked_hook_is_an_error_of_its_plugin() -> None:
    """A forgotten decorator would make the hook never run."""
    made = ModuleType("made_up")
    made.qcore_settled = lambda: None  # type: ignore[attr-defined]  # a module made by hand

    plugins = Plugins.of({"mine": made})

    assert (
        only(plugins, "mine").broken
        == "its function 'qcore_settled' is not marked as a hook; write @qcore.hookspecs.hookimpl above it"
    )


def test_other_names_of_ours_in_a_plugin_are_no_hooks() -> None:
    """A plugin may import a specification or have a constant that begins like a hook."""
    made = offering("qcore_brokers", "thing")
    made.qcore_version = 3  # type: ignore[attr-defined]  # a module made by hand
    made.qcore_settled = hookspecs.qcore_settled  # type: ignore[attr-defined]  # as above

    assert only(Plugins.of({"mine": made}), "mine").broken == ""


def test_hook_with_an_unknown_argument_is_an_error_of_its_plugin() -> None:
    """Pluggy's own check of arguments is kept to the plugin that fails it."""

    def settled(evnt: object) -> None:
        """Do nothing."""

    plugins = Plugins.of({"mine": module(qcore_settled=settled)})

    assert "evnt" in only(plugins, "mine").broken


def test_coroutine_hook_is_an_error_of_its_plugin() -> None:
    """Nobody would await it."""

    async def settled(event: object) -> None:
        """Do nothing."""

    plugins = Plugins.of({"mine": module(qcore_settled=settled)})

    assert (
        only(plugins, "mine").broken
        == "its hook 'qcore_settled' is a coroutine or generator; write it as a plain function"
    )


@pytest.mark.parametrize(
    ("answer", "shown"),
    [(None, "None"), (["a"], "a list"), ({1: object}, "a table"), ({"": object}, "a table")],
)
def test_registration_hook_must_answer_with_names(answer: object, shown: str) -> None:
    """A registration hook that answers anything else gets an error that says what it must answer."""
    plugins = Plugins.of({"mine": module(qcore_brokers=lambda: answer)})

    assert (
        f"its hook 'qcore_brokers' returned {shown}; it must be a dict of names"
        == only(plugins, "mine").broken
    )


def test_registration_hook_that_raises_takes_its_whole_plugin_out() -> None:
    """Half a plugin is not used."""

    def brokers() -> dict[str, object]:
        raise RuntimeError("no")

    made = module(qcore_brokers=brokers, qcore_settled=quiet)

    plugins = Plugins.of({"mine": made})

    assert only(plugins, "mine").broken == "RuntimeError: no"
    assert plugins.hooks("qcore_settled") == ()


def test_name_of_the_built_in_plugin_is_refused() -> None:
    """A distribution cannot pass itself off as part of qcore."""
    plugins = Plugins(
        [
            plugin("builtin", "qcore", lambda: offering("qcore_brokers", "sqlite")),
            plugin("builtin", "evil", lambda: offering("qcore_serializers", "evil")),
        ]
    )

    [record] = [record for record in plugins.listing() if record.distribution == "evil"]
    assert record.broken == "the name 'builtin' is qcore's own; give the entry point another name"
    assert frozenset() == plugins.names("qcore_serializers")


@pytest.mark.parametrize(
    ("hook", "kind"),
    [
        ("qcore_brokers", "broker"),
        ("qcore_serializers", "serializer"),
        ("qcore_result_stores", "result store"),
    ],
)
def test_built_in_things_cannot_be_shadowed(hook: str, kind: str) -> None:
    """Installing a package does not replace what comes with qcore."""
    ours = offering(hook, "plain")
    plugins = Plugins(
        [plugin("builtin", "qcore", lambda: ours), plugin("evil", "evil", lambda: offering(hook, "plain"))]
    )

    assert (
        f"it offers the {kind} 'plain', which is built in; give it another name"
        == only(plugins, "evil").broken
    )
    assert object is plugins.find(hook, "plain")


def test_plugin_that_is_switched_off_is_not_even_imported() -> None:
    """Blocking works on the name, before anything of the plugin runs."""
    plugins = Plugins([plugin("bad", "qcore-bad", failing(AssertionError("imported")))], {"bad"})

    record = only(plugins, "bad")
    assert (record.blocked, record.broken) == (True, "")
    with pytest.raises(PluginNotFound) as caught:
        plugins.find("qcore_brokers", "bad")
    assert (
        str(caught.value)
        == "the plugin bad (qcore-bad 26.11.0) is switched off; take it out of QCORE_DISABLE_PLUGINS"
    )


def test_a_broken_plugin_beside_one_that_is_switched_off_stays_broken() -> None:
    """Each has its own reason, and the rest can be used."""
    broken = plugin("broken", "qcore-broken", failing(ImportError("gone")))
    plugins = Plugins([plugin("off", "qcore-off", failing(AssertionError("imported"))), broken], {"off"})

    assert only(plugins, "broken").broken == "ImportError: gone"
    assert only(plugins, "off").blocked


def test_plugins_are_switched_off_by_the_environment() -> None:
    """QCORE_DISABLE_PLUGINS takes names between commas."""
    extra = {"one": offering("qcore_brokers", "a"), "two": offering("qcore_brokers", "b")}

    plugins = Plugins.discover(extra=extra, env={"QCORE_DISABLE_PLUGINS": " one ,two,"})

    assert frozenset() == plugins.names("qcore_brokers") & {"a", "b"}


def test_switching_off_what_is_not_there_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A misspelt name in QCORE_DISABLE_PLUGINS does not go unnoticed."""
    Plugins.discover(["bultin"], env={})

    assert caplog.messages == ["no plugin named 'bultin' to switch off; did you mean 'builtin'?"]


def test_same_module_twice_is_refused() -> None:
    """One module under two names would run its hooks once and be listed twice."""
    made = offering("qcore_brokers", "thing")

    plugins = Plugins.of({"one": made, "two": made})

    assert only(plugins, "two").broken == "it is the same module as the plugin 'one'"
    assert plugins.names("qcore_brokers") == {"thing"}


# -- lifecycle hooks --------------------------------------------------------------------------

EVENT = SettledEvent(task_id="0123", name="math.pi", action="ack", kind="success")


def test_hook_that_nobody_implements_costs_nothing() -> None:
    """The hot path sees an empty tuple."""
    assert Plugins.of({}).hooks("qcore_settled") == ()


def test_hooks_run_with_their_event() -> None:
    """Every implementation is called, also one that declares no argument."""
    seen: list[object] = []

    def note(event: object) -> None:
        seen.append(event)

    plugins = Plugins.of(
        {
            "one": module(qcore_settled=note),
            "two": module(qcore_settled=lambda: seen.append("no argument")),
        }
    )

    for hook in plugins.hooks("qcore_settled"):
        hook(EVENT)

    assert {"one", "two"} == {hook.plugin for hook in plugins.hooks("qcore_settled")}
    assert EVENT in seen
    assert "no argument" in seen


def test_hook_marked_first_runs_first() -> None:
    """The order that pluggy's marks ask for is kept."""

    class First:
        @hookimpl(tryfirst=True)
        def qcore_settled(self, event: object) -> None:
            """Run before the others."""

    plugins = Plugins.of({"first": First(), "other": module(qcore_settled=quiet)})

    assert [hook.plugin for hook in plugins.hooks("qcore_settled")] == ["first", "other"]


@pytest.mark.parametrize("error", [ValueError("oops"), SystemExit(1), SkipTask()])
def test_hook_that_raises_is_logged_with_its_plugin(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    """A plugin's fault does not become the task's."""

    def settled(event: object) -> None:
        raise error

    [hook] = Plugins.of({"mine": module(qcore_settled=settled)}).hooks("qcore_settled")
    hook(EVENT)

    [record] = caplog.records
    assert (record.name, record.levelno) == ("qcore.plugins", logging.ERROR)
    assert record.getMessage() == "hook failed: qcore_settled of plugin mine, task 0123"


@pytest.mark.parametrize("name", ["qcore_pre_enqueue", "qcore_pre_execute"])
def test_skip_task_gets_out_of_the_hooks_that_may_skip(name: str) -> None:
    """SkipTask leaves the task out, where a hook runs before it."""

    def skip(event: object) -> None:
        raise SkipTask("not today")

    [hook] = Plugins.of({"mine": module(**{name: skip})}).hooks(name)

    with pytest.raises(SkipTask, match="not today"):
        hook(ExecuteEvent(task=TaskInfo(id="0123", name="math.pi")))


def test_interruption_gets_out_of_a_hook() -> None:
    """A timeout or control-C that strikes inside a hook is not the hook's fault."""

    def settled(event: object) -> None:
        raise KeyboardInterrupt

    [hook] = Plugins.of({"mine": module(qcore_settled=settled)}).hooks("qcore_settled")

    with pytest.raises(KeyboardInterrupt):
        hook(EVENT)


def test_unknown_hook_is_answered_with_the_nearest() -> None:
    """A misspelt name in the caller is an error, not an empty tuple."""
    with pytest.raises(PluginError, match=r"no hook named 'qcore_setled'; did you mean 'qcore_settled'\?"):
        Plugins.of({}).hooks("qcore_setled")


def test_every_known_name_says_what_to_install() -> None:
    """The table of well-known names leads to distributions of ours."""
    for name, distribution in installed.KNOWN.items():
        with pytest.raises(
            PluginNotFound, match=rf"; the package {distribution} offers it: .*/{distribution}$"
        ):
            Plugins(by_hand({})).find("qcore_settings", name)
    for name in installed.SITES:
        with pytest.raises(PluginNotFound, match=r"; the package qcore-django reads it, .*/qcore-django$"):
            Plugins(by_hand({})).find("qcore_settings", name)


def test_broken_plugin_of_a_stranger_is_not_installed_by_its_name() -> None:
    """The public index may have another package of that name."""
    assert installed.reinstall("shop-broker") == "; install shop-broker again, from where it came"
    assert not installed.reinstall(None)
