"""Whether `qcore health` tells a queue that moves from one that only looks alive."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import attrs
import msgspec
import pytest

import qcore.cli
from qcore import App, ClusterStatus, Config
from qcore.cli import Exit
from qcore.cli.health import examine as examine_
from qcore.cli.overview import look
from qcore.cli.session import Session
from qcore.messages.sealer import STATUS
from qcore.status import WorkerStatus

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.portable

IDLE = ClusterStatus(
    id="1",
    name="health",
    label="night",
    host="here",
    pid=1,
    state="idle",
    workers=(WorkerStatus(slot=0, pid=2, state="idle"),),
)


@pytest.fixture
def session(tmp_path: Path) -> Session:
    """Return a session on a queue of its own."""
    file = tmp_path / "qcore.toml"
    file.write_text(f'name = "health"\nsecret_key = "{"k" * 31}1"\nsqlite.path = "{tmp_path / "q.db"}"\n')
    file.chmod(0o600)
    session = Session(str(file))
    assert isinstance(session.config, Config)
    session.runtime.make_broker().close()
    return session


def examine(session: Session, stalled_after: float) -> list[str]:
    """Return what is found wrong."""
    return examine_(session, look(session.app), stalled_after)


def publish(app: App, status: ClusterStatus, age: float = 0.0) -> None:
    """Say what a cluster would say of itself."""
    body = app.runtime.status_sealer.seal(
        STATUS, msgspec.json.encode(attrs.evolve(status, published=time.time() - age))
    )
    with app.runtime.brokers.connection() as broker:
        broker.publish_status(status.id, body, 60)


def test_a_queue_without_a_cluster_is_unwell(session: Session) -> None:
    """Nobody works: the message says how to start one."""
    assert examine(session, 0) == ["no cluster works on queue 'health'; start one with: qcore run MODULE:APP"]


def test_an_idle_cluster_with_nothing_to_do_is_well(session: Session) -> None:
    """A queue without work is healthy."""
    publish(session.app, IDLE)

    assert examine(session, 0) == []


def test_idle_workers_beside_ready_messages_are_unwell(session: Session) -> None:
    """Connected is not enough: something must be taken."""
    publish(session.app, IDLE)
    session.app.enqueue("os.getcwd")

    (fault,) = examine(session, 0.3)

    assert fault.startswith("1 message ready and 1 worker idle, but none was taken in 0.3 seconds")


def test_a_worker_that_runs_a_task_is_progress(session: Session) -> None:
    """A cluster with long tasks is healthy."""
    busy = WorkerStatus(slot=0, pid=2, state="busy", running_for=100)
    publish(session.app, attrs.evolve(IDLE, workers=(busy,)))
    session.app.enqueue("os.getcwd")

    assert examine(session, 0) == []


def test_trouble_a_cluster_reports_is_told(session: Session) -> None:
    """What the supervisor knows to be wrong makes the probe fail."""
    publish(session.app, attrs.evolve(IDLE, troubles=("the broker does not answer",)))

    assert examine(session, 0) == ["cluster night on here (pid 1): the broker does not answer"]


# -- a broker that keeps nothing of what clusters publish ------------------------------------------


@pytest.fixture
def blind(session: Session, monkeypatch: pytest.MonkeyPatch) -> Session:
    """Return a session on a queue whose clusters nobody sees."""
    with session.app.runtime.brokers.connection() as broker:
        less = attrs.evolve(broker.capabilities, cluster_status=False)
        seen = property(lambda _: less, lambda *_: None)
        monkeypatch.setattr(type(broker), "capabilities", seen, raising=False)
    return session


def test_an_empty_queue_of_unseen_clusters_is_well(blind: Session) -> None:
    """A probe does not restart a healthy cluster for ever because its broker keeps no status."""
    assert examine(blind, 0) == []


def test_messages_nobody_takes_are_unwell_whoever_is_seen(blind: Session) -> None:
    """That much the queue itself tells."""
    blind.app.enqueue("os.getcwd")

    (fault,) = examine(blind, 0.3)

    assert fault.startswith("1 message ready, but none was taken in 0.3 seconds")


def test_a_leased_message_is_progress_of_unseen_clusters(blind: Session) -> None:
    """Some cluster works, although it is unknown which."""
    blind.app.enqueue("os.getcwd")
    blind.app.enqueue("os.getcwd")
    with blind.app.runtime.brokers.connection() as broker:
        broker.lease(1, 0.0)

    assert examine(blind, 0) == []


SILENT = """
import socket
from qcore_sqlite.broker import SqliteBroker

class Silent(SqliteBroker):
    def ping(self):
        ours, theirs = socket.socketpair()
        ours.settimeout(30)
        with ours, theirs:
            for attempt in range(100):
                try:
                    ours.recv(1)
                except Exception:
                    continue
"""


def test_a_broker_that_does_not_answer_is_told_in_time(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever limits and retries a plugin has: a probe that hangs restarts nothing."""
    (tmp_path / "silent_broker.py").write_text(SILENT)
    monkeypatch.syspath_prepend(str(tmp_path))
    file = tmp_path / "qcore.toml"
    file.write_text('broker_class = "silent_broker.Silent"\n' + file.read_text())
    began = time.monotonic()

    with pytest.raises(SystemExit) as ended:
        qcore.cli.main(["--config", str(file), "health", "--timeout", "0.5"])

    assert ended.value.code == Exit.UNAVAILABLE
    assert "the broker has not answered within 0.5 seconds" in capsys.readouterr().err
    assert time.monotonic() - began < 20


@pytest.mark.parametrize(("age", "what"), [(3600.0, "3,600 seconds old"), (-3600.0, "3,600 seconds ahead")])
def test_an_old_status_is_no_sign_of_life(session: Session, age: float, what: str) -> None:
    """A status that somebody has captured and published again does not make a queue healthy."""
    publish(session.app, IDLE, age)

    (fault,) = examine(session, 0.0)

    assert what in fault
