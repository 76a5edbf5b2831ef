"""A queue is moved between brokers, through kill -9 too."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from qcore import App, Config
from qcore.cli.drain import Mover
from qcore.cli.exit_codes import Exit
from qcore.errors import BackendUnavailable, QcoreError
from qcore.model import ID_AT, Outgoing, Settlement
from qcore.runtime import Runtime
from qcore_sqlite import make_broker
from tests.unit.command_line import typed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qcore.interfaces import Broker

pytestmark = pytest.mark.portable

KEY = "a key of the tests of moving"

#: moves, and dies by its own hand once a number of batches have arrived that are not yet taken away
DEADLY = """
import os, signal, sys
from pathlib import Path
from qcore.cli.drain import Mover
from tests.unit.test_move import opened

source, target = opened(Path(sys.argv[1])), opened(Path(sys.argv[2]))
left = int(sys.argv[3])
settle = source.settle

def deadly(settlements):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    settle(settlements)

source.settle = deadly
for _ in Mover(source, target).run():
    pass
"""


def opened(path: Path, retry: float = 0.05) -> Broker:
    """Return the queue in a file; what is leased comes back a moment later, or after `retry` seconds."""
    config = Config.from_dict({"name": "moved", "sqlite": {"path": str(path)}, "retry": retry})
    return make_broker(config.settings())


def message(number: int, size: int = 0) -> Outgoing:
    """Return a message that bears its id where all do."""
    id_ = number.to_bytes(16, "big")
    return Outgoing(id_, bytes(ID_AT.start) + id_ + b"x" * size)


def numbers(broker: Broker) -> list[int]:
    """Take everything off a queue and return what it was; it must not come back meanwhile."""
    found: list[int] = []
    while leased := broker.lease(500, 0.0):
        broker.settle([Settlement(one.receipt) for one in leased])
        found += [int.from_bytes(one.body[ID_AT], "big") for one in leased]
    return found


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Broker, Broker]:
    """Return two queues in two files."""
    # What is counted on the target is leased there, and would be counted twice if it came back.
    return opened(tmp_path / "from.db"), opened(tmp_path / "to.db", retry=600.0)


def test_all_ready_messages_are_moved_in_order(pair: tuple[Broker, Broker]) -> None:
    """Bodies are unchanged, the oldest comes first, and the source is empty."""
    source, target = pair
    source.enqueue([message(number) for number in range(1, 901)])

    moved = sum(Mover(source, target).run())

    assert moved == 900
    assert source.size().ready == 0
    assert numbers(target) == list(range(1, 901))


@pytest.mark.parametrize("batches", range(3))
def test_a_killed_move_is_started_again(pair: tuple[Broker, Broker], tmp_path: Path, batches: int) -> None:
    """If it is killed between the two writes, nothing is lost, and in the end nothing is there twice."""
    source, target = pair
    source.enqueue([message(number) for number in range(1, 701)])

    killed = subprocess.run(
        [sys.executable, "-c", DEADLY, str(tmp_path / "from.db"), str(tmp_path / "to.db"), str(batches)],
        check=False,
        timeout=60,
    )
    while source.size().ready or source.size().leased:
        list(Mover(source, target).run())

    assert killed.returncode == -signal.SIGKILL
    assert sorted(numbers(target)) == list(range(1, 701))


class Small:
    """A broker that takes no large messages."""

    def __init__(self, broker: Broker, largest: int) -> None:
        self._broker = broker
        self.capabilities = attrs.evolve(broker.capabilities, max_bytes=largest)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._broker, name)


def test_messages_that_the_target_refuses_stay(pair: tuple[Broker, Broker]) -> None:
    """A message too large for the target is left on the source, and the others are moved."""
    source, target = pair
    source.enqueue([message(1), message(2, size=5000), message(3)])
    mover = Mover(source, Small(target, 1000))  # type: ignore[arg-type]  # a broker with another limit

    moved = sum(mover.run())

    assert (moved, mover.refused) == (2, 1)
    assert "1000 bytes" in mover.refusal
    assert source.size().ready == 1
    assert sorted(numbers(target)) == [1, 3]


class WorkerExit(Small):
    """A broker whose answer to the second batch is lost after it was taken."""

    calls = 0

    def enqueue(self, messages: Sequence[Outgoing]) -> None:
        """Accept messages, and say so but once."""
        self._broker.enqueue(messages)
        self.calls += 1
        if self.calls == 2:
            raise BackendUnavailable


def test_a_lost_answer_duplicates_nothing(pair: tuple[Broker, Broker]) -> None:
    """A message that may have been moved is removed from the target before it is enqueued again."""
    source, target = pair
    source.enqueue([message(number) for number in range(1, 601)])

    with pytest.raises(BackendUnavailable):
        list(Mover(source, WorkerExit(target, 10**6)).run())  # type: ignore[arg-type]  # as above
    list(Mover(source, target).run())

    assert sorted(numbers(target)) == list(range(1, 601))


@pytest.mark.parametrize("count", [1, 3, 450])
def test_two_addresses_of_one_queue_are_noticed(tmp_path: Path, count: int) -> None:
    """Where nothing else shows that both are the same, the messages do: the move ends, and all are there."""
    ours = opened(tmp_path / "one.db")
    ours.enqueue([message(number) for number in range(1, count + 1)])

    with pytest.raises(QcoreError, match=r"moved messages come back from SQLite .* the same queue"):
        list(Mover(ours, opened(tmp_path / "one.db")).run())

    while ours.size().leased:
        ours.lease(0, 0.05)
    assert set(numbers(ours)) == set(range(1, count + 1))


# -- the command ------------------------------------------------------------------------------


@pytest.fixture
def move(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Return what runs `qcore move` in a folder with a configuration."""
    (tmp_path / "qcore.toml").write_text(
        f'name = "cli"\nsecret_key = "{KEY}"\n[sqlite]\npath = "here.db"\n', encoding="utf-8"
    )
    (tmp_path / "qcore.toml").chmod(0o600)
    monkeypatch.chdir(tmp_path)
    # A file says at once that it is empty.
    monkeypatch.setattr("qcore.cli.drain._EMPTY_WAIT", 0.0)

    return partial(typed, capsys, "move")


