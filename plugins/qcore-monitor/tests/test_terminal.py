"""`qcore monitor` in a real terminal: keys work, and it is given back as it was."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from typing import TYPE_CHECKING, Any, Self

import attrs
import msgspec
import pytest

from qcore import App, ClusterStatus, Config
from qcore.cli.key_usage import key_ids, usage
from qcore.messages.sealer import STATUS
from qcore.model import Action, Settlement
from qcore.status import Progress, WorkerStatus
from qcore_monitor import view
from qcore_monitor.fetcher import carry_out
from qcore_queues.flags import ControlFlags, cancel_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

#: seconds any one condition is given; a machine under load must not fail a test
TIMEOUT = 100.0
TASK = "0192f0c1a2b37c4d8e9fa0b1c2d3e4f5"
STATUS_NOW = ClusterStatus(
    id="00112233445566778899aabbccddeeff",
    name="watched",
    label="night",
    host="far-away",
    pid=4321,
    state="working",
    workers=(
        WorkerStatus(
            slot=0,
            pid=4322,
            state="busy",
            task="shop.report",
            running_for=75,
            task_id=TASK,
            progress=Progress(done=3, total=4),
        ),
    ),
)


class Terminal:
    """A terminal of 80x24 with a program on it."""

    def __init__(
        self,
        folder: Path,
        *,
        program: tuple[str, ...] = (sys.executable, "-m", "qcore", "monitor"),
        environment: dict[str, str] | None = None,
    ) -> None:
        self._keys, self.end = pty.openpty()
        self.resize(80, 24)
        self.before = termios.tcgetattr(self.end)
        self.told = ""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("QCORE_", "LC_"))}
        self.process = subprocess.Popen(
            program,
            cwd=folder,
            stdin=self.end,
            stdout=self.end,
            stderr=self.end,
            env={**kept, "TERM": "xterm-256color", "LANG": "C.UTF-8", **(environment or {})},
            start_new_session=True,
            # Control-C and a new size go to the foreground group of the controlling terminal.
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - as said
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._over = False
        self._reader.start()

    def _read(self) -> None:
        while not self._over:
            if select.select([self._keys], [], [], 0.05)[0]:
                with contextlib.suppress(OSError):
                    self.told += os.read(self._keys, 65536).decode("utf-8", "replace")

    def press(self, keys: str) -> None:
        """Press keys."""
        os.write(self._keys, keys.encode())

    def resize(self, columns: int, lines: int) -> None:
        """Drag the window."""
        fcntl.ioctl(self._keys, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def screen(self) -> str:
        """Return what is on the screen: the last text painted on each row."""
        page = self.told.rpartition("\x1b[2J")[2].partition("\x1b[?1049l")[0]
        rows = dict(re.findall(r"\x1b\[(\d+);1H(.*?)(?=\x1b\[\d+;1H|\x1b\[\?2026|$)", page, re.DOTALL))
        texts = [rows[row] for row in sorted(rows, key=int)]
        return "\n".join(re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).rstrip() for text in texts)

    def until(self, condition: Callable[[str], Any], what: str) -> str:
        """Wait until the screen is so; return it."""
        deadline = time.monotonic() + TIMEOUT
        while not condition(found := self.screen()):
            assert time.monotonic() < deadline, f"still waiting for {what}:\n{found}\n{self.told[-300:]!r}"
            time.sleep(0.02)
        return found

    def shows(self, text: str) -> str:
        """Wait until a text is on the screen."""
        return self.until(lambda screen: text in screen, text)

    def leave(self) -> int:
        """Wait for the end of the program and return how it ended."""
        return self.process.wait(TIMEOUT)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._over = True
        self._reader.join()
        os.close(self._keys)
        os.close(self.end)


@pytest.fixture
def app(tmp_path: Path) -> Iterator[App]:
    """Return a producer on the queue that is watched, with a cluster, a failure and a dead letter."""
    pytest.importorskip("rich")
    (tmp_path / "qcore.toml").write_text(
        'name = "watched"\nsecret_key = "a key of the tests of the monitor"\n[sqlite]\npath = "queue.db"\n'
    )
    (tmp_path / "qcore.toml").chmod(0o600)
    app = App(Config.load(tmp_path / "qcore.toml", sqlite={"path": str(tmp_path / "queue.db")}))
    body = app.runtime.status_sealer.seal(
        STATUS, msgspec.json.encode(attrs.evolve(STATUS_NOW, published=time.time()))
    )
    app.async_task("operator.truediv", 1, 0, sync=True)
    app.enqueue("shop.mail")
    with app.runtime.brokers.connection() as broker:
        broker.publish_status(STATUS_NOW.id, body, 3600)
        (delivery,) = broker.lease(1, 0)
        broker.settle([Settlement(delivery.receipt, Action.DEAD_LETTER, reason="it went wrong", failures=1)])
    yield app
    app.close()


def given_back(terminal: Terminal) -> None:
    """See that the terminal is as it was: its settings, its page, its cursor, its line ends."""
    assert termios.tcgetattr(terminal.end) == terminal.before
    deadline = time.monotonic() + TIMEOUT
    while "\x1b[?1049l" not in terminal.told:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    last = terminal.told.rpartition("\x1b[?1049h")[2]
    assert last.rindex("\x1b[?25h") > last.rindex("\x1b[?25l")
    assert last.rindex("\x1b[?7h") > last.rindex("\x1b[?7l")


def test_q_leaves_the_terminal_as_it_was(app: App, tmp_path: Path) -> None:
    """And what it has shown is the queue."""
    with Terminal(tmp_path) as terminal:
        screen = terminal.shows("operator.truediv")
        terminal.press("q")

        assert terminal.leave() == 0
        given_back(terminal)
    for told in ("watched", "night", "shop.report", "75 %", "it went wrong", "ZeroDivisionError"):
        assert told in screen, screen
    assert len(screen.splitlines()) == 24


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_a_signal_ends_it_and_the_terminal_is_as_it_was(
    app: App, tmp_path: Path, number: signal.Signals
) -> None:
    """Whoever sent it sees that it was obeyed."""
    with Terminal(tmp_path) as terminal:
        terminal.shows("operator.truediv")
        terminal.process.send_signal(number)

        assert terminal.leave() == -number
        given_back(terminal)


def test_control_c_ends_it_and_the_terminal_is_as_it_was(app: App, tmp_path: Path) -> None:
    """With the exit code of an interruption, and no traceback."""
    with Terminal(tmp_path) as terminal:
        terminal.shows("operator.truediv")
        terminal.press("\x03")

        assert terminal.leave() == 130
        given_back(terminal)
        assert "Traceback" not in terminal.told


def test_control_z_gives_the_terminal_back_for_as_long_as_it_rests(app: App, tmp_path: Path) -> None:
    """And the screen is painted anew when it goes on."""
    # Without a shell the program cannot be suspended: nothing would resume it.
    shell = f"set -m; {sys.executable} -m qcore monitor; echo at rest; read -r; fg"
    with Terminal(tmp_path, program=("bash", "-c", shell)) as terminal:
        terminal.shows("operator.truediv")
        terminal.press("\x1a")
        terminal.until(lambda _: "at rest" in terminal.told, "the shell")
        given_back(terminal)

        terminal.told = ""
        terminal.press("\n")
        terminal.shows("operator.truediv")
        terminal.press("q")
        assert terminal.leave() == 0
        given_back(terminal)


def test_a_fault_of_ours_leaves_the_terminal_as_it_was(app: App, tmp_path: Path) -> None:
    """The error is read where the user was, not on a page that goes away."""
    (tmp_path / "sitecustomize.py").write_text(
        "from qcore_monitor import layout\n"
        "def broken(*_): raise RuntimeError('the frame is bent')\n"
        "layout.frame = broken\n"
    )
    with Terminal(tmp_path, environment={"PYTHONPATH": str(tmp_path)}) as terminal:
        assert terminal.leave() == 70
        given_back(terminal)
        assert "the frame is bent" in terminal.told.rpartition("\x1b[?1049l")[2]


def test_keys_look_into_a_failure(app: App, tmp_path: Path) -> None:
    """With its traceback, and back."""
    with Terminal(tmp_path) as terminal:
        terminal.shows("operator.truediv")
        terminal.press("\r")
        terminal.shows("ZeroDivisionError: division by zero")
        terminal.shows("esc back")
        terminal.press("\x1b")
        terminal.shows("tab list")
        terminal.press("?")
        terminal.shows("requeue the dead letter chosen (asks)")


def test_keys_pause_and_resume_the_queue(app: App, tmp_path: Path) -> None:
    """After a question, and the head says so."""
    with Terminal(tmp_path) as terminal:
        terminal.shows("operator.truediv")
        terminal.press("p")
        terminal.shows("pause the queue watched, so that no cluster takes new tasks?  y/n")
        assert not app.queue.is_paused()
        terminal.press("y")
        terminal.shows(" PAUSED ")
        assert app.queue.is_paused()
        terminal.press("p")
        terminal.until(lambda screen: " PAUSED " not in screen, "the queue to go on")
        assert not app.queue.is_paused()


def test_keys_requeue_a_dead_letter(app: App, tmp_path: Path) -> None:
    """Only after the answer."""
    with Terminal(tmp_path) as terminal:
        terminal.shows("it went wrong")
        terminal.press("\x1b[Zr")
        terminal.shows("requeue shop.mail?  y/n")
        assert app.queue.size().dead_letters == 1
        terminal.press("y")
        terminal.shows("1 ready  0 leased  0 delayed  0 dead")
        assert (app.queue.size().ready, app.queue.size().dead_letters) == (1, 0)


def test_a_requeued_dead_letter_is_sealed_with_the_first_key(app: App, tmp_path: Path) -> None:
    """As `qcore dead-letters requeue` does: the old key may go soon."""
    keys = ["a newer key of these tests", "a key of the tests of the monitor"]
    both = App(Config.load(tmp_path / "qcore.toml", secret_key=keys))
    with both.runtime.brokers.connection() as broker:
        (letter,) = broker.dead_letters()

    told = carry_out(both, view.Action(view.Verb.REQUEUE, letter.id, "shop.mail"))

    assert told == "shop.mail is requeued"
    assert usage(both.runtime).of(key_ids(both.runtime)[0]) == {"messages": 1}
    assert (
        carry_out(both, view.Action(view.Verb.REQUEUE, letter.id, "it")) == "it is not a dead letter any more"
    )
    both.close()


def test_keys_cancel_a_running_task(app: App, tmp_path: Path) -> None:
    """The control flag that cancels it is set."""
    task_id = app.enqueue("shop.report").id
    running = tuple(attrs.evolve(one, task_id=task_id) for one in STATUS_NOW.workers)
    with app.runtime.brokers.connection() as broker:
        assert len(broker.lease(1, 0)) == 1
        status = attrs.evolve(STATUS_NOW, workers=running, published=time.time())
        body = app.runtime.status_sealer.seal(STATUS, msgspec.json.encode(status))
        broker.publish_status(STATUS_NOW.id, body, 3600)

    with Terminal(tmp_path) as terminal:
        terminal.shows("75 %")
        terminal.press("\x1b[Z\x1b[Zc")
        terminal.shows("cancel shop.report, which runs now?  y/n")
        terminal.press("y")
        terminal.shows("shop.report is being cancelled")
    key = cancel_key(bytes.fromhex(task_id))
    with app.runtime.coordination_stores.connection() as store:
        assert ControlFlags(app.runtime.control_sealer).genuine(store, [key]).keys() == {key}


def test_keys_cancel_no_task_that_has_ended(app: App, tmp_path: Path) -> None:
    """A status is a second old: neither a message nor a result is left of its task."""
    with Terminal(tmp_path) as terminal:
        terminal.shows("75 %")
        terminal.press("\x1b[Z\x1b[Zc")
        terminal.shows("cancel shop.report, which runs now?  y/n")
        terminal.press("y")
        terminal.shows("shop.report had ended already")


def test_a_new_size_paints_the_screen_anew(app: App, tmp_path: Path) -> None:
    """All of it, at once."""
    with Terminal(tmp_path) as terminal:
        terminal.shows("operator.truediv")
        terminal.resize(120, 40)
        terminal.until(lambda screen: len(screen.splitlines()) == 40, "forty lines")


def test_a_broker_that_cannot_be_asked_is_told_and_recovers(app: App, tmp_path: Path) -> None:
    """The screen goes on meanwhile."""
    with Terminal(tmp_path) as terminal:
        terminal.shows("operator.truediv")
        app.close()
        (tmp_path / "queue.db").rename(tmp_path / "away.db")
        (tmp_path / "queue.db").mkdir()
        terminal.shows(" ! the broker")
        terminal.press("?")
        terminal.shows("requeue the dead letter chosen (asks)")
        (tmp_path / "queue.db").rmdir()
        (tmp_path / "away.db").rename(tmp_path / "queue.db")
        terminal.until(lambda screen: " ! the broker" not in screen, "the broker to answer")


def test_a_configuration_that_is_not_valid_takes_no_screen(tmp_path: Path) -> None:
    """It is reported as everywhere."""
    (tmp_path / "qcore.toml").write_text("name = 3\n")

    with Terminal(tmp_path) as terminal:
        assert terminal.leave() == 78
        assert "\x1b[?1049h" not in terminal.told


def test_a_missing_queue_takes_no_screen(tmp_path: Path) -> None:
    """It is said in a line, with the exit code of the other commands, and no file is made."""
    (tmp_path / "qcore.toml").write_text(
        'secret_key = "a key of the tests of the monitor"\n[sqlite]\npath = "queue.db"\n'
    )
    (tmp_path / "qcore.toml").chmod(0o600)

    with Terminal(tmp_path) as terminal:
        assert terminal.leave() == 69
        deadline = time.monotonic() + TIMEOUT
        while "queue.db" not in terminal.told:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert "\x1b[?1049h" not in terminal.told
        assert len(terminal.told.strip().splitlines()) == 1
    assert not (tmp_path / "queue.db").exists()


def run(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run it where there is no terminal."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("QCORE_")}
    return subprocess.run(
        [sys.executable, "-m", "qcore", "monitor", *arguments],
        cwd=folder,
        env={**kept, **environment},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )


def test_a_pipe_gets_plain_lines_once(app: App, tmp_path: Path) -> None:
    """Whole, without colours, and the command ends."""
    done = run(tmp_path)

    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
    lines = done.stdout.splitlines()
    assert lines[0] == "queue     watched"
    for told in ("shop.report  75s  night:0", "shop.mail    1", "operator.truediv", "ZeroDivisionError"):
        assert any(told in line for line in lines), done.stdout


def test_a_program_gets_one_object_without_arguments(app: App, tmp_path: Path) -> None:
    """All that the screen shows."""
    told = json.loads(run(tmp_path, "--json").stdout)

    assert (told["name"], told["queue"]["dead_letters"], told["paused"]) == ("watched", 1, False)
    assert [one["task"] for one in told["dead_letters"]] == ["shop.mail"]
    assert [one["error"] for one in told["failures"]] == ["ZeroDivisionError: division by zero"]
    assert "value" not in told["failures"][0]
    assert told["clusters"][0]["workers"][0]["progress"] == {"done": 3.0, "total": 4.0, "note": ""}


def test_a_pipe_can_be_kept_informed(app: App, tmp_path: Path) -> None:
    """Again and again, until whoever reads has seen enough."""
    program = f"{sys.executable} -m qcore monitor --follow --every 0.2 --json | head -3"
    done = subprocess.run(["bash", "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)

    taken = [json.loads(line)["taken"] for line in done.stdout.splitlines()]
    assert len(taken) == 3
    assert taken == sorted(set(taken))
    assert done.stderr == ""


def test_a_terminal_that_cannot_be_painted_gets_plain_lines(app: App, tmp_path: Path) -> None:
    """No sequences a dumb terminal would print as they are."""
    with Terminal(tmp_path, environment={"TERM": "dumb"}) as terminal:
        assert terminal.leave() == 0
        assert "\x1b" not in terminal.told
        assert "queue     watched" in terminal.told


def test_a_broker_that_cannot_be_asked_has_its_exit_code(app: App, tmp_path: Path) -> None:
    """As with every other verb."""
    app.close()
    (tmp_path / "queue.db").unlink()
    (tmp_path / "queue.db").mkdir()

    done = run(tmp_path, "--once")

    assert (done.returncode, done.stdout) == (69, "")
    assert done.stderr.startswith("qcore: the broker")


def test_once_and_follow_exclude_each_other(app: App, tmp_path: Path) -> None:
    """A usage error."""
    assert run(tmp_path, "--once", "--follow").returncode == 2
