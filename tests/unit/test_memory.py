"""What is the memory broker's alone."""

from __future__ import annotations

import attrs
import cattrs
import pytest

from qcore.builtin import plugin as builtin
from qcore.coordination import BarrierMember
from qcore.interfaces import Settings
from qcore.model import Action, Outgoing, Settlement
from qcore_reports.log_reporter import LogReporter
from qcore_testing import plugin
from qcore_testing.memory import MemorySettings, make_broker, make_results, make_schedules
from qcore_testing.memory.coordination import MemoryCoordination
from qcore_testing.memory.queue import MemoryQueue


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Return what it was set to."""
        return self.now


def message(body: bytes, delay: float = 0.0) -> Outgoing:
    """Return a message whose id is its body."""
    return Outgoing(body.ljust(16), body, delay)


def settings(section: object = None, name: str = "q") -> Settings:
    """Return settings with or without a section."""
    return Settings(name=name, sections={} if section is None else {"memory": section})


def test_brokers_of_one_section_share_a_queue() -> None:
    """Whatever is made from one settings object sees the same queue."""
    section = cattrs.Converter(forbid_extra_keys=True).structure({}, MemorySettings)

    make_broker(settings(section)).enqueue([message(b"shared")])

    assert make_broker(settings(section)).size().ready == 1


def test_queues_of_other_names_are_apart() -> None:
    """One section holds a queue for each name."""
    section = MemorySettings()

    make_broker(settings(section, "one")).enqueue([message(b"one")])

    assert make_broker(settings(section, "two")).size().ready == 0


def test_sections_are_apart() -> None:
    """Two configurations in one process never meet."""
    make_broker(settings(MemorySettings())).enqueue([message(b"mine")])

    assert make_broker(settings(MemorySettings())).size().ready == 0
    assert make_broker(settings()).size().ready == 0


def test_memory_says_that_processes_do_not_see_it() -> None:
    """Core refuses a cluster on what other processes do not see."""
    given = settings(MemorySettings())

    assert make_broker(given).capabilities.cross_process is False
    assert make_results(given).cross_process is False
    assert make_schedules(given).cross_process is False


def test_stores_of_one_section_name_the_same_backend() -> None:
    """Broker and stores of one section share a backend, of two they do not."""
    given = settings(MemorySettings())
    other = settings(MemorySettings())

    assert make_broker(given).capabilities.transaction_domain == make_results(given).transaction_domain
    assert make_results(given).transaction_domain != make_results(other).transaction_domain


def test_the_section_does_not_show_what_it_holds() -> None:
    """Printing or copying settings leads nowhere near the messages."""
    assert repr(MemorySettings()) == "MemorySettings()"
    assert cattrs.unstructure(MemorySettings()) == {}
    assert [field.name for field in attrs.fields(MemorySettings) if field.init] == []


def test_a_released_message_keeps_its_place() -> None:
    """Giving a message back does not send it to the end of the queue."""
    queue = MemoryQueue()
    queue.put([message(b"first"), message(b"second")])
    (leased,) = queue.take(1, 0.0, 60.0)

    queue.settle([Settlement(leased.receipt, Action.RELEASE)])

    assert [one.body for one in queue.take(2, 0.0, 60.0)] == [b"first", b"second"]


def test_a_retried_message_stands_behind() -> None:
    """A message that failed does not go in front of those that wait."""
    queue = MemoryQueue()
    queue.put([message(b"first"), message(b"second")])
    (leased,) = queue.take(1, 0.0, 60.0)

    queue.settle([Settlement(leased.receipt, Action.RETRY)])

    assert [one.body for one in queue.take(2, 0.0, 60.0)] == [b"second", b"first"]


def test_delays_and_leases_follow_the_clock() -> None:
    """A message is ready at the end of its delay and again at the end of its lease, to the tick."""
    clock = Clock()
    queue = MemoryQueue(clock)
    queue.put([message(b"later", delay=10.0)])

    clock.now += 9.9
    assert queue.take(1, 0.0, 5.0) == []
    clock.now += 0.1
    assert len(queue.take(1, 0.0, 5.0)) == 1
    clock.now += 4.9
    assert queue.take(1, 0.0, 5.0) == []
    clock.now += 0.1
    assert len(queue.take(1, 0.0, 5.0)) == 1


def test_an_expired_lease_says_since_when() -> None:
    """Who leases a message that came back learns when its last lease ran out."""
    clock, wall = Clock(), Clock()
    queue = MemoryQueue(clock, wall)
    queue.put([message(b"lost")])
    assert queue.take(1, 0.0, 5.0)[0].available == 0.0

    clock.now += 8.0
    wall.now += 8.0
    (again,) = queue.take(1, 0.0, 60.0)
    assert again.available == pytest.approx(1005.0)

    queue.settle([Settlement(again.receipt, Action.RETRY)])
    assert queue.take(1, 0.0, 60.0)[0].available == 0.0


def test_a_dead_letter_keeps_its_id_taken() -> None:
    """A second message with the id of a dead letter is dropped until that one is deleted."""
    queue = MemoryQueue()
    queue.put([message(b"once")])
    (leased,) = queue.take(1, 0.0, 60.0)
    queue.settle([Settlement(leased.receipt, Action.DEAD_LETTER, reason="no")])

    queue.put([message(b"once")])
    assert queue.size().ready == 0

    queue.forget([letter.id for letter in queue.dead_letters(9, None)])
    queue.put([message(b"once")])
    assert queue.size().ready == 1


def test_the_plugin_offers_what_the_configuration_names() -> None:
    """Each name the built-in plugin offers leads to a factory that works."""
    section = settings(MemorySettings())

    assert set(plugin.qcore_settings()) == {"memory"}
    assert set(plugin.qcore_local_brokers()) == {"memory"}
    assert plugin.qcore_brokers()["memory"](section).info() == "memory of this process"
    assert sum(plugin.qcore_result_stores()["memory"](section).counts().values()) == 0
    assert list(plugin.qcore_schedule_stores()["memory"](section).all()) == []
    assert plugin.qcore_coordination_stores()["memory"](section).get_flags(["never set"]) == [None]
    codes = {name: make().code for name, make in builtin.qcore_serializers().items()}
    assert codes == {"msgpack": 1}
    assert isinstance(builtin.qcore_error_reporters()["log"](logger="shop.failures"), LogReporter)


def test_a_turn_is_kept_for_a_day() -> None:
    """A rate slot that was given, or waited for in vain for a day, is forgotten."""
    wall = Clock()
    notes = MemoryCoordination(wall)
    assert [notes.reserve("rate", holder, 100.0, 1) for holder in (b"given", b"late", b"gone")] == [
        0,
        100,
        200,
    ]

    wall.now += 100 + 80_000
    late = notes.reserve("rate", b"late", 100.0, 1)
    wall.now += 20_000
    full = [notes.reserve("rate", holder, 100.0, 1) for holder in (b"another", b"gone")]

    assert late == 0.0
    assert full == [0.0, 100.0]


def test_prune_removes_what_has_expired() -> None:
    """What is past its time does not stay in memory for ever; what is not stays."""
    wall = Clock()
    store = MemoryCoordination(wall)
    for key, ttl in (("short", 10.0), ("long", 1000.0)):
        store.set_flag(key, b"value", ttl)
        store.acquire(key, b"holder", 1, ttl)
        store.reserve(key, b"holder", ttl, 1)
        store.join_barrier([BarrierMember(key, 0)], ttl)
    wall.now += 20.0

    store.prune()

    kept = (store._marks, store._permits, store._rates, store._barriers)
    assert [list(kind) for kind in kept] == [["long"]] * 4
    assert store.get_flags(["long"]) == [b"value"]


def test_a_removed_message_leaves_the_order_alone() -> None:
    """What is left is leased in the order it came, delays honoured."""
    clock = Clock()
    queue = MemoryQueue(clock)
    queue.put([message(b"%d" % number, delay=number % 3) for number in range(12)])

    taken = queue.remove_messages([b"%d" % number + b" " * 15 for number in (0, 4, 8, 9)])
    clock.now += 3

    assert sorted(taken) == [b"0", b"4", b"8", b"9"]
    assert [one.body for one in queue.take(20, 0.0, 60.0)] == [
        b"3",
        b"6",
        b"1",
        b"7",
        b"10",
        b"2",
        b"5",
        b"11",
    ]