def test_a_moved_task_is_still_signed(move: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    """It can be run on the target, and a warning says that delayed messages stay."""
    app = App(Config.load(tmp_path / "qcore.toml"))
    app.enqueue("math.sqrt", 4)
    app.enqueue("math.sqrt", 9)
    app.send([app.task(name="builtins.len")(len).using(delay=60).bind("late")])

    code, out, _ = move("--from", "qcore.toml", "--to", "sqlite:there.db", "--json")

    there = App(Config.from_dict({"name": "cli", "secret_key": KEY, "sqlite": {"path": "there.db"}}))
    with there.runtime.brokers.connection() as broker:
        bodies = [one.body for one in broker.lease(10, 0)]
    told = json.loads(out)
    assert (code, told["moved"], told["refused"], told["left"]["delayed"]) == (Exit.OK, 2, 0, 1)
    assert len([there.runtime.envelope.open(body) for body in bodies]) == 2


@pytest.fixture
def own_key(move: Callable[..., tuple[int, str, str]]) -> str:
    """Put a task on a queue whose key is beside it, and return that key."""
    del move
    Path("qcore.toml").write_text('name = "cli"\n[sqlite]\npath = "here.db"\n', encoding="utf-8")
    App(Config.load()).enqueue("math.sqrt", 4)
    return Path("here.key").read_text()


def test_a_key_beside_the_queue_moves_along(move: Callable[..., tuple[int, str, str]], own_key: str) -> None:
    """Without it the new queue would be one that has lost its key."""
    code, _, err = move("--from", "sqlite:here.db", "--to", "sqlite:there.db")

    assert (code, "the key of the new queue is in" in err) == (Exit.OK, True)
    assert Path("there.key").read_text() == own_key
    assert Path("there.key").stat().st_mode & 0o777 == 0o600
    there = App(Config.from_dict({"name": "cli", "sqlite": {"path": "there.db"}}))
    with there.runtime.brokers.connection() as broker:
        (found,) = broker.lease(10, 0)
    assert there.runtime.envelope.open(found.body).id == found.body[ID_AT]


def test_another_key_beside_the_new_queue_is_refused(
    move: Callable[..., tuple[int, str, str]], own_key: str
) -> None:
    """Its workers would dead-letter what is moved."""
    assert own_key
    Path("there.key").write_text("the key of another queue, which was there before")

    code, _, err = move("--from", "sqlite:here.db", "--to", "sqlite:there.db")

    assert code == Exit.USAGE
    assert "is not that of" in err


def test_a_move_says_which_key_a_new_file_needs(move: Callable[..., tuple[int, str, str]]) -> None:
    """Where the key is in the configuration, that has to keep it."""
    App(Config.load()).enqueue("math.sqrt", 4)

    code, _, err = move("--from", "qcore.toml", "--to", "sqlite:there.db")

    assert code == Exit.OK
    assert "there.db needs the key of the old queue: keep `secret_key` and `name`" in err
    assert not Path("there.key").exists()


def test_a_move_says_what_it_cannot_count(move: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    """Delayed messages of a broker that does not count them are not left behind without a word."""
    (tmp_path / "source.toml").write_text(
        f'name = "cli"\nsecret_key = "{KEY}"\n'
        'broker_class = "tests.integration.strange_brokers.CountsLittle"\n[sqlite]\npath = "s.db"\n'
    )
    App(Config.load("source.toml")).enqueue("math.sqrt", 4)

    code, out, _ = move("--from", "source.toml", "--to", "sqlite:there.db")

    told = "left behind: what is leased or delayed or dead, if anything is: the broker cannot count it"
    assert (code, out.splitlines()[1:]) == (Exit.OK, [told])


def test_a_move_says_what_it_leaves_in_paused_queues(move: Callable[..., tuple[int, str, str]]) -> None:
    """A broker leases nothing from a paused queue: its messages stay, and the move has not succeeded."""
    app = App(Config.load())
    app.enqueue("math.sqrt", 4)
    app.send([app.task(name="builtins.len")(len).using(queue="mail").bind("late")] * 2)
    app.queue.pause("mail")

    code, out, err = move("--from", "qcore.toml", "--to", "sqlite:there.db")
    json_code, json_out, _ = move("--from", "qcore.toml", "--to", "sqlite:there.db", "--json")
    app.queue.resume("mail")
    resumed_code, resumed_out, _ = move("--from", "qcore.toml", "--to", "sqlite:there.db")

    assert (code, "1 task moved from" in out) == (Exit.FAILED, True)
    assert "2 tasks left in the paused queue 'mail', from which nothing is leased; resume it there " in err
    assert "(qcore queue resume mail), then move again" in err
    assert (json_code, json.loads(json_out)["left"]["paused"]) == (Exit.FAILED, {"mail": 2})
    assert json.loads(json_out)["name"] == "cli"
    assert (resumed_code, "2 tasks moved from" in resumed_out) == (Exit.OK, True)


def test_a_move_onto_itself_is_refused(move: Callable[..., tuple[int, str, str]]) -> None:
    """A queue is not moved to itself."""
    App(Config.load(sqlite={"path": "here.db"})).enqueue("math.sqrt", 4)

    code, _, err = move("--from", "sqlite:here.db", "--to", f"sqlite://{os.getcwd()}/here.db")

    assert code == Exit.FAILED
    assert "both are the same queue" in err


def test_two_names_are_refused(move: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    """A message is signed for its queue: under another name it would be dead-lettered."""
    (tmp_path / "other.toml").write_text('name = "other"\n[sqlite]\npath = "o.db"\n', encoding="utf-8")

    code, _, err = move("--from", "qcore.toml", "--to", "other.toml")

    assert code == Exit.USAGE
    assert "'cli'" in err
    assert "'other'" in err


def test_another_key_is_refused(move: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    """Under a key that the new workers do not have, all moved messages would be dead-lettered."""
    (tmp_path / "other.toml").write_text(
        'name = "cli"\nsecret_key = "another key of the tests of moving"\n[sqlite]\npath = "o.db"\n',
        encoding="utf-8",
    )

    code, _, err = move("--from", "qcore.toml", "--to", "other.toml")

    assert code == Exit.USAGE
    assert "--to does not know the secret_key that signs in --from" in err
    assert "tests of moving" not in err


def test_a_key_that_still_verifies_is_enough(
    move: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    """While keys are rotated, the new configuration signs with another key and knows the old one."""
    (tmp_path / "other.toml").write_text(
        f'name = "cli"\nsecret_key = ["another key of the tests of moving", "{KEY}"]\n'
        '[sqlite]\npath = "o.db"\n',
        encoding="utf-8",
    )
    (tmp_path / "other.toml").chmod(0o600)
    App(Config.load()).enqueue("math.sqrt", 4)

    assert move("--from", "qcore.toml", "--to", "other.toml")[0] == Exit.OK


def test_the_target_keeps_its_own_lease(
    move: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the source gets the long lease; a message that carries its lease carries the target's."""
    made = []
    make = Runtime.make_broker

    def noted(self: Runtime, retry: float | None = None, *, create: bool = True) -> Broker:
        made.append(retry)
        return make(self, retry, create=create)

    App(Config.load()).enqueue("math.sqrt", 4)
    monkeypatch.setattr(Runtime, "make_broker", noted)

    code, _, _ = move("--from", "qcore.toml", "--to", "sqlite:there.db")

    assert code == Exit.OK
    assert made[-1] is None
    assert made[-2] == 300


def test_an_invalid_url_is_refused_without_showing_its_password(
    move: Callable[..., tuple[int, str, str]],
) -> None:
    """A bracket that is not closed ended in a traceback."""
    code, _, told = move("--from", "redis://user:hidden@[::1", "--to", "sqlite:there.db")

    assert code == 2
    assert "redis:... is not a URL: Invalid IPv6 URL" in told
    assert "hidden" not in told


def test_an_unknown_scheme_names_the_plugin_to_install(move: Callable[..., tuple[int, str, str]]) -> None:
    """The error lists the schemes that can be read."""
    code, _, err = move("--from", "qcore.toml", "--to", "gopher://there")

    assert code == Exit.CONFIG
    assert "no URL scheme named 'gopher'; installed: " in err
