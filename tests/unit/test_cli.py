"""The command line in this process: what it prints and how it ends."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import click
import pytest

import qcore.cli
from qcore import App, Config
from qcore.cli import Exit
from qcore.cli.dead_letter import DeadLetterView
from qcore.cli.dead_letters import listing
from qcore.cli.exit_codes import exit_of
from qcore.cli.group import VERBS
from qcore.cli.key_usage import key_ids
from qcore.cli.session import Session
from qcore.errors import (
    BackendRejected,
    BackendUnavailable,
    ConfigError,
    PluginBroken,
    QcoreError,
    ResultNotReady,
    StartFailed,
    TaskNameError,
)
from qcore.hookspecs import hookimpl
from qcore.messages.head import Head
from qcore.model import Action, Kind, Outcome, Outgoing, Settlement, State
from qcore.plugins import Plugins
from qcore_sqlite.coordination import SqliteCoordination
from tests.unit.command_line import KEY, Ended, configured, typed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from qcore.interfaces import Settings


@pytest.fixture
def qcore_(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., Ended]:
    """Return what runs a command line in a folder with a configuration."""
    configured(tmp_path, monkeypatch, "cli", "max_attempts = 1\n")
    # what a child has printed counts too
    return partial(typed, capfd)


@pytest.fixture
def app(tmp_path: Path, qcore_: Callable[..., Ended]) -> App:
    """Return a producer on the same queue."""
    return App(Config.load(tmp_path / "qcore.toml"))


def dead_letter(app: App, reason: str = "it failed", *arguments: Any, body: bytes = b"") -> str:
    """Enqueue a task and dead-letter it; return its id."""
    job = app.enqueue("shop.price", *arguments)
    with app.runtime.brokers.connection() as broker:
        if body:
            broker.purge()
            broker.enqueue([Outgoing(b"x" * 16, body)])
        (delivery,) = broker.lease(1, 0)
        broker.settle([Settlement(delivery.receipt, Action.DEAD_LETTER, reason=reason, failures=1)])
    return job.id


# -- how a command ends -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (BackendUnavailable(), Exit.UNAVAILABLE),
        (BackendRejected(), Exit.FAILED),
        (ConfigError(["name: wrong"]), Exit.CONFIG),
        (PluginBroken(), Exit.CONFIG),
        (ResultNotReady(), Exit.NOT_YET),
        (TaskNameError(), Exit.USAGE),
        (StartFailed(), Exit.FAILED),
        (QcoreError(), Exit.FAILED),
    ],
)
def test_an_error_has_its_exit_code(error: QcoreError, expected: Exit) -> None:
    """Scripts and service managers can tell causes apart."""
    assert exit_of(error) is expected


def test_the_exit_codes_are_the_documented_ones() -> None:
    """The table in the package's text names each code once."""
    rows = re.findall(r"^\| (\d+) \|", qcore.cli.__doc__ or "", re.MULTILINE)
    documented = [int(row) for row in rows]

    assert documented == [int(code) for code in Exit]


def test_an_error_is_one_line_without_a_traceback(qcore_: Callable[..., Ended]) -> None:
    """What went wrong, on standard error, and nothing else."""
    ended = qcore_("--config", "nowhere.toml", "info")

    assert (ended.code, ended.out) == (Exit.CONFIG, "")
    assert ended.err.startswith(
        "qcore: the configuration is not valid: the configuration file 'nowhere.toml'"
    )
    assert "Traceback" not in ended.err


def test_a_traceback_is_shown_to_those_who_ask(
    qcore_: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    """QCORE_DEBUG=1 shows where it came from, and is not an unknown setting."""
    monkeypatch.setenv("QCORE_DEBUG", "1")

    ended = qcore_("--config", "nowhere.toml", "info")

    assert "Traceback (most recent call last)" in ended.err
    assert "debug" not in ended.err.lower().replace("qcore_debug", "")


def test_a_fault_of_our_own_says_so(qcore_: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch) -> None:
    """What nobody expected is reported as a fault to report, with code 70."""
    monkeypatch.setattr(Session, "plugins", property(lambda _: 1 / 0))

    ended = qcore_("plugins")

    assert ended.code == Exit.SOFTWARE
    assert "qcore: a fault of qcore's own: ZeroDivisionError" in ended.err


def test_ctrl_c_ends_with_130(qcore_: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch) -> None:
    """As a shell expects of what it interrupts."""

    def interrupt(_: Session) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Session, "plugins", property(interrupt))

    assert qcore_("plugins").code == Exit.INTERRUPTED


