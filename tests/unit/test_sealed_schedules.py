"""What decides about a schedule is under its seal."""

from __future__ import annotations

import logging
import sqlite3
import time
from typing import TYPE_CHECKING, Any

import attrs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcore import App, Config, Schedule
from qcore.errors import BadSignature, EnvelopeError, MalformedMessage, UnknownKey
from qcore.messages.sealer import Sealer
from qcore.model import StoredSchedule
from qcore_schedules.scheduler_thread import SchedulerThread
from qcore_schedules.sealed import SealedSchedules
from qcore_testing.memory.schedules import MemorySchedules, ScheduleTable
from tests.integration.land import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.portable

OLD, NEW = "o" * 40, "n" * 40

#: another value of each field that a schedule has
OTHERS: dict[str, Any] = {
    "name": "other",
    "task": "os.system",
    "body": b"other",
    "rule": "every 1",
    "time_zone": "Asia/Tokyo",
    "next_run": 1.0,
    "anchor": 1.0,
    "repeats": 1000,
    "kept": 5,
    "catch_up": True,
    "overlap": "skip",
    "jitter": 1.0,
    "cluster": "other",
    "declared": "a.module",
    "fault": "so",
    "first": "@1",
}


@pytest.fixture
def app(tmp_path: Path) -> Iterator[App]:
    """Yield a producer with a queue in a file."""
    made = App(
        Config.from_dict({"name": "plans", "secret_key": OLD, "sqlite": {"path": str(tmp_path / "q")}})
    )
    yield made
    made.close()


@pytest.fixture
def fire(app: App) -> Iterator[Callable[[], SchedulerThread]]:
    """Yield what starts a scheduler thread; it is stopped with the test."""
    started: list[SchedulerThread] = []

    def start() -> SchedulerThread:
        started.append(SchedulerThread(app.runtime))
        return started[-1]

    yield start
    for one in started:
        assert one.close(10)


def stored(table: ScheduleTable, *keys: str, name: str = "plans") -> SealedSchedules:
    """Return the schedules of a table as a process with these keys sees them."""
    return SealedSchedules(MemorySchedules(table, backend="a"), Sealer(keys, "schedule", name))


def plan(**fields: Any) -> Schedule:
    """Return a schedule that is due."""
    made = Schedule(name="nightly", task="a.task", body=b"call", rule="every 60", next_run=1000.0)
    return attrs.evolve(made, **fields)


def test_every_field_is_sealed() -> None:
    """A row of another schedule's field is not this schedule, whichever field it is."""
    table = ScheduleTable()
    store = stored(table, OLD)
    store.add(plan())
    body = table.rows["nightly"].body
    encoded = msgspec.msgpack.encode(plan())
    assert OTHERS.keys() == {field.name for field in attrs.fields(Schedule)}

    for field, value in OTHERS.items():
        forged = msgspec.msgpack.encode(attrs.evolve(plan(), **{field: value}))
        assert body.endswith(encoded)
        table.rows["nightly"] = StoredSchedule("nightly", body.removesuffix(encoded) + forged, 1000.0)

        with pytest.raises(BadSignature, match="'nightly' was altered"):
            store.get("nightly")
        (seen,) = store.all()
        assert "was altered" in seen.fault
        assert (seen.repeats, seen.task) == (0, "")


def test_a_row_whose_cluster_is_called_a_queue_is_read() -> None:
    """An earlier layout said `queue` for the cluster; such a schedule keeps it and is resealed."""
    table = ScheduleTable()
    fields = attrs.asdict(plan(cluster="mail"))
    sealed = Sealer((OLD,), "schedule", "plans").seal(
        b"\x02nightly", msgspec.msgpack.encode({**fields, "queue": fields.pop("cluster")})
    )
    table.rows["nightly"] = StoredSchedule("nightly", b"\x02" + sealed, 1000.0)
    store = stored(table, OLD)

    assert store.get("nightly") == plan(cluster="mail")
    assert store.reseal() == (1, 0)
    assert table.rows["nightly"].body[:1] == b"\x03"
    assert store.get("nightly") == plan(cluster="mail")


def test_a_row_fires_nowhere_else() -> None:
    """A sealed row is not taken for a schedule of another name or queue."""
    table = ScheduleTable()
    store = stored(table, OLD)
    store.add(plan())
    row = table.rows["nightly"]
    table.rows["daily"] = msgspec.structs.replace(row, name="daily")

    with pytest.raises(BadSignature):
        store.get("daily")
    with pytest.raises(BadSignature):
        stored(table, OLD, name="other").get("nightly")


