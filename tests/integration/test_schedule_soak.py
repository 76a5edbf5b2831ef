"""Weeks of a hundred schedules in seconds: each slot once, whoever is killed, stopped or early.

The fault model stands with `qcore_testing.schedule_soak.ScheduleSoak`.
"""

from __future__ import annotations

import itertools
import random
from typing import TYPE_CHECKING, Final

import attrs
import pytest

from qcore import Config
from qcore.interfaces import Settings
from qcore.messages.sealer import Sealer
from qcore.model import Outgoing
from qcore_calendar import rules
from qcore_calendar.schedule import Schedule
from qcore_calendar.slots import CatchUp, due_slots
from qcore_schedules.messages import slot_id
from qcore_schedules.sealed import SealedSchedules
from qcore_sqlite import SqliteSettings, make_broker, make_schedules
from qcore_testing.schedule_soak import ScheduleSoak
from tests.integration.land import SECRET

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from qcore.interfaces import Broker

pytestmark = pytest.mark.portable

#: four days before the clocks of Amsterdam are put forward, in 2030
START: Final = 1_900_800_000.0
WEEKS: Final = 3
DAY: Final = 86400.0
RULES: Final = (
    "every 14400",
    "hourly",
    "daily",
    "weekly",
    "30 2 * * *",
    "*/90 */6 * * *",
    "0 9 * * MON",
    "monthly",
)


class Machine:
    """A cluster's share of the firing: its clock is wrong, and it may stop at any step."""

    def __init__(self, settings: Settings, skew: float, chance: random.Random) -> None:
        self._settings, self._skew, self._chance = settings, skew, chance
        self._stopped: list[tuple[list[Outgoing], Schedule, Schedule | None]] = []
        self._open()

    def _open(self) -> None:
        self.broker: Broker = make_broker(self._settings)
        sealer = Sealer(["k" * 40], "schedule", self._settings.name)
        self.store = SealedSchedules(make_schedules(self._settings), sealer)

    def look(self, now: float, *, sound: bool = False) -> None:
        """Fire what is due by this machine's own clock."""
        mine = now if sound else now + self._skew
        for one in self.store.claim_due(mine, 300, 10.0):
            slots, after = due_slots(one, mine, CatchUp(), 50)
            messages = [Outgoing(slot_id(one, slot), f"{one.name} {slot:.0f}".encode()) for slot in slots]
            fate = 1.0 if sound else self._chance.random()
            if fate < 0.05:
                # killed with what it has claimed, and started again
                self.close()
                self._open()
                return
            if fate < 0.1:
                # stopped for longer than its claims hold
                self._stopped.append((messages, one, after))
                continue
            self.store.fire(self.broker, messages, one, after)

    def wake(self) -> None:
        """Go on where it was stopped: others have been there meanwhile, or not."""
        for held in self._stopped:
            self.store.fire(self.broker, *held)
        self._stopped.clear()

    def close(self) -> None:
        """Leave."""
        self.broker.close()
        self.store.close()


def ran(broker: Broker) -> Iterator[str]:
    """Yield every message that was enqueued."""
    while taken := broker.lease(1000, 0.0):
        yield from (one.body.decode() for one in taken)


@pytest.mark.parametrize("seed", [1, 2])
def test_each_slot_of_weeks_fires_once(tmp_path: Path, seed: int) -> None:
    """Two clusters, clocks 90 seconds apart that jump, kills and stops between any two steps."""
    chance = random.Random(seed)
    settings = Settings(name="weeks", sections={"sqlite": SqliteSettings(path=tmp_path / "queue.db")})
    machines = [Machine(settings, skew, chance) for skew in (90.0, -90.0)]
    made = [
        Schedule(
            name=f"{number:03}",
            task="a.task",
            rule=RULES[number % len(RULES)],
            time_zone="Europe/Amsterdam",
            next_run=START + number,
            anchor=START + number,
        )
        for number in range(200)
    ]
    for one in made:
        machines[0].store.add(one)

    now = START
    end = START + WEEKS * 7 * DAY
    while now < end:
        now += chance.uniform(0.05, 0.6) * DAY
        machine = chance.choice(machines)
        # its clock is set back or ahead now and then
        machine.look(now + chance.choice((0.0, 0.0, 0.0, -3600.0, 3600.0)))
        if chance.random() < 0.2:
            chance.choice(machines).wake()
    end = now + 2 * 3600
    for machine in machines:
        machine.wake()
    machines[0].look(end, sound=True)
    machines[0].look(end + 20, sound=True)

    where = rules.zone("Europe/Amsterdam")
    expected = set()
    for one in machines[0].store.all():
        before = attrs.evolve(one, next_run=START + int(one.name))
        slots = rules.slots(rules.parse(one.rule), before.next_run, where, one.anchor)
        fired = itertools.takewhile(lambda slot, last=one.next_run: slot < last, slots)  # type: ignore[misc]  # bound now
        expected |= {f"{one.name} {slot:.0f}" for slot in (before.next_run, *fired)}
        assert one.next_run > end
    found = list(ran(machines[1].broker))
    for machine in machines:
        machine.close()

    assert len(found) == len(set(found))
    assert set(found) == expected


@pytest.mark.early
@pytest.mark.timeout(400)
@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.chaos)])
def test_each_slot_of_weeks_runs_once_though_processes_are_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """In one step where queue and schedules share a file, in two for the queue in another."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    config = Config.from_dict({"name": "weeks", "secret_key": SECRET, "log_level": "ERROR"})

    with ScheduleSoak(config, tmp_path, seed) as weeks:
        weeks.plan()
        weeks.pass_by(2)
        found = weeks.work_off(120.0)

    assert found.killed > 10
    assert found.ran == found.wanted
    assert found.twice[0] == 0
    # Else nothing was tried: these had the ids of those that were there, and were not run.
    assert found.twice[1] > 0
