"""Flags, permits, rate slots and barriers that many processes share."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from qcore.coordination import BarrierMember
from qcore.errors import BackendUnavailable
from qcore.interfaces import Settings
from qcore_redis import RedisSettings
from qcore_redis.coordination import RedisCoordination, make_coordination
from qcore_testing.processes import Child

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from qcore_redis.coordination import RedisCoordination

#: seconds any one condition is given
TIMEOUT = 100.0


@pytest.fixture
def queue() -> str:
    """Return the name of a queue that no other test has."""
    return f"q{os.urandom(4).hex()}"


@pytest.fixture
def make(any_server: Any, queue: str) -> Callable[[], RedisCoordination]:
    """Return a maker of notes of one queue, each on a connection of its own."""
    section = RedisSettings(unix_socket_path=any_server.path)
    return lambda: make_coordination(Settings(name=queue, sections={"redis": section}))


def until(condition: Callable[[], Any]) -> Any:
    """Return what `condition` returns as soon as that is true in the sense of `if`."""
    end = time.monotonic() + TIMEOUT
    while not (found := condition()):
        assert time.monotonic() < end, f"still waiting after {TIMEOUT:g} seconds"
        threading.Event().wait(0.01)
    return found


def at_once(count: int, work: Callable[[int, Callable[[str], None]], None]) -> list[list[str]]:
    """Return what each of so many processes tells, which all work at the same time."""
    children = [
        Child(lambda tell, number=number: work(number, tell), timeout=TIMEOUT)  # type: ignore[misc]  # bound now
        for number in range(count)
    ]
    try:
        return [child.lines() for child in children]
    finally:
        for child in children:
            child.__exit__()


def test_never_more_are_in_than_there_are_places(
    make: Callable[[], RedisCoordination], any_server: Any
) -> None:
    """Six processes come and go a hundred times each; two at most are in."""

    def work(number: int, tell: Callable[[str], None]) -> None:
        notes, me = make(), b"%d" % number
        with any_server.client() as client:
            for _ in range(100):
                until(lambda: notes.acquire("door", me, 2, 60.0) is None)
                tell(str(client.incr("inside")))
                client.decr("inside")
                notes.release([("door", me)])

    told = at_once(6, work)

    assert [len(lines) for lines in told] == [100] * 6
    assert {line for lines in told for line in lines} <= {"1", "2"}


def test_one_process_learns_that_a_barrier_is_full(make: Callable[[], RedisCoordination]) -> None:
    """Six processes join a hundred fan-in barriers; of each the full number is returned once."""

    def work(number: int, tell: Callable[[str], None]) -> None:
        notes = make()
        for turn in range(100):
            (count,) = notes.join_barrier([BarrierMember(f"fan {turn}", number, b"%d" % number)], 60.0)
            if count == 6:
                tell(str(turn))
            if count == 6 and turn % 2:
                notes.delete_barriers([f"fan {turn}"])

    told = Counter(int(line) for lines in at_once(6, work) for line in lines)

    assert told == Counter(range(100))
    assert make().barrier_members("fan 0") == {number: b"%d" % number for number in range(6)}
    assert make().barrier_members("fan 1") == {}


def test_no_two_processes_are_given_one_turn(make: Callable[[], RedisCoordination]) -> None:
    """Four processes ask for a hundred rate slots: five at once, each later one an interval behind."""

    def work(number: int, tell: Callable[[str], None]) -> None:
        notes = make()
        for turn in range(25):
            tell(str(notes.reserve("api", b"%d %d" % (number, turn), 100.0, 5)))

    told = [float(line) for lines in at_once(4, work) for line in lines]

    # what passes while they ask is much less than an interval
    assert sorted(round(left / 100) for left in told) == [0] * 5 + list(range(1, 96))


def test_a_turn_that_was_told_stays(make: Callable[[], RedisCoordination]) -> None:
    """Who asks again before it came gets the same answer; once it came it is given, and forgotten."""
    notes = make()
    assert notes.reserve("api", b"a", 2.0, 1) == 0.0
    first = notes.reserve("api", b"b", 2.0, 1)
    again = notes.reserve("api", b"b", 2.0, 1)
    until(lambda: notes.reserve("api", b"b", 2.0, 1) == 0.0)
    later = notes.reserve("api", b"b", 2.0, 1)

    assert 0 < again < first <= 2.0
    assert 0 < later <= 2.0


def test_what_is_past_its_time_is_gone(make: Callable[[], RedisCoordination]) -> None:
    """Flags, permits and barriers expire by themselves; a permit that is asked for again lasts."""
    one, other = make(), make()
    one.set_flag("mark", b"x", 0.5)
    one.set_flag("lasting", b"y", 60.0)
    one.join_barrier([BarrierMember("fan", 0, b"z")], 0.5)
    assert one.acquire("short", b"a", 1, 0.5) is None
    assert one.acquire("long", b"a", 1, 0.5) is None
    assert one.acquire("long", b"a", 1, 60.0) is None
    assert other.acquire("short", b"b", 1, 0.5) == b"a"

    until(lambda: other.acquire("short", b"b", 1, 60.0) is None)
    until(lambda: not one.barrier_members("fan"))

    assert one.get_flags(["mark", "lasting", "none"]) == [None, b"y", None]
    assert other.acquire("long", b"b", 1, 60.0) == b"a"
    assert other.join_barrier([BarrierMember("fan", 1)], 60.0) == [1]


def test_each_key_bears_the_queue_and_expires(
    make: Callable[[], RedisCoordination], any_server: Any, queue: str
) -> None:
    """A cluster finds all keys of a queue on one node; each expires in time."""
    notes = make()
    notes.set_flag("mark: a b", b"x", 5.0)
    notes.acquire("lock", b"a", 3, 5.0)
    notes.acquire("lock", b"b", 3, 900.0)
    notes.acquire("lock", b"c", 3, 5.0)
    notes.join_barrier([BarrierMember("fan", number) for number in range(3)], 5.0)
    for number in range(3):
        notes.reserve("api", b"%d" % number, 30.0, 1)

    with any_server.client() as client:
        lasts = {key.decode("latin-1"): client.pttl(key) for key in client.keys(f"*{queue}*")}

    assert len(lasts) == 6
    assert {key.partition("}:")[0] for key in lasts} == {f"{{qcore:{queue}"}
    assert all(left > 0 for left in lasts.values())
    assert max(left for key, left in lasts.items() if "lock" in key) > 800_000


def test_what_came_first_is_kept_and_told(make: Callable[[], RedisCoordination]) -> None:
    """The holder returned is the one that came first, also after it asked again."""
    notes = make()
    for holder in (b"z", b"a", b"m"):
        assert notes.acquire("semaphore", holder, 3, 60.0) is None
    assert notes.acquire("semaphore", b"z", 3, 90.0) is None
    assert notes.acquire("semaphore", b"b", 3, 60.0) == b"z"
    notes.release([("semaphore", b"z"), ("semaphore", b"nobody"), ("none", b"z")])
    assert notes.acquire("semaphore", b"b", 3, 60.0) is None
    assert notes.acquire("semaphore", b"z", 3, 60.0) == b"a"

    assert notes.join_barrier(
        [BarrierMember("fan", 0, b"first"), BarrierMember("fan", 0, b"second")], 60.0
    ) == [1, 1]
    assert notes.barrier_members("fan") == {0: b"first"}
    assert notes.acquire("none at all", b"a", 0, 60.0) == b""


def test_many_at_once_are_taken(make: Callable[[], RedisCoordination]) -> None:
    """Thousands of keys, arrivals and places go in one call; an empty call asks for nothing."""
    notes = make()
    many = [BarrierMember("fan", number, b"%d" % number) for number in range(2500)]
    assert list(notes.join_barrier(many, 60.0)) == list(range(1, 2501))
    assert list(notes.barrier_members("fan").items()) == [(one.index, one.body) for one in many]
    assert notes.get_flags([f"k{number}" for number in range(2500)]) == [None] * 2500
    notes.release([(f"k{number}", b"a") for number in range(2500)])
    notes.delete_barriers([*[f"k{number}" for number in range(2500)], "fan"])

    assert notes.barrier_members("fan") == {}
    assert (list(notes.get_flags([])), list(notes.join_barrier([], 1.0))) == ([], [])
    notes.release([])
    notes.delete_barriers([])


def test_a_killed_process_leaves_what_it_was_told(make: Callable[[], RedisCoordination]) -> None:
    """Its marks and arrivals stay, and its place ends with its time."""

    def work(tell: Callable[[str], None]) -> None:
        notes = make()
        notes.set_flag("mark", b"x", 60.0)
        notes.join_barrier([BarrierMember("fan", 0, b"brought")], 60.0)
        notes.acquire("lock", b"dead", 1, 1.0)
        tell("held")
        threading.Event().wait(TIMEOUT)

    with Child(work, timeout=TIMEOUT) as child:
        assert child.line() == "held"
        child.kill()
        notes = make()
        until(lambda: notes.acquire("lock", b"next", 1, 60.0) is None)

    assert notes.get_flags(["mark"]) == [b"x"]
    assert notes.join_barrier([BarrierMember("fan", 1)], 60.0) == [2]


@pytest.mark.parametrize("kind", ["redis7", "valkey9", "redis6.2"])
def test_a_full_server_lets_workers_go_on(start: Callable[..., Any], kind: str) -> None:
    """What a worker needs in order to end its tasks is noted at maxmemory."""
    server = start(kind)
    section = RedisSettings(unix_socket_path=server.path)
    notes = make_coordination(Settings(name="full", sections={"redis": section}))
    with server.client() as client:
        client.config_set("maxmemory", client.info("memory")["used_memory"] // 2)

    assert notes.acquire("lock", b"a", 1, 60.0) is None
    assert notes.join_barrier([BarrierMember("fan", 0)], 60.0) == [1]
    assert notes.reserve("api", b"a", 1.0, 1) == 0.0
    notes.set_flag("mark", b"x", 60.0)
    notes.release([("lock", b"a")])
    assert notes.get_flags(["mark"]) == [b"x"]


# -- replies that are lost ------------------------------------------------------------------


@pytest.fixture
def behind(own: Any, make_proxy: Callable[[str], Any]) -> Iterator[tuple[Any, RedisCoordination]]:
    """Return a line that can fall silent, and notes behind it."""
    proxy = make_proxy(own.path)
    section = RedisSettings(host="127.0.0.1", port=proxy.port, socket_timeout=2.0)
    store = make_coordination(Settings(name="cut", sections={"redis": section}))
    store.get_flags(["a connection that is open"])
    yield proxy, store
    store.close()


def lost(proxy: Any, call: Callable[[], object], said: str = "does not answer") -> None:
    """Make a call whose reply does not come."""
    proxy.answer = False
    with pytest.raises(BackendUnavailable, match=said):
        call()
    proxy.answer = True


def test_who_was_not_told_asks_again_and_has_the_same(behind: tuple[Any, RedisCoordination]) -> None:
    """A place taken and an arrival noted without a reply are the caller's, once."""
    proxy, notes = behind
    # the scripts are known: what is lost below is the answer, not the question
    notes.acquire("other", b"a", 1, 60.0)
    notes.join_barrier([BarrierMember("other", 0)], 60.0)

    lost(proxy, lambda: notes.acquire("lock", b"a", 1, 60.0))
    assert notes.acquire("lock", b"b", 1, 60.0) == b"a"
    assert notes.acquire("lock", b"a", 1, 60.0) is None

    notes.join_barrier([BarrierMember("fan", 0, b"x")], 60.0)
    lost(proxy, lambda: notes.join_barrier([BarrierMember("fan", 1, b"y")], 60.0))
    assert notes.barrier_members("fan") == {0: b"x", 1: b"y"}
    assert notes.join_barrier([BarrierMember("fan", 1, b"z")], 60.0) == [2]


def test_a_turn_nobody_was_told_of_is_said_to_be_lost(behind: tuple[Any, RedisCoordination]) -> None:
    """A later rate slot is given again; one that was now is unused, and never two are given."""
    proxy, notes = behind
    notes.reserve("other", b"a", 60.0, 1)

    lost(proxy, lambda: notes.reserve("api", b"a", 60.0, 1), "a rate slot may have been given")
    left = notes.reserve("api", b"a", 60.0, 1)
    lost(proxy, lambda: notes.reserve("api", b"b", 60.0, 1), "a rate slot may have been given")

    assert 0 < left <= 60
    assert 60 < notes.reserve("api", b"b", 60.0, 1) <= 120