@given(st.binary(max_size=200), st.floats(), st.booleans())
def test_any_bytes_are_passed_over(body: bytes, next_run: float, active: bool) -> None:
    """Bytes that nobody sealed are reported, are not fired, and hide no schedule that is due."""
    table = ScheduleTable()
    store = stored(table, OLD)
    store.add(plan(name="good"))
    table.rows["bad"] = StoredSchedule("bad", body, next_run, active)
    told: list[str] = []

    claimed = store.claim_due(2000.0, 1, 10.0, lambda row, _: told.append(row.name))

    assert [one.name for one in claimed] == ["good"]
    assert [one.name for one in store.all()] == ["bad", "good"]
    assert store.all()[0].fault
    # the time of a stranger's row may be none that a date has
    assert store.all()[0].next_run == 0.0
    with pytest.raises(EnvelopeError):
        store.get("bad")
    assert set(told) <= {"bad"}


def test_rows_of_strangers_hide_no_schedule() -> None:
    """Whatever lies before it, a due schedule is claimed, and what was altered is left alone from then on."""
    table = ScheduleTable()
    store = stored(table, OLD)
    store.add(plan())
    for number in range(30):
        table.rows[f"{number:02}"] = StoredSchedule(f"{number:02}", b"\x03" + bytes(100), 0.0)
        table.rows[f"a{number:02}"] = StoredSchedule(f"a{number:02}", b"old", 0.0)

    assert [one.name for one in store.claim_due(2000.0, 5, 60.0)] == ["nightly"]

    # one that another key seals may be good for another cluster
    assert {name for name, row in table.rows.items() if row.active and row.next_run == 0.0} == {
        f"{number:02}" for number in range(30)
    }


@pytest.mark.parametrize("fields", [{"next_run": 1e10}, {"repeats": 0}, {"fault": "so"}])
def test_what_a_row_is_found_by_does_not_fire_it(
    fields: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """A row that was made due by hand is not fired, and what it is found by is put right."""
    table = ScheduleTable()
    store = stored(table, OLD)
    store.add(plan(**fields))
    sound = table.rows["nightly"]
    table.rows["nightly"] = msgspec.structs.replace(sound, next_run=1.0, active=True)

    with caplog.at_level(logging.WARNING):
        assert list(store.claim_due(2000.0, 5, 60.0)) == []

    assert table.rows["nightly"] == sound
    assert "stored as due, but it is not" in caplog.text


def test_what_is_written_is_sealed_with_the_first_key() -> None:
    """A schedule that an older key sealed is read, and has the new seal once it was advanced."""
    table = ScheduleTable()
    stored(table, OLD).add(plan())
    both = stored(table, NEW, OLD)
    with pytest.raises(UnknownKey, match="add that key"):
        stored(table, NEW).get("nightly")

    (claimed,) = both.claim_due(2000.0, 1, 60.0)
    assert both.advance(claimed, plan(next_run=3000.0))

    assert stored(table, NEW).get("nightly") == plan(next_run=3000.0)


def test_an_earlier_layout_is_refused_with_what_to_do() -> None:
    """A row that was not sealed as a whole is told from one that was altered."""
    table = ScheduleTable()
    table.rows["nightly"] = StoredSchedule("nightly", msgspec.msgpack.encode(plan()), 1.0)

    with pytest.raises(MalformedMessage, match="create it again, or delete it"):
        stored(table, OLD).get("nightly")


def test_who_writes_the_file_fires_nothing(
    app: App, fire: Callable[[], SchedulerThread], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A row that was replaced by a stranger's bytes does not fire; creating the schedule again mends it."""
    app.schedules.create("a.task", name="altered", every=3600)
    app.schedules.create("a.task", name="moved", every=3600, next_run=time.time() + 3600)
    app.schedules.create("a.task", name="sound", next_run=time.time() - 5)
    with sqlite3.connect(tmp_path / "q") as file:
        file.execute("update schedule set body = body || x'00' where name = 'altered'")
        file.execute("update schedule set next_run = 1.0 where name in ('altered', 'moved')")
    file.close()

    fire()

    until(lambda: app.queue.size().ready == 1, "the sound one to fire")
    until(lambda: len(app.schedules.list()) == 2)
    altered, moved = app.schedules.list()
    assert "was altered by something other than qcore" in altered.fault
    assert (moved.fault, moved.repeats) == ("", -1)
    assert moved.next_run > time.time() + 3000
    for change in (app.schedules.resume, app.schedules.pause, app.schedules.run, app.schedules.update):
        with pytest.raises(BadSignature, match="create it again, or delete it"):
            change("altered")
    assert caplog.text.count("was altered by something") == 1
    assert app.queue.size().ready == 1

    app.schedules.create("a.task", name="altered", every=3600)

    until(lambda: app.queue.size().ready == 2, "the new one to fire")
    assert app.schedules.delete("altered")
