"""What the maintenance thread does while a backend does not answer."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from qcore import App, ClusterStatus, Config, progress
from qcore.errors import BackendRejected, BackendUnavailable, NotSupported, UnknownKey
from qcore.interfaces import ErrorReport, ErrorReporter
from qcore.journal.commands import Pause
from qcore.journal.memory import Journal
from qcore.journal.records import HeldMessage, WorkerState
from qcore.model import Action, Settlement
from qcore.runtime import Runtime
from qcore.supervision import maintenance
from qcore.supervision.maintenance import Maintenance
from qcore.supervision.protocol import Notice
from qcore.supervision.slot import Slot, WorkerExit
from qcore_process.memory import Memory
from qcore_queues.flags import ControlFlags
from qcore_queues.pausing import PAUSED_QUEUES
from qcore_reports.policy import Policy
from qcore_reports.reporters import Reporters
from tests.integration.land import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from qcore.interfaces import ResultStore

#: seconds of a lease in these tests
LEASE = 1.5


class Torn(Runtime):
    """A runtime whose result store may be out of reach, or silent."""

    fault: Exception | None = None
    silence: threading.Event | None = None

    def make_store(self, *, create: bool = False) -> ResultStore:
        """Connect, or not."""
        if self.fault is not None:
            raise self.fault
        if self.silence is not None:
            assert self.silence.wait(60)
        return super().make_store(create=create)


class Scene:
    """A queue in a file, its maintenance, and two slots with a worker each."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        config = Config.from_dict(
            settings
            | {
                "name": "care",
                "secret_key": "k" * 40,
                "retry": LEASE,
                "timeout": 1,
                "sqlite": {"path": str(folder / "queue.db")},
            }
        )
        self.app = App(config)
        self.runtime = Torn(config)
        self.journal = Journal.create(2)
        self.slots = [Slot(number, self.journal.page(number), []) for number in range(2)]
        self.broker = self.runtime.make_broker()
        self.caretaker: Maintenance | None = None

    def start(self) -> Maintenance:
        """Start the maintenance."""
        self.caretaker = Maintenance(self.runtime, self.slots, Memory())
        return self.caretaker

    def hold(self, slot: Slot) -> bytes:
        """Have a worker in the middle of a task; return its receipt."""
        self.app.enqueue(progress, 0.0, 1.0, None)
        (delivery,) = self.broker.lease(1, 5)
        opened = self.runtime.envelope.open(delivery.body)
        slot.pid = 1000 + slot.number
        page = slot.page
        page.write_batch(
            [HeldMessage(delivery.receipt, opened.id, opened.head, 1, 0, 0, opened.created)],
            time.monotonic_ns(),
        )
        page.set_state(WorkerState.BUSY)
        page.begin(0, time.monotonic_ns(), 0)
        return delivery.receipt

    def close(self) -> None:
        """Let go."""
        if self.caretaker is not None:
            assert self.caretaker.close(20)
        self.broker.close()
        self.app.close()
        self.runtime.close()
        self.journal.close()


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """Yield a scene."""
    made = Scene(tmp_path)
    yield made
    made.runtime.fault = None
    made.close()


