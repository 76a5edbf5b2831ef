"""Labels, groups that are left, and successes that are limited by kind."""

from __future__ import annotations

import os
import random
import struct
import threading
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import pytest

from qcore.interfaces import Settings
from qcore.model import State, StoredResult
from qcore_redis import RedisResults, RedisSettings, pruning
from qcore_testing.processes import Child

if TYPE_CHECKING:
    from collections.abc import Callable

    from qcore.interfaces import Per

#: the layout of the first version: state, finished, expires, id, lengths of name and group
FIRST = struct.Struct(">Bdd16sHH")


@pytest.fixture
def queue() -> str:
    """Return the name of a queue that no other test has."""
    return f"q{os.urandom(4).hex()}"


@pytest.fixture
def make(any_server: Any, queue: str) -> Callable[[], RedisResults]:
    """Return a maker of stores of one queue, each on a connection of its own."""
    section = RedisSettings(unix_socket_path=any_server.path)
    return lambda: RedisResults(Settings(name=queue, sections={"redis": section}))


def result(number: int = 0, /, **fields: Any) -> StoredResult:
    """Return a success that finished so many seconds after the others."""
    given = {"state": State.SUCCESS, "body": b"body", "name": "a.task", "finished": 1e9 + number}
    return StoredResult(**{"id": os.urandom(16), **given, **fields})


def keys(client: Any, queue: str) -> set[str]:
    """Return what stands behind the name of the queue."""
    return {key.decode("latin-1").partition("}:")[2] for key in client.keys(f"*{queue}*")}


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("group", [None, "g", "größer" * 40])
@pytest.mark.parametrize("label", [None, "", "l", "länger" * 40])
def test_a_label_is_kept(
    make: Callable[[], RedisResults], state: State, group: str | None, label: str | None
) -> None:
    """With or without a group, of any state, with the longest of names."""
    store = make()
    kept = result(state=state, group=group, label=label, name="ñ" * 256)

    store.save([kept])

    assert list(store.get([kept.id])) == [kept]
    assert list(store.group(group) if group else [kept]) == [kept]
    assert list(store.recent(state)) == [kept]


