"""The queues of a name in programs and on the command line."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from qcore import App, Config
from qcore.cli import Exit
from qcore.cli.session import Session
from qcore.errors import NotSupported
from tests.unit.command_line import Ended, configured, typed
from tests.unit.test_cli_health import IDLE, examine, publish

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> App:
    """Return a producer with tasks in two queues, configured in the current directory."""
    made = configured(tmp_path, monkeypatch, "health")
    plain: Any = made.task(pow)
    letter = plain.using(queue="mail", priority=7)
    made.enqueue_many([letter.bind(2, 3), letter.using(delay=600).bind(2, 4), plain.bind(2, 5)])
    return made


@pytest.fixture
def run(app: App, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """Return what runs a command line."""
    return partial(typed, capsys)


def test_queues_are_listed(app: App, run: Callable[..., Ended]) -> None:
    """Each with its messages, and how old the oldest is."""
    default, mail = app.queue.list()
    assert (default.name, default.ready, default.delayed, default.paused) == ("default", 1, 0, False)
    assert (mail.name, mail.ready, mail.leased, mail.delayed) == ("mail", 1, 0, 1)
    assert mail.oldest is not None
    assert 0 <= mail.oldest < 600

    lines = run("queue", "list").out.splitlines()
    assert lines[0].split() == ["QUEUE", "READY", "LEASED", "DELAYED", "OLDEST", "STATE"]
    assert [one.split()[:4] for one in lines[1:]] == [["default", "1", "0", "0"], ["mail", "1", "0", "1"]]
    assert json.loads(run("queue", "list", "--json").out)["queues"][1]["name"] == "mail"
    assert json.loads(run("queue", "show", "mail", "--json").out)["delayed"] == 1
    assert run("queue", "show", "mail").out.splitlines()[1].split()[:2] == ["mail", "1"]
    missing = run("queue", "show", "other")
    assert missing.code == Exit.FAILED
    assert "'other'; qcore queue list shows those there are" in missing.err
    assert "queues    default 1 ready" in run("info").out
    assert len(json.loads(run("info", "--json").out)["queues"]) == 2


def test_waiting_tasks_are_listed(app: App, run: Callable[..., Ended]) -> None:
    """Those that begin first in front; their arguments are shown when they are asked for."""
    first, second, later = app.waiting()
    assert [(one.name, one.queue, one.priority) for one in (first, second)] == [
        ("builtins.pow", "mail", 7),
        ("builtins.pow", "default", 0),
    ]
    assert 0 < later.delay <= 600
    assert first.args is None
    assert [one.args for one in app.waiting(1, queue="default", arguments=True)] == [[2, 5]]

    record = json.loads(run("queue", "tasks", "--json", "--limit", "1").out)["tasks"][0]
    assert (record["id"], record["args"]) == (first.id, None)
    plain, shown = run("queue", "tasks").out, run("queue", "tasks", "--args", "--queue", "mail").out
    assert "ARGUMENTS" not in plain
    assert "[2," not in plain
    assert "[2, 3] {}" in shown
    assert "default" not in shown
    assert "there may be more: --limit 2" in run("queue", "tasks", "--limit", "1").err


def test_what_cannot_be_read_is_listed(app: App) -> None:
    """A message of another key says so."""
    other = App(Config.from_dict(app.config.as_dict() | {"secret_key": "another key of the tests"}))

    assert [one.fault.startswith("unreadable: ") for one in other.waiting(1)] == [True]
    assert other.queue.list()[0].oldest is None


def test_one_queue_is_paused_moved_and_purged(app: App, run: Callable[..., Ended]) -> None:
    """The others stay as they are."""
    assert run("queue", "pause", "mail").out == "queue mail paused\n"
    assert app.queue.is_paused("mail")
    assert not app.queue.is_paused("default")
    assert not app.queue.is_paused()
    assert "paused" in run("queue", "list").out
    assert "mail 1 ready" in run("info").out
    with app.runtime.brokers.connection() as broker:
        assert len(broker.lease(10, 0.0)) == 1
    assert json.loads(run("queue", "resume", "mail", "--json").out) == {"name": "mail", "paused": False}

    assert run("queue", "move", "mail", "old").out == "2 tasks moved\n"
    assert json.loads(run("queue", "purge", "old", "--yes", "--json").out) == {"purged": 2}
    assert run("queue", "purge", "old", "--yes").out == "0 tasks removed\n"
    assert run("queue", "purge", "old").code == Exit.USAGE
    assert run("queue", "pause", "a b").code != Exit.OK
    with pytest.raises(ValueError, match="must be 1 to 64 letters"):
        app.queue.purge("a b")


def test_a_queue_that_no_cluster_runs_is_told(app: App, run: Callable[..., Ended]) -> None:
    """By `health` and `doctor`; one that is paused waits by somebody's will."""
    publish(app, attrs.evolve(IDLE, queues=("default",), state="working"))
    session = Session("qcore.toml")
    text = (
        "1 message ready in the queue 'mail', which no cluster runs; start one with: "
        "qcore run --queues mail MODULE:APP"
    )

    assert text in examine(session, 0.0)
    assert "which no cluster runs" in run("doctor").out
    app.queue.pause("mail")
    app.queue.purge("default")
    assert examine(session, 0.0) == []


def test_a_run_names_its_queues_on_the_command_line(
    run: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One, several in their order, or weights, as the environment variable has them."""
    served: list[object] = []
    monkeypatch.setattr("qcore.cli.run.serve", lambda config, *_: served.append(config.queues))

    for text in ("mail", "mail, default", '{"mail": 3, "default": 1}'):
        assert run("run", "--queues", text).code == Exit.OK
    refused = run("run", "--queues", "mail,a b")

    assert served == [("mail",), ("mail", "default"), {"mail": 3, "default": 1}]
    assert (refused.code, "'a b' is not one" in refused.err) == (Exit.USAGE, True)


def test_a_broker_with_one_queue_says_so() -> None:
    """It lists that one, and refuses what is asked of others."""
    app = App(Config.from_dict({"broker_class": "tests.unit.test_routes.OneQueue", "secret_key": "k" * 40}))
    app.queue.purge()
    app.enqueue(pow, 1, 2)

    (only,) = app.queue.list()

    assert (only.name, only.ready) == ("default", 1)
    for call in (app.queue.purge, app.queue.pause, app.queue.resume, app.queue.is_paused):
        with pytest.raises(NotSupported, match="has one queue for each name"):
            call("mail")
    with pytest.raises(NotSupported, match="has one queue"):
        app.queue.move("mail", "default")