def test_an_unknown_verb_gets_the_nearest_one(qcore_: Callable[..., Ended]) -> None:
    """A typing mistake is answered with what was meant."""
    ended = qcore_("enqeue", "x.y")

    assert ended.code == Exit.USAGE
    assert "no command 'enqeue'; did you mean 'enqueue'?" in ended.err


def test_only_no_may_stand_before_the_name_of_a_plugin(qcore_: Callable[..., Ended]) -> None:
    """-p switches off; it does not add."""
    ended = qcore_("-p", "sqs", "plugins")

    assert ended.code == Exit.USAGE
    assert "-p no:NAME" in ended.err


# -- verbs ------------------------------------------------------------------------------------


def test_help_imports_no_verb() -> None:
    """`qcore --help` lists all verbs and stays quick."""
    program = (
        "import sys, qcore.cli, atexit\n"
        "ours = lambda: sorted(m for m in sys.modules if m.startswith(('qcore.cli.', 'rich.')))\n"
        "atexit.register(lambda: print(ours()))\n"
        "qcore.cli.main(['--help'])"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    *told, imported = done.stdout.splitlines()
    ours = ["exit_codes", "failures", "group", "session", "text"]
    assert imported == str([f"qcore.cli.{name}" for name in ours])
    assert all(f"  {verb} " in "\n".join(told) for verb in VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(qcore_: Callable[..., Ended], verb: str) -> None:
    """Each has a help text and is called what the list calls it."""
    ended = qcore_(verb, "--help")

    assert ended.code == 0
    assert ended.out.startswith(f"Usage: qcore {verb}")


def test_python_m_qcore_is_the_same_program() -> None:
    """Where the script is not on the path."""
    done = subprocess.run(
        [sys.executable, "-m", "qcore", "--version"], capture_output=True, text=True, check=True
    )

    assert done.stdout.startswith("qcore 26.")


class Offering:
    """A plugin that offers a command and a check."""

    @staticmethod
    @hookimpl
    def qcore_commands() -> Mapping[str, Callable[[], Any]]:
        """Offer three commands."""

        @click.command("greet")
        @click.pass_obj
        def greet(session: Session) -> None:
            click.echo(f"greetings from {session.config.name}")

        def broken() -> None:
            raise ImportError("no module named nix")

        return {"greet": lambda: greet, "broken": broken, "info": lambda: greet}

    @staticmethod
    @hookimpl
    def qcore_checks() -> Mapping[str, Callable[[Settings], str]]:
        """Offer two checks."""

        def sick(settings: Settings) -> str:
            raise RuntimeError(f"{settings.name} is sick")

        return {"mine": lambda settings: f"{settings.name} is well", "other": sick}


class Unused(Offering):
    """A plugin whose broker nobody has chosen."""

    @staticmethod
    @hookimpl
    def qcore_brokers() -> Mapping[str, Callable[[Settings], Any]]:
        """Offer a broker."""

        def make(settings: Settings) -> Any:
            raise AssertionError(settings)

        return {"unused": make}


@pytest.fixture
def offering(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the plugin above installed."""
    found = Plugins.discover(extra={"offering": Offering})
    monkeypatch.setattr(Session, "plugins", found)


def test_a_plugin_brings_its_own_command(qcore_: Callable[..., Ended], offering: None) -> None:
    """It is listed, and gets what our own commands share as `ctx.obj`."""
    assert "greet" in qcore_("--help").out
    assert qcore_("greet").out == "greetings from cli\n"


def test_a_plugin_does_not_take_the_place_of_a_verb(qcore_: Callable[..., Ended], offering: None) -> None:
    """`info` stays ours."""
    assert "greetings" not in qcore_("info").out


def test_a_broken_command_of_a_plugin_is_complained_of_when_used(
    qcore_: Callable[..., Ended], offering: None
) -> None:
    """The others go on."""
    ended = qcore_("broken")

    assert ended.code == Exit.CONFIG
    assert "the plugin's command 'broken' cannot be used: ImportError: no module named nix" in ended.err


# -- enqueue and result -----------------------------------------------------------------------


def test_words_become_arguments_as_json_or_as_text(qcore_: Callable[..., Ended], app: App) -> None:
    """Numbers below zero are numbers, what is not JSON is text."""
    words = ["1", "-2", "-0.5", "true", "word", '"3"', "[1, 2]", "", "2026-11-23"]

    ended = qcore_("enqueue", "shop.price", *words, "--kwargs", '{"pence": 50}', "--json")

    task_id = json.loads(ended.out)["id"]
    with app.runtime.brokers.connection() as broker:
        (delivery,) = broker.lease(1, 0)
    opened = app.runtime.envelope.open(delivery.body)
    assert opened.id.hex() == task_id
    assert app.runtime.serializer.loads(opened.arguments) == [
        [1, -2, -0.5, True, "word", "3", [1, 2], "", "2026-11-23"],
        {"pence": 50},
    ]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["price"], "a dotted name such as"),
        (["shop.price", "--wiat", "5"], "No such option"),
        (["shop.price", "--kwargs", "{pence: 50}"], "is not JSON"),
        (["shop.price", "--kwargs", "[50]"], "is not a JSON object"),
        (["shop.price", "--timeout", "0"], "timeout"),
    ],
)
def test_what_cannot_be_enqueued_is_a_usage_error(
    qcore_: Callable[..., Ended], app: App, arguments: list[str], told: str
) -> None:
    """Nothing is enqueued, and the message says what to write."""
    ended = qcore_("enqueue", *arguments)

    assert ended.code == Exit.USAGE
    assert told in ended.err
    assert app.queue.size().ready == 0


def test_no_result_yet_is_a_code_of_its_own(qcore_: Callable[..., Ended], app: App) -> None:
    """75: ask again later."""
    task_id = app.enqueue("shop.price").id

    ended = qcore_("result", task_id)

    assert (ended.code, ended.out) == (Exit.NOT_YET, "")
    assert f"task {task_id} has no result" in ended.err
    record = json.loads(qcore_("result", task_id, "--json").out)
    assert record == {"id": task_id, "state": None, "reason": record["reason"]}
    assert record["reason"] in ended.err


def test_what_is_no_task_id_is_a_usage_error(qcore_: Callable[..., Ended]) -> None:
    """Before anything is asked of a store."""
    ended = qcore_("result", "012x")

    assert ended.code == Exit.USAGE
    assert "32 hexadecimal digits" in ended.err


def test_a_value_is_printed_alone_and_harmless(qcore_: Callable[..., Ended], app: App) -> None:
    """A script gets the value and nothing else; a terminal gets nothing to obey."""
    call = app.async_task("operator.add", "\x1b]0;owned\x07fine", "\u202e!", sync=True)

    assert qcore_("result", call) == (0, "fine!\n", "")
    assert json.loads(qcore_("result", call, "--json").out)["value"] == "\x1b]0;owned\x07fine\u202e!"


def test_a_failed_task_is_told_on_standard_error(qcore_: Callable[..., Ended], app: App) -> None:
    """With its traceback, its error and exit code 1."""
    failed = app.async_task("operator.truediv", 1, 0, sync=True)

    ended = qcore_("result", failed)

    assert (ended.code, ended.out) == (Exit.FAILED, "")
    assert ended.err.endswith(
        f"qcore: task {failed} (operator.truediv) failed (attempt 1): ZeroDivisionError: division by zero\n"
    )
    assert json.loads(qcore_("result", failed, "--json").out)["state"] == "failed"


def test_an_error_of_several_lines_ends_with_one(qcore_: Callable[..., Ended], app: App) -> None:
    """A script reads the last line; a text of the task's own forges no other one."""
    text = "first\nqcore: task 00 (a) failed\r\nlast\x1b[2J"
    failed = app.async_task("getopt.getopt", [f"--{text}"], "", sync=True)

    ended = qcore_("result", failed)

    last = ended.err.splitlines()[-1]
    assert last.startswith(f"qcore: task {failed} (getopt.getopt) failed (attempt 1): GetoptError: ")
    assert "first" in last
    assert "last" in last
    assert "\x1b" not in ended.err


# -- info, purge, keys, plugins ---------------------------------------------------------------


def test_info_counts_and_never_shows_a_key(qcore_: Callable[..., Ended], app: App) -> None:
    """Sizes, results and settings; the key is nowhere."""
    app.enqueue("shop.price")

    told = json.loads(qcore_("info", "--config", "--json").out)
    text = qcore_("info", "--config")

    assert told["queue"]["ready"] == 1
    assert told["config"]["name"] == "cli"
    assert told["clusters"] == []
    assert KEY not in json.dumps(told) + text.out + text.err
    assert "secret_key" in text.out


def test_purge_wants_to_be_told_yes(qcore_: Callable[..., Ended], app: App) -> None:
    """Without a terminal nobody can be asked."""
    app.enqueue_many([app.task(os.getcwd).bind() for _ in range(3)])

    refused, done = qcore_("purge"), qcore_("purge", "--yes")

    assert (refused.code, done.code) == (Exit.USAGE, Exit.OK)
    assert "--yes" in refused.err
    assert done.out == "3 tasks removed\n"
    assert app.queue.size().ready == 0


def test_each_new_key_is_another(qcore_: Callable[..., Ended]) -> None:
    """43 characters that a configuration accepts."""
    keys = [qcore_("keys", "new").out.strip() for _ in range(3)]

    assert {len(key) for key in keys} == {43}
    assert len(set(keys)) == 3
    assert Config.from_dict({"secret_key": keys}).keys() == tuple(keys)


def test_a_key_file_is_ones_own_and_never_overwritten(qcore_: Callable[..., Ended], tmp_path: Path) -> None:
    """Mode 0600, and a key that is there stays, behind a link too."""
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")

    made, again, linked = (qcore_("keys", "new", "--write", name) for name in ("key", "key", "link"))

    written = tmp_path / "key"
    assert made.out == f'secret_key = "file:{written}"\n'
    assert stat.S_IMODE(written.stat().st_mode) == 0o600
    assert (again.code, linked.code) == (Exit.FAILED, Exit.FAILED)
    assert "exists already" in again.err
    assert Config.from_dict({"secret_key": f"file:{written}"}).keys() == (written.read_text().strip(),)
    assert not (tmp_path / "elsewhere").exists()


def test_plugins_are_listed_with_what_they_offer(qcore_: Callable[..., Ended]) -> None:
    """For people and for programs, those switched off too."""
    told = json.loads(qcore_("plugins", "--json").out)["plugins"]
    off = qcore_("-p", "no:builtin", "plugins").out

    (own,) = [plugin for plugin in told if plugin["name"] == "sqlite"]
    assert own["distribution"] == "qcore"
    assert own["offers"]["brokers"] == ["sqlite"]
    assert "switched off" in off


# -- dead letters -----------------------------------------------------------------------------


def test_dead_letters_are_listed_by_their_heads(qcore_: Callable[..., Ended], app: App) -> None:
    """Name, reason and age; nothing of the arguments."""
    task_id = dead_letter(app, "it \x1b[31mfailed", "the argument")

    text, told = qcore_("dead-letters", "list"), json.loads(qcore_("dead-letters", "list", "--json").out)

    (letter,) = told["dead_letters"]
    assert (letter["task"], letter["task_id"], letter["failures"]) == ("shop.price", task_id, 1)
    assert "shop.price" in text.out
    assert "it failed" in text.out
    assert "the argument" not in text.out + json.dumps(told)


def test_a_forged_letter_is_listed_as_what_it_is(qcore_: Callable[..., Ended], app: App) -> None:
    """Not signed by us: neither name nor arguments are believed."""
    other = App(
        Config.from_dict({**app.config.as_dict(), "secret_key": "another key of forty characters, or so"})
    )
    dead_letter(other, "unknown key", "x")
    dead_letter(app, "no envelope", body=b"\x1b[31mjunk")

    told = json.loads(qcore_("dead-letters", "list", "--json").out)["dead_letters"]
    shown = qcore_("dead-letters", "show", told[0]["id"], "--args")

    assert [letter["task"] for letter in told] == ["", ""]
    assert all(letter["fault"].startswith("unreadable: ") for letter in told)
    assert shown.code == Exit.FAILED
    assert "which is not in secret_key" in shown.err


def test_arguments_are_decoded_on_demand_only(qcore_: Callable[..., Ended], app: App) -> None:
    """`show` says so, `show --args` shows them."""
    task_id = dead_letter(app, "it failed", "the argument", 3)

    without, with_, told = (
        qcore_("dead-letters", "show", task_id),
        qcore_("dead-letters", "show", task_id, "--args"),
        json.loads(qcore_("dead-letters", "show", task_id, "--args", "--json").out),
    )

    assert "the argument" not in without.out
    assert "--args" in without.err
    assert '["the argument", 3]' in with_.out
    assert (told["args"], told["kwargs"]) == (["the argument", 3], {})


def test_pickled_arguments_are_never_decoded(
    qcore_: Callable[..., Ended], app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading them could run code."""
    monkeypatch.setenv("QCORE_SERIALIZER", "pickle")
    monkeypatch.setenv("QCORE_ACCEPT_SERIALIZERS", "pickle")
    task_id = dead_letter(App(Config.load("qcore.toml")), "it failed", "the argument")

    ended = qcore_("dead-letters", "show", task_id, "--args")

    assert ended.code == Exit.FAILED
    assert "can run code" in ended.err


def test_two_letters_that_changed_places_are_near(qcore_: Callable[..., Ended]) -> None:
    """The commonest slip in a short name."""
    assert "no command 'rnu'; did you mean 'run'?" in qcore_("rnu").err


def test_letters_are_requeued_and_dropped_by_name(qcore_: Callable[..., Ended], app: App) -> None:
    """By the broker's name or the task's id; all named, or nothing is done."""
    first, second = dead_letter(app), dead_letter(app)

    missing = qcore_("dead-letters", "requeue", first, "nobody")
    requeued = qcore_("dead-letters", "requeue", first)
    unasked = qcore_("dead-letters", "drop", second)
    dropped = qcore_("dead-letters", "drop", second, "--yes", "--json")

    assert missing.code == Exit.FAILED
    assert "no dead letter 'nobody'" in missing.err
    assert requeued.out == "1 dead letter requeued\n"
    assert (unasked.code, "give --yes" in unasked.err) == (Exit.USAGE, True)
    assert json.loads(dropped.out) == {"dropped": 1}
    assert (app.queue.size().ready, app.queue.size().dead_letters) == (1, 0)


def test_letters_of_one_key_are_chosen_by_its_id(
    qcore_: Callable[..., Ended], app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an unknown key has signed can go without the dead letters of tasks."""
    dead_letter(app)
    with monkeypatch.context() as other:
        other.setenv("QCORE_SECRET_KEY", "a key that nobody here has, of somebody else")
        stranger = App(Config.load("qcore.toml"))
        dead_letter(stranger)
        dead_letter(stranger)
    key = key_ids(stranger.runtime)[0].hex()

    assert f"a key that is not in secret_key ({key}): dead letters 2" in qcore_("keys", "check").out
    both = qcore_("dead-letters", "drop", "--all", "--key", key, "--yes")
    dropped = qcore_("dead-letters", "drop", "--key", key.upper(), "--yes", "--json")
    requeued = qcore_("dead-letters", "requeue", "--key", key_ids(app.runtime)[0].hex(), "--json")

    assert (both.code, "--all, or --key" in both.err) == (Exit.USAGE, True)
    assert (json.loads(dropped.out), json.loads(requeued.out)) == ({"dropped": 2}, {"requeued": 1})


def test_the_old_failure_of_a_requeued_task_is_forgotten(qcore_: Callable[..., Ended], app: App) -> None:
    """Whoever waits for the new result is not handed the old failure."""
    task = dead_letter(app)
    runtime = app.runtime
    failed = runtime.results.seal(
        bytes.fromhex(task),
        Head("shop.price"),
        State.FAILED,
        Outcome(Kind.FAILURE, error="ValueError"),
        b"",
        created=0,
        attempts=1,
        crashes=0,
    )
    with runtime.stores.connection() as store:
        store.save([failed])

    qcore_("dead-letters", "requeue", task)

    assert app.results.fetch(task) is None


def test_all_letters_are_dropped_only_with_a_yes(qcore_: Callable[..., Ended], app: App) -> None:
    """It cannot be undone; --all and names exclude each other."""
    dead_letter(app)

    codes = [
        qcore_("dead-letters", "drop", *arguments).code
        for arguments in ([], ["1", "--all"], ["--all"], ["--all", "--yes"])
    ]

    assert codes == [Exit.USAGE, Exit.USAGE, Exit.USAGE, Exit.OK]
    assert app.queue.size().dead_letters == 0


def test_a_shortened_id_is_enough_where_it_is_unique(qcore_: Callable[..., Ended], app: App) -> None:
    """The monitor shows the last digits; result, status and dead-letters take them, or the first ones."""
    ended, dead = app.async_task("operator.add", 1, 2, sync=True), dead_letter(app, "it failed")

    assert qcore_("result", ended[-8:]).out == "3\n"
    assert qcore_("result", ended[:-1]).out == "3\n"
    assert json.loads(qcore_("status", ended[-8:], "--json").out)["id"] == ended
    assert json.loads(qcore_("dead-letters", "show", dead[-8:], "--json").out)["task_id"] == dead
    assert qcore_("dead-letters", "requeue", dead[:-1]).out == "1 dead letter requeued\n"


def test_a_shortened_id_of_several_or_of_none_is_refused(qcore_: Callable[..., Ended], app: App) -> None:
    """Nothing is done, and the message lists the ids it could be."""
    one, two = (app.async_task("operator.add", 1, number, sync=True) for number in (1, 2))
    # the time, to a few weeks
    common = one[:4]
    dead = dead_letter(app)

    several, none = (
        qcore_("cancel", common),
        qcore_("result", "abcdef" if "abcdef" not in one + two else "fedcba"),
    )
    short = qcore_("dead-letters", "requeue", dead[-3:])

    assert (several.code, none.code, short.code) == (Exit.FAILED,) * 3
    assert all(id_ in several.err for id_ in (one, two))
    assert "give the whole id" in none.err
    assert f"no dead letter {dead[-3:]!r}" in short.err
    assert app.queue.size().dead_letters == 1


def test_dead_letters_fit_a_terminal_of_80_columns() -> None:
    """Long ids show their end there, long names and reasons are cut; in a pipe all is whole."""
    one = DeadLetterView(
        id="0192f" * 7, task_id="0" * 32, task="shop.orders.tasks.send_the_invoice_to_the_customer", fault="",
        reason="failed 3 times: ConnectionRefusedError: [Errno 111] Connection refused by mail.example.com",
        dead_since=1000.0, failures=3, crashes=0, size=100,
    )  # fmt: skip

    narrow, whole = listing([one], 4700.0, 80), listing([one], 4700.0, None)

    assert max(map(len, narrow)) <= 80
    assert all(part in narrow[1] for part in (one.id[-8:], "  61m  "))
    assert all(part in whole[1] for part in (one.id, one.task, one.reason))


# -- doctor -----------------------------------------------------------------------------------


def verdicts(ended: Ended) -> dict[str, list[str]]:
    """Return what was found, by subject."""
    found: dict[str, list[str]] = {}
    for check in json.loads(ended.out)["checks"]:
        found.setdefault(check["about"], []).append(check["verdict"])
    return found


def test_a_healthy_queue_is_found_well(qcore_: Callable[..., Ended]) -> None:
    """All is well but for the cluster nobody has started; that is a warning."""
    ended = qcore_("doctor", "--json")

    found = verdicts(ended)
    assert ended.code == 0
    assert found.pop("clusters") == ["warn"]
    assert {verdict for told in found.values() for verdict in told} == {"ok"}
    assert found.keys() >= {"interpreter", "plugins", "configuration", "secret key", "broker", "results"}


def test_weak_keys_and_open_files_are_warned_of(qcore_: Callable[..., Ended], tmp_path: Path) -> None:
    """Each with what to do."""
    (tmp_path / "qcore.toml").write_text(
        'secret_key = ["xyxyxyxyxyxyxyxyx", "file:key"]\n[sqlite]\npath = "q.db"\n'
    )
    (tmp_path / "qcore.toml").chmod(0o644)
    (tmp_path / "key").write_text(KEY)
    (tmp_path / "key").chmod(0o640)

    ended = qcore_("doctor")

    assert ended.code == 0
    for told in (
        "chmod 600 qcore.toml",
        f"chmod 600 {tmp_path / 'key'}",
        "can be guessed",
        "17 characters, 32 or more",
    ):
        assert told in ended.out
    assert KEY not in ended.out


def test_a_database_that_is_none_fails_the_doctor(qcore_: Callable[..., Ended], tmp_path: Path) -> None:
    """The broker's fault ends the examination: nothing above it can stand."""
    (tmp_path / "queue.db").write_bytes(b"not a database" * 1000)

    ended = qcore_("doctor", "--json")

    assert ended.code == Exit.FAILED
    assert verdicts(ended)["broker"] == ["fail"]
    assert "results" not in verdicts(ended)
    assert "not a SQLite database" in ended.out


def test_results_in_a_file_beside_a_service_are_warned_of(
    qcore_: Callable[..., Ended], tmp_path: Path
) -> None:
    """A queue that many machines share needs a store that they share."""
    (tmp_path / "qcore.toml").write_text(
        f'name = "cli"\nsecret_key = "{KEY}"\nbroker_class = "qcore_sqlite.SqliteBroker"\n'
        '[sqlite]\npath = "queue.db"\n'
    )

    ended = qcore_("doctor", "--json")

    assert "warn" in verdicts(ended)["results"]
    assert "name a store that all of them share in result_store" in ended.out


def test_coordination_is_tried(qcore_: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch) -> None:
    """Locks, limits and pauses need a store that keeps a flag; one that keeps none fails the doctor."""
    well = qcore_("doctor", "--json")
    monkeypatch.setattr(SqliteCoordination, "get_flags", lambda *_: [None])
    sick = qcore_("doctor", "--json")

    assert (well.code, verdicts(well)["coordination"]) == (Exit.OK, ["ok"])
    assert (sick.code, verdicts(sick)["coordination"]) == (Exit.FAILED, ["fail"])
    assert "check the coordination store" in sick.out


def test_what_the_broker_cannot_count_is_unknown(qcore_: Callable[..., Ended], tmp_path: Path) -> None:
    """None delayed and an unknown number are two answers, and `purge` says what it leaves."""
    (tmp_path / "qcore.toml").write_text(
        f'name = "cli"\nsecret_key = "{KEY}"\n'
        'broker_class = "tests.integration.strange_brokers.CountsLittle"\n'
        '[sqlite]\npath = "queue.db"\n'
    )

    doctor, purge = qcore_("doctor"), qcore_("purge", "--yes")

    assert "0 ready, unknown delayed" in doctor.out
    assert purge.out.splitlines()[1:] == [
        "delayed tasks stay: the broker cannot remove them before they are ready"
    ]


def test_a_bad_configuration_fails_the_doctor(
    qcore_: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says every fault and goes no further."""
    monkeypatch.setenv("QCORE_WORKERS", "many")

    ended = qcore_("doctor", "--json")

    assert ended.code == Exit.FAILED
    assert verdicts(ended)["configuration"] == ["fail"]
    assert "QCORE_WORKERS" in ended.out


def test_checks_of_plugins_are_made(qcore_: Callable[..., Ended], offering: None) -> None:
    """One that raises fails the doctor, with its own words."""
    ended = qcore_("doctor")

    assert ended.code == Exit.FAILED
    assert "cli is well" in ended.out
    assert "RuntimeError: cli is sick" in ended.out


def test_what_nobody_uses_is_not_examined(
    qcore_: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service that another project needs may be away."""
    monkeypatch.setattr(Session, "plugins", Plugins.discover(extra={"unused": Unused}))

    ended = qcore_("doctor")

    assert ended.code == 0
    assert "sick" not in ended.out


# -- run --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("nothing_of_that_name:app", "no module 'nothing_of_that_name'"),
        ("two_apps", "has 2 apps (first, second)"),
        ("two_apps:third", "has no 'third'; its apps: first, second"),
        ("two_apps:number", "is of type int and not a qcore.App"),
        (":app", "is not the name of a module"),
    ],
)
def test_what_is_no_app_is_a_usage_error(
    qcore_: Callable[..., Ended], tmp_path: Path, target: str, told: str
) -> None:
    """The message names the apps there are."""
    (tmp_path / "two_apps.py").write_text("from qcore import App\nfirst, second, number = App(), App(), 3\n")

    ended = qcore_("run", target)
    sys.modules.pop("two_apps", None)

    assert ended.code == Exit.USAGE
    assert told in ended.err


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("shopp:app", "no module 'shopp' here or on the path; did you mean 'shop'?"),
        ("shp.jobs:app", "no module 'shp' here or on the path; did you mean 'sub.shop.jobs'?"),
        ("ledger:app", "no module 'ledger' here or on the path; there is one in 'sub/money': change to"),
        ("upper_one:app", "there is one in '"),
        ("shop:ap", "shop has no 'ap'; its apps: app; did you mean 'app'?"),
        ("./shopp.py:app", "'./shopp.py' is not the name of a module; write shopp:app; did you mean 'shop'?"),
        ("./shop.py:app", "'./shop.py' is not the name of a module; write shop:app\n"),
        ("nothing_like_it:app", "or on the path; name it as in 'import nothing_like_it'"),
    ],
)
def test_a_misspelt_app_is_told_what_is_near(
    qcore_: Callable[..., Ended], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str, told: str
) -> None:
    """Modules and folders near the working folder, apps of the module; an environment is not looked into."""
    for name in ("shop.py", "sub/shop/jobs.py", "sub/money/ledger.py", "env/nothing_like_itt.py"):
        (tmp_path / "here" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "here" / name).write_text("from qcore import App\napp = App()\n")
    (tmp_path / "here/env/pyvenv.cfg").touch()
    (tmp_path / "upper_one.py").touch()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.syspath_prepend(tmp_path / "here")

    ended = qcore_("run", target)
    sys.modules.pop("shop", None)

    assert ended.code == Exit.USAGE
    assert told in ended.err, ended.err


def test_a_file_that_an_app_would_not_read_is_refused(qcore_: Callable[..., Ended], tmp_path: Path) -> None:
    """An app configured in its code does not run with another configuration in silence."""
    (tmp_path / "coded.py").write_text(
        "from qcore import App, Config\napp = App(Config.from_dict({'name': 'coded'}))\n"
    )

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QCORE_CONFIG", "")
        ended = qcore_("run", "coded:app", "--config", "qcore.toml")
    sys.modules.pop("coded", None)

    assert ended.code == Exit.USAGE
    assert "coded:app is configured in its code" in ended.err


def test_health_refuses_a_timeout_below_zero(qcore_: Callable[..., Ended]) -> None:
    """A time is not negative."""
    ended = qcore_("health", "--stalled-after", "-1")

    assert ended.code == Exit.USAGE
    assert "--stalled-after" in ended.err


def test_keys_that_may_go_are_told_from_those_that_must_stay(
    qcore_: Callable[..., Ended], tmp_path: Path
) -> None:
    """`keys check` counts what each key sealed, `keys reseal` seals it with the first, the doctor warns."""
    App(Config.load(tmp_path / "qcore.toml")).schedules.create("math.floor", 1, name="one", every=60)
    new = "a newer key than the one of this file"
    table = (tmp_path / "qcore.toml").read_text()
    both, alone = f'secret_key = ["{new}", "{KEY}"]', f'secret_key = "{new}"'
    (tmp_path / "qcore.toml").write_text(table.replace(f'secret_key = "{KEY}"', alone))
    unknown, doctor = qcore_("keys", "check"), qcore_("doctor")
    assert unknown.code == Exit.FAILED
    assert "a key that is not in secret_key" in unknown.out
    assert "seals          sealed with a key that is not in secret_key" in doctor.out
    (tmp_path / "qcore.toml").write_text(table.replace(f'secret_key = "{KEY}"', both))

    before = qcore_("keys", "check")
    assert before.code == Exit.FAILED
    assert "must stay: schedules 1" in before.out
    assert qcore_("keys", "reseal").out == "sealed with the first key: schedules 1\n"

    after = qcore_("keys", "check")
    assert after.code == Exit.OK
    assert "may go: nothing" in after.out
    assert json.loads(qcore_("keys", "check", "--json").out)["keys"][0]["sealed"] == {"schedules": 1}
