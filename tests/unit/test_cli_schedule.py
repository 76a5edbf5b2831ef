"""Schedules from the command line."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from qcore import App, Config
from qcore.cli import Exit
from qcore.messages.head import read_head
from qcore_schedules.messages import OpenedSchedule
from qcore_schedules.sealed import stored_schedules
from tests.unit.command_line import Ended, configured, typed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.portable


@pytest.fixture
def verb(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Ended]:
    """Return what runs a verb of `qcore schedule` in a folder with a configuration."""
    configured(tmp_path, monkeypatch, "cli")
    return partial(typed, capsys, "schedule")


@pytest.fixture
def app(tmp_path: Path, verb: Callable[..., Ended]) -> App:
    """Return a producer on the same queue."""
    return App(Config.load(tmp_path / "qcore.toml"))


def add(verb: Callable[..., Ended], *more: str) -> Ended:
    """Add a schedule of a time to come."""
    return verb(
        "create",
        "nightly",
        "math.copysign",
        "2",
        "-2",
        "--type",
        "daily",
        "--next-run",
        "2030-01-31 09:00",
        *more,
    )


def listed(verb: Callable[..., Ended]) -> dict[str, Any]:
    """Return the one schedule there is."""
    (found,) = json.loads(verb("list", "--json").out)["schedules"]
    assert isinstance(found, dict)
    return found


def test_a_schedule_is_added_and_listed(verb: Callable[..., Ended]) -> None:
    """Its next slot is shown on its own wall clock; its arguments are not."""
    assert add(verb, "--time-zone", "Europe/Paris") == (0, "nightly: daily, 2030-01-31 09:00:00 +0100\n", "")

    shown = verb("list").out.splitlines()
    assert shown[0].split() == ["NAME", "TASK", "RULE", "NEXT"]
    assert shown[1].split(None, 3) == ["nightly", "math.copysign", "daily", "2030-01-31 09:00:00 +0100"]
    assert listed(verb) == {
        "name": "nightly",
        "task": "math.copysign",
        "rule": "daily",
        "time_zone": "Europe/Paris",
        "state": "waiting",
        "next_run": 1896076800.0,
        "repeats": -1,
        "catch_up": None,
        "overlap": "allow",
        "jitter": 0.0,
        "cluster": "",
        "declared": "",
        "fault": "",
    }


def test_an_empty_list_says_so(verb: Callable[..., Ended]) -> None:
    """On standard error, because it is not a row."""
    assert verb("list") == (0, "", "no schedules\n")


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        (["--every", "90"], "every 90"),
        (["--cron", "*/5 * * * *", "--no-catch-up"], "*/5 * * * *"),
        (["--type", "monthly", "--repeats", "3"], "monthly"),
        ([], "once"),
    ],
)
def test_each_kind_of_rule_can_be_added(verb: Callable[..., Ended], options: list[str], rule: str) -> None:
    """As with app.schedules.create."""
    assert verb("create", "one", "math.sqrt", "4", *options).code == Exit.OK
    assert listed(verb)["rule"] == rule


@pytest.mark.parametrize(
    ("options", "code", "told"),
    [
        (["--cron", "61 * * * *"], Exit.FAILED, "not a rule of a schedule"),
        (["--every", "60", "--type", "daily"], Exit.FAILED, "one rule"),
        (["--next-run", "soon"], Exit.USAGE, "is not a time"),
        (["--kwargs", '{"name": 1}'], Exit.USAGE, "is also an option of schedules"),
    ],
)
def test_what_cannot_be_added_is_told(
    verb: Callable[..., Ended], options: list[str], code: int, told: str
) -> None:
    """In one line, and nothing is kept."""
    ended = verb("create", "one", "math.sqrt", "4", *options)

    assert ended.code == code
    assert told in ended.err
    assert verb("list").out == ""


@pytest.mark.parametrize("argument", ["1.5", "-2.5", "word", "[1]"])
def test_a_function_in_the_place_of_the_name_is_refused(verb: Callable[..., Ended], argument: str) -> None:
    """The error has the right call, as an argument may look like a name."""
    ended = verb("create", "math.floor", argument, "--every", "60")

    assert ended.code == Exit.USAGE
    assert f"{argument!r} is not the name of a function, and 'math.floor' is" in ended.err
    assert f"write: qcore schedule create floor math.floor {argument} ..." in ended.err
    assert verb("list").out == ""


def test_slots_are_foreseen(verb: Callable[..., Ended]) -> None:
    """Of a schedule and of a rule."""
    add(verb)

    assert verb("preview", "nightly", "-n", "2").out.splitlines() == [
        "2030-01-31 09:00:00 +0000",
        "2030-02-01 09:00:00 +0000",
    ]
    assert len(json.loads(verb("preview", "*/5 * * * *", "--json").out)["slots"]) == 10
    assert verb("preview", "nothing").code == Exit.FAILED


def test_a_schedule_is_paused_and_resumed(verb: Callable[..., Ended], app: App) -> None:
    """A broken one is resumed as well."""
    add(verb)

    assert verb("pause", "nightly").out == "nightly: daily, paused\n"
    assert listed(verb)["state"] == "paused"
    assert verb("resume", "nightly").out == "nightly: daily, 2030-01-31 09:00:00 +0000\n"

    with stored_schedules(app.runtime) as store:
        store.put(attrs.evolve(store.all()[0], fault="no such\x1b[2J thing", time_zone="Mars/Base"))
    assert "broken: no such thing" in verb("list").out


def test_a_schedule_is_run_now(verb: Callable[..., Ended], app: App) -> None:
    """The id of the task is printed."""
    add(verb)

    assert len(verb("run", "nightly").out.strip()) == 32
    assert len(json.loads(verb("run", "nightly", "--json").out)["id"]) == 32
    assert app.queue.size().ready == 2


def test_a_schedule_is_deleted_only_with_a_yes(verb: Callable[..., Ended]) -> None:
    """Without a terminal nobody can be asked."""
    add(verb)

    assert verb("delete", "nightly").code == Exit.USAGE
    assert verb("delete", "nightly", "--yes") == (0, "nightly deleted\n", "")
    assert verb("delete", "nightly", "--yes").code == Exit.FAILED
    for other in ("pause", "resume", "run"):
        assert "no schedule 'nightly'" in verb(other, "nightly").err


def test_a_schedule_is_edited(verb: Callable[..., Ended], app: App) -> None:
    """What is not named stays, the next slot too."""
    add(verb, "--overlap", "skip", "--jitter", "30", "--hook", "a.hook", "--options", '{"timeout": 7}')
    before = app.schedules.list()[0]

    ended = verb("update", "nightly", "--args", "[3, -1]", "--jitter", "0", "--repeats", "4", "--json")

    told = json.loads(ended.out)
    assert (told["overlap"], told["jitter"], told["repeats"]) == ("skip", 0.0, 4)
    after = app.schedules.list()[0]
    assert (after.next_run, after.anchor, after.rule) == (before.next_run, before.anchor, "daily")
    assert app.schedules.update("nightly") == after
    shown = verb("list").out.splitlines()
    assert shown[0].split()[-1] == "OPTIONS"
    assert shown[1].endswith("skip")


def test_an_edit_may_take_away(verb: Callable[..., Ended], app: App) -> None:
    """By an empty text."""
    add(verb, "--hook", "a.hook")

    assert verb("update", "nightly", "--hook", "", "--function", "math.pow", "--every", "60").code == Exit.OK

    one = app.schedules.list()[0]
    assert (one.task, one.rule) == ("math.pow", "every 60")
    message_ = OpenedSchedule(app.runtime, one).message(0.0, bytes(16))
    assert message_ is not None
    assert read_head(app.runtime.envelope.open(message_.body).head).hook is None


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        ([], Exit.USAGE, "nothing to change"),
        (["--args", "{}"], Exit.USAGE, "not a JSON list"),
        (["--kwargs", "[]"], Exit.USAGE, "not a JSON object"),
        (["--options", '{"sync": true}'], Exit.FAILED, "has no meaning for a schedule"),
        (["--cron", "61 * * * *"], Exit.FAILED, "not a rule of a schedule"),
    ],
)
def test_what_cannot_be_edited_is_told(
    verb: Callable[..., Ended], arguments: list[str], code: int, told: str
) -> None:
    """And nothing is changed."""
    add(verb)
    before = listed(verb)

    ended = verb("update", "nightly", *arguments)

    assert ended.code == code
    assert told in ended.err
    assert listed(verb) == before


def test_a_schedule_that_is_not_there_cannot_be_edited(verb: Callable[..., Ended]) -> None:
    """It is reported."""
    ended = verb("update", "nobody", "--jitter", "1")

    assert (ended.code, "no schedule 'nobody'" in ended.err) == (Exit.FAILED, True)


def test_the_doctor_tells_of_broken_schedules(
    verb: Callable[..., Ended], app: App, capsys: pytest.CaptureFixture[str]
) -> None:
    """They rest until somebody mends them."""
    add(verb)
    with stored_schedules(app.runtime) as store:
        store.put(attrs.evolve(store.all()[0], fault="no task 'a.b'"))

    checks = json.loads(typed(capsys, "doctor", "--json").out)["checks"]

    (found,) = [one for one in checks if "nightly" in str(one)]
    assert "no task 'a.b'" in str(found)
    assert "qcore schedule resume nightly" in str(found)


@pytest.mark.parametrize("odd", [1767225600000.0, 1e300, float("inf")])
def test_a_slot_that_is_no_time_hides_no_schedule(verb: Callable[..., Ended], app: App, odd: float) -> None:
    """A store may hold what is refused today; what can be shown is shown, and it can be mended."""
    made = app.schedules.create("math.sqrt", 4, name="odd", type="daily")
    app.schedules.create("math.sqrt", 4, name="sound", type="daily", next_run=2e9)
    with stored_schedules(app.runtime) as store:
        store.put(attrs.evolve(made, next_run=odd))

    listed = verb("list")
    assert (listed.code, f"{odd!r} is not a time; give --next-run" in listed.out) == (Exit.OK, True)
    assert "2033-05-18 03:33:20 +0000" in listed.out
    assert verb("list", "--json").code == Exit.OK
    shown = verb("preview", "odd")
    assert (shown.code, "'odd' has a slot that is not a valid time" in shown.err) == (Exit.FAILED, True)
    assert "2030-01-01" in verb("update", "odd", "--next-run", "2030-01-01").out