def test_dead_letters_of_another_key_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The supervisor looks at them by itself, and leaves what one of its own keys has signed."""
    monkeypatch.setattr(maintenance, "_BOUNDS", 0.05)
    scene = Scene(tmp_path, unknown_key_limit=2)
    other = App(Config.from_dict(scene.runtime.config.as_dict() | {"secret_key": "z" * 40}))
    scene.app.enqueue(progress, 0.0, 1.0, None)
    for number in range(5):
        other.enqueue(progress, 0.0, number, None)
    reasons = {}
    for one in scene.broker.lease(10, 5):
        try:
            scene.runtime.envelope.open(one.body)
        except UnknownKey as exc:
            reasons[one.body] = f"{type(exc).__name__}: {exc}"
        reason = reasons.get(one.body, "UnknownKey: it was unknown before")
        scene.broker.settle([Settlement(one.receipt, Action.DEAD_LETTER, reason=reason)])
    assert len(reasons) == 5

    scene.start()

    until(lambda: len(scene.broker.dead_letters()) == 3, "those that are too many to be removed")
    (ours, *others) = scene.broker.dead_letters()
    assert scene.runtime.envelope.open(ours.body).id
    assert [one.body for one in others] == list(reasons)[3:]
    other.close()
    scene.close()


def test_one_outage_is_logged_once(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    """Several jobs meet it at the same time, with the same words."""
    scene.runtime.fault = BackendUnavailable("nobody answers here")
    caretaker = scene.start()
    status = ClusterStatus(id="00", name="care", label="a", host="b", pid=1, state="idle")

    caretaker.publish(status)
    until(lambda: sum(1 for one in caretaker._errors.values() if one) >= 2, "two jobs to fail")

    assert caplog.text.count("a backend does not answer and is asked again: nobody answers here") == 1


def test_a_job_that_a_backend_refuses_is_reported(scene: Scene) -> None:
    """It is given up, and its log line alone tells nobody who looks at an error tracker."""

    class Tracker(ErrorReporter):
        def report(self, report: ErrorReport) -> None:
            told.append(report)

        def flush(self, seconds: float) -> None:
            pass

    told: list[ErrorReport] = []
    vars(scene.runtime)["made_reporters"] = Reporters([("tracker", Tracker(), Policy())])
    caretaker = scene.start()

    caretaker._jobs.put(refuse)

    (report,) = until(lambda: told, "a report")
    assert (report.kind, report.summary) == ("supervisor", "BackendRejected: it takes none of this")
    assert isinstance(report.error, BackendRejected)


def refuse() -> NoReturn:
    """Do what no backend takes."""
    raise BackendRejected("it takes none of this")


def test_leases_are_renewed_while_a_job_waits_for_the_store(scene: Scene) -> None:
    """A store that does not answer delays results, but no lease expires."""
    living, dead = scene.slots
    scene.runtime.fault = BackendUnavailable("the store is down")
    caretaker = scene.start()
    held = scene.hold(living)
    scene.hold(dead)
    caretaker.recover(WorkerExit(dead, Notice("down", 1, 1001, -9)))
    until(lambda: caretaker.last_error == "the store is down")

    began = time.monotonic_ns()
    until(lambda: living.page.commands.renewed > began + 3 * LEASE * 1e9, "renewals beyond the lease")

    assert scene.app.queue.size().leased == 2
    # Whoever leases now gets the dead one's message, whose lease nobody renews.
    assert [one.receipt for one in scene.broker.lease(5, 0.0)] != [held]
    scene.broker.settle([Settlement(held, Action.ACK)])
    assert scene.app.queue.size().leased == 1
    scene.runtime.fault = None
    until(lambda: not caretaker.last_error)


def test_leases_are_renewed_while_the_store_hangs(scene: Scene) -> None:
    """The thread that renews does not wait for the answer of the store."""
    scene.runtime.silence = threading.Event()
    scene.start()
    scene.hold(scene.slots[0])

    began = time.monotonic_ns()
    until(lambda: scene.slots[0].page.commands.renewed > began + 2 * LEASE * 1e9, "renewals")

    assert scene.slots[0].page.commands.paused is Pause.UNKNOWN
    assert not scene.broker.lease(1, 0.0)
    scene.runtime.silence.set()
    until(lambda: scene.slots[0].page.commands.paused is Pause.NO)


def test_workers_wait_for_the_first_poll(scene: Scene) -> None:
    """Before the store has answered it is unknown whether the queue is paused."""
    scene.runtime.fault = BackendUnavailable("the store is down")
    scene.app.queue.pause()
    caretaker = scene.start()
    until(lambda: caretaker.last_error)
    assert [slot.page.commands.paused for slot in scene.slots] == [Pause.UNKNOWN, Pause.UNKNOWN]

    scene.runtime.fault = None
    until(lambda: caretaker.control.paused)
    assert [slot.page.commands.paused for slot in scene.slots] == [Pause.YES, Pause.YES]
    scene.app.queue.resume()
    until(lambda: not caretaker.control.paused)
    assert [slot.page.commands.paused for slot in scene.slots] == [Pause.NO, Pause.NO]


def test_a_paused_queue_is_left_out_by_all_workers(scene: Scene) -> None:
    """Before they lease for the first time, and until it is resumed."""
    flags = ControlFlags(scene.runtime.control_sealer)
    key, ttl = PAUSED_QUEUES, 60.0
    with scene.runtime.coordination_stores.connection() as store:
        store.set_flag(key, flags.sign(key, b'["mail"]'), ttl)
    scene.start()
    commands = [slot.page.commands for slot in scene.slots]

    until(lambda: all(one.paused is Pause.NO for one in commands))
    assert all("mail" in one.left_out for one in commands)
    assert not any("" in one.left_out for one in commands)
    with scene.runtime.coordination_stores.connection() as store:
        store.set_flag(key, b"", ttl)
    until(lambda: not any("mail" in one.left_out for one in commands))


@pytest.mark.parametrize("fault", [NotSupported("no marks here"), RuntimeError("a fault of the plugin's")])
def test_a_store_that_cannot_be_asked_stops_no_worker(
    scene: Scene, fault: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Workers continue as if the queue was not paused; the error is logged once, not each second."""

    def refuse(*_: Any) -> None:
        raise fault

    with scene.runtime.coordination_stores.connection() as store:
        monkeypatch.setattr(type(store), "get_flags", refuse)
    caretaker = scene.start()

    until(lambda: scene.slots[1].page.commands.paused is Pause.NO)

    until(lambda: str(fault) in caretaker.last_error)
    began = time.monotonic()
    until(lambda: time.monotonic() > began + 2.5)
    assert len([one for one in caplog.records if one.name == "qcore.maintenance"]) == 1