def test_what_the_first_version_stored_is_read(
    make: Callable[[], RedisResults], any_server: Any, queue: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Records without a label are as they were; one of a later version is left out with a reason."""
    store = make()
    plain, grouped, later = (os.urandom(16) for _ in range(3))
    values = {
        plain: FIRST.pack(ord("3"), 1.5, 0.0, plain, 6, 0xFFFF) + b"a.task" + b"body",
        grouped: FIRST.pack(ord("2"), 2.5, 0.0, grouped, 6, 1) + b"a.task" + b"g" + b"",
        later: FIRST.pack(ord("2"), 2.5, 0.0, later, 0x4006, 1) + b"a.task" + b"g" + b"",
    }
    with any_server.client() as client:
        client.hset(f"{{qcore:{queue}}}:r", mapping=values)
        client.rpush(f"{{qcore:{queue}}}:s", FIRST.pack(ord("3"), 1.5, 0.0, plain, 6, 0xFFFF)[1:33])

    assert list(store.get([plain, grouped])) == [
        StoredResult(plain, State.SUCCESS, b"body", "a.task", None, 1.5),
        StoredResult(grouped, State.FAILED, b"", "a.task", "g", 2.5),
    ]
    assert store.prune(0, "name") == 1
    assert list(store.get([later])) == [None]
    assert "a later version of qcore-redis may have stored it: upgrade" in caplog.text


def test_a_group_that_is_left_is_empty(make: Callable[[], RedisResults], any_server: Any, queue: str) -> None:
    """Its results stay, of every state and with their labels, and leave nothing when they go."""
    store = make()
    kept = [result(number, group="g", label="l", state=state) for number, state in enumerate(State)]
    many = [result(number, group="g") for number in range(3, 1203)]
    gone = result(group="g", expires=time.time() - 1)
    others = [result(group="h")]
    store.save([*kept, *many, gone, *others])

    assert store.ungroup("g") == 1203
    assert store.ungroup("g") == store.ungroup("none") == 0

    assert list(store.group("g")) == []
    assert list(store.group("h")) == others
    assert {one and one.group for one in store.get([one.id for one in kept + many])} == {None}
    assert {one and one.label for one in store.get([one.id for one in kept])} == {"l"}
    # a run that follows brings its group along
    again = result(state=State.SUCCESS, group="g", id=kept[0].id)
    store.save([again])
    assert list(store.group("g")) == [again]
    assert store.delete([one.id for one in [*kept, *many, gone, *others]]) == 1204
    with any_server.client() as client:
        assert keys(client, queue) == set()


@pytest.mark.parametrize("per", ["group", "label", "name"])
def test_of_each_kind_the_newest_stay(make: Callable[[], RedisResults], per: Per) -> None:
    """Thousands in an order of their own; what has none of it counts together, what is over goes."""
    store = make()
    rolls = random.Random(7)
    kinds: list[Any] = ["often"] * 40 + ["seldom"] * 3 + ["once"] + [None if per != "name" else ""] * 10
    many = [
        result(
            number, expires=rolls.choice([0.0] * 30 + [time.time() - 1]), **{str(per): rolls.choice(kinds)}
        )
        for number in range(6000)
    ]
    alive = [one for one in many if not one.expires]
    failed = [result(state=State.FAILED, **{per: "often"}) for _ in range(30)]
    mixed = [one for start in range(0, 6000, 250) for one in rolls.sample(many[start : start + 250], 250)]
    for start in range(0, 6000, 500):
        store.save(mixed[start : start + 500])
    store.save(failed)
    by_kind = defaultdict(list)
    for one in alive:
        by_kind[getattr(one, per)].append(one)
    wanted = {one.id for ones in by_kind.values() for one in ones[-150:]}

    assert store.prune(-1, per) <= 6000 - len(alive)
    store.prune(150, per)

    assert {one.id for one in store.get([one.id for one in many]) if one} == wanted
    assert store.counts() == {State.SUCCESS: len(wanted), State.FAILED: 30}
    assert store.prune(150, per) == 0
    assert store.prune(0, per) == len(wanted)
    assert list(store.recent(State.SUCCESS)) == []


def test_who_left_a_group_counts_with_those_of_none(make: Callable[[], RedisResults]) -> None:
    """A limit per group does not take them for members."""
    store = make()
    left = [result(number, group="g") for number in range(4)]
    store.save(left)
    store.ungroup("g")
    inside = [result(number, group="g") for number in range(4, 8)]
    store.save(inside)

    assert store.prune(2, "group") == 4
    assert [one.id for one in store.recent()] == [one.id for one in (*inside[:1:-1], *left[:1:-1])]


def test_pruning_by_kind_and_saving_do_not_meet(make: Callable[[], RedisResults]) -> None:
    """While another process saves without a pause, none of the newest goes, and no entry is left behind."""
    store = make()
    store.save([result(number, label="a" if number % 3 else None) for number in range(1000)])

    def work(tell: Callable[[str], None]) -> None:
        other = make()
        for number in range(1000, 7000, 20):
            made = [result(number + more, label="b", name="new") for more in range(20)]
            other.save(made)
            tell(" ".join(one.id.hex() for one in made))

    with Child(work, timeout=30) as child:
        saved: list[bytes] = []
        while line := child.line():
            saved += map(bytes.fromhex, line.split())
            if len(saved) % 200 == 0:
                store.prune(300, "label")
                found = [one.finished for one in store.recent(limit=300) if one.label == "b"]
                assert len(found) >= min(300, len(saved))
                assert found == [found[0] - number for number in range(len(found))]
        store.prune(300, "label")

    assert store.counts() == {State.SUCCESS: 900}
    assert [one.id for one in reversed(store.recent(limit=300))] == saved[-300:]


def test_two_that_prune_at_once_take_no_more_than_one(make: Callable[[], RedisResults]) -> None:
    """Whoever prunes by kind while another does so keeps what is to be kept."""
    many = [result(number, name=f"t{number % 7}") for number in range(7000)]
    for start in range(0, 7000, 1000):
        make().save(many[start : start + 1000])
    begin = threading.Event()

    def work() -> None:
        store = make()
        begin.wait()
        store.prune(100, "name")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    begin.set()
    for thread in threads:
        thread.join()
    store = make()
    store.prune(100, "name")

    assert list(store.get([one.id for one in many[-700:]])) == many[-700:]
    assert store.counts() == {State.SUCCESS: 700}


def test_large_results_are_seen_few_at_a_time(
    make: Callable[[], RedisResults], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server copies what it looks at: a step ends early where the results are large."""
    monkeypatch.setattr(pruning, "_SEEN", 50)
    store = make()
    many = [result(number, body=bytes(3_000_000), label=f"l{number % 2}") for number in range(12)]
    for one in many:
        store.save([one])

    assert store.prune(2, "label") == 8
    assert [one.id for one in reversed(store.recent())] == [one.id for one in many[-4:]]
