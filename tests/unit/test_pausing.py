"""A queue is paused for a broker that cannot do so itself."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcore import App, Config
from qcore.errors import NotSupported
from qcore.interfaces import QueueState
from qcore.model import QueueSize
from qcore_queues.flags import ControlFlags
from qcore_queues.pausing import LEFT_OUT, MOST, PAUSED_QUEUES, LeftOut, paused_by_flag, set_paused
from qcore_queues.view import queue_states

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.portable

NAMES = st.text("abc._-", max_size=3)


class Capable:
    """A broker with queues that pauses none."""

    class capabilities:  # noqa: N801 - as a broker has it
        """What it can do."""

        queues = True
        pauses_queues = False

    @staticmethod
    def check_route(queue: str, priority: int) -> None:
        """Refuse one."""
        if queue == "nail" and not priority:
            msg = "queue='nail': no"
            raise NotSupported(msg)

    @staticmethod
    def queues() -> list[QueueState]:
        """Return the one that is always there."""
        return [QueueState("", QueueSize(3, None, 0))]


@pytest.fixture
def runtime() -> Iterator[Any]:
    """Yield what reaches a coordination store."""
    app = App(Config.from_dict({"name": "paused", "secret_key": "k" * 40, "memory": {}}))
    yield app.runtime
    app.close()


@given(st.lists(st.sets(NAMES)))
def test_a_worker_leaves_out_what_is_written(written: list[set[str]]) -> None:
    """What its supervisor has written last, whatever was there before."""
    memory = memoryview(bytearray(LEFT_OUT))
    writer, reader = LeftOut(memory), LeftOut(memory)
    assert "" not in reader

    for names in written:
        writer.write(names)

        assert all(name in reader for name in names)
        assert "zzzz" not in reader
        for name in ("", "a", "b.c"):
            assert (name in reader) is (name in names)


def test_what_stays_paused_is_never_missing() -> None:
    """Its word is not touched while others come and go."""
    memory = memoryview(bytearray(LEFT_OUT))
    left_out = LeftOut(memory)
    left_out.write(["a", "stays"])
    before = memory.cast("q").tolist()
    (place,) = set(before[1:3]) & set(_after(left_out, memory, ["stays", "b", "c"])[1:4])

    assert memory.cast("q").tolist().index(place) == before.index(place)
    left_out.write([])
    assert memory.cast("q").tolist() == [0] * (MOST + 1)


def _after(left_out: LeftOut, memory: memoryview, names: list[str]) -> list[int]:
    left_out.write(names)
    return memory.cast("q").tolist()


def test_queues_are_paused_and_resumed(runtime: Any) -> None:
    """They are listed though they are empty, with what the broker counts."""
    broker: Any = Capable()
    assert paused_by_flag(runtime, broker) == frozenset()

    for queue in ("mail", "", "mail"):
        set_paused(runtime, broker, queue, paused=True)
    assert paused_by_flag(runtime, broker) == {"mail", ""}
    assert queue_states(runtime, broker) == [
        QueueState("", QueueSize(3, None, 0), paused=True),
        QueueState("mail", QueueSize(0, None, 0), paused=True),
    ]
    set_paused(runtime, broker, "", paused=False)
    set_paused(runtime, broker, "", paused=False)
    assert paused_by_flag(runtime, broker) == {"mail"}
    set_paused(runtime, broker, "mail", paused=False)
    with runtime.coordination_stores.connection() as store:
        assert store.get_flags([PAUSED_QUEUES]) == [None]
    with pytest.raises(NotSupported, match="queue='nail': no"):
        set_paused(runtime, broker, "nail", paused=True)


def test_two_that_pause_at_once_undo_nothing(runtime: Any) -> None:
    """Each reads what the one before has written."""
    broker: Any = Capable()
    names = [f"q{number}" for number in range(16)]
    together = threading.Barrier(len(names))

    def pause(name: str) -> None:
        together.wait(30)
        set_paused(runtime, broker, name, paused=True)

    threads = [threading.Thread(target=pause, args=(name,)) for name in names]
    for one in threads:
        one.start()
    for one in threads:
        one.join(60)

    assert paused_by_flag(runtime, broker) == set(names)


def test_no_more_are_paused_than_workers_can_see(runtime: Any) -> None:
    """The one too many is refused, and one that is paused already is not."""
    broker: Any = Capable()
    for number in range(MOST):
        set_paused(runtime, broker, f"q{number}", paused=True)

    with pytest.raises(NotSupported, match=f"{MOST} queues of one name are paused already"):
        set_paused(runtime, broker, "more", paused=True)
    set_paused(runtime, broker, "q0", paused=True)


def test_a_flag_of_somebody_else_pauses_nothing(runtime: Any) -> None:
    """It is not signed by our key, or was signed for something else."""
    flags = ControlFlags(runtime.control_sealer)
    for flag in (b"x" * 60, flags.sign("paused", b'["mail"]')):
        with runtime.coordination_stores.connection() as store:
            store.set_flag(PAUSED_QUEUES, flag, 60.0)

        assert paused_by_flag(runtime, Capable()) == frozenset()
