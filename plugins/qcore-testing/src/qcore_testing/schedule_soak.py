"""Weeks of schedules in seconds, while what fires them is killed."""

from __future__ import annotations

import itertools
import mmap
import os
import random
import signal
import struct
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import attrs

from qcore.app import App
from qcore.cluster import Cluster
from qcore.config import Config
from qcore_calendar import rules
from qcore_schedules.firing import Firing
from qcore_schedules.sealed import sealed, stored_schedules
from qcore_testing.processes import Child

if TYPE_CHECKING:
    from collections.abc import Callable

    from qcore.model import StoredSchedule
    from qcore_calendar.schedule import Schedule
    from qcore_schedules.sealed import SealedSchedules

#: four days before the clocks of Amsterdam are put forward, in 2030
START: Final = 1_900_800_000.0
RULES: Final = (
    {"minutes": 240},
    {"type": "hourly"},
    {"type": "daily"},
    {"type": "weekly"},
    {"cron": "30 2 * * *"},
    {"cron": "0 */6 * * *"},
    {"cron": "0 9 * * MON"},
    {"type": "monthly"},
)
_DAY: Final = 86400.0
#: Cluster name of every second schedule: its tasks are enqueued in one step, and it moves on in another.
_OTHER: Final = "weeks-other"
#: How often a process is killed by itself between those steps, and by us in a step of ours.
_AMID, _AT_ANY_TIME = 0.02, 0.3
#: Seconds by which the clocks of the two are wrong.
_SKEW: Final = (90.0, -90.0)
_CLOCK: Final = struct.Struct("=qd")


def run(folder: str, name: str, slot: str) -> None:
    """Note which slot ran: the task of the schedules."""
    file = os.open(Path(folder) / name, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(file, f"{datetime.fromisoformat(slot).timestamp():.0f}\n".encode())
    os.close(file)


@attrs.frozen
class Counted:
    """What came of the weeks."""

    #: slots that should have run, by schedule
    wanted: dict[str, list[float]]
    #: slots that did run
    ran: dict[str, list[float]]
    #: messages beyond one for each slot, on the schedules' own queue and on the other
    twice: tuple[int, int]
    #: processes that were killed
    killed: int


class ScheduleSoak:
    """Two processes that fire a hundred schedules by a clock that flies, and are killed all the time.

    What may happen in them: any of the two is killed by SIGKILL at any moment, in the middle of a
    step and between enqueuing and moving on; it is started again, or the other goes on where it
    was; their clocks differ by minutes and are set an hour back or ahead. What may not: the
    backend itself loses nothing of what it has confirmed, results are kept until the tasks have
    run, and tasks that were enqueued twice are not begun in the same instant.
    """

    def __init__(self, config: Config, folder: Path, seed: int) -> None:
        self._config = Config.from_dict(config.as_dict() | {"save_limit": 0, "time_zone": "Europe/Amsterdam"})
        self._folder = folder
        self._chance = random.Random(seed)  # noqa: S311 - what is killed when
        self._clock = mmap.mmap(-1, _CLOCK.size)
        self._app = App(self._config)
        self._children: list[Child] = []
        self._step = 0
        self._killed = 0
        (folder / "ran").mkdir()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stop()
        self._app.close()

    def plan(self, count: int = 96) -> None:
        """Make the schedules, six of each rule on each queue: every second one goes to another queue."""
        for number in range(count):
            name = f"{number:03}"
            self._app.schedules.create(
                run,
                str(self._folder / "ran"),
                name,
                name=name,
                next_run=START + number,
                intended_date_kwarg="slot",
                cluster=_OTHER if number % 2 else None,
                **RULES[number // 2 % len(RULES)],
            )

    def pass_by(self, weeks: int) -> None:
        """Let weeks pass."""
        self._children = [self._start(index) for index in range(len(_SKEW))]
        now = START
        while now < START + weeks * 7 * _DAY:
            now += self._chance.uniform(0.05, 0.6) * _DAY
            # the clock is set back or ahead now and then
            self._look(now + self._chance.choice((0.0, 0.0, 0.0, -3600.0, 3600.0)))
        self._stop()
        # A sound process catches up on everything that a claim held up.
        firing = Firing(self._app.runtime, lambda: now)
        with stored_schedules(self._app.runtime) as store:
            for _ in range(3):
                now += 3600.0
                _fire(firing, store, now)
        firing.close()

    def work_off(self, timeout: float) -> Counted:
        """Run what was enqueued, on two clusters, and count."""
        there = self._app.runtime.of(_OTHER)
        wanted = {one.name: _before(one) for one in self._app.schedules.list()}
        sizes = []
        for runtime in (self._app.runtime, there):
            with runtime.brokers.connection() as broker:
                sizes.append(broker.size().ready)
        numbers = [
            sum(len(slots) for name, slots in wanted.items() if int(name) % 2 == odd) for odd in (0, 1)
        ]
        for config in (self._config, there.config):
            texts = config.as_dict() | {"scheduler": False, "workers": 1, "preload": [__name__]}
            with Cluster(Config.from_dict(texts)), there.of(config.name).brokers.connection() as broker:
                end = time.monotonic() + timeout
                while (size := broker.size()).ready or size.leased or size.delayed:
                    assert time.monotonic() < end, f"{size} after {timeout:g} seconds"
                    time.sleep(0.05)
        ran = {
            path.name: sorted(map(float, path.read_text().split()))
            for path in (self._folder / "ran").iterdir()
        }
        return Counted(wanted, ran, (sizes[0] - numbers[0], sizes[1] - numbers[1]), self._killed)

    def _look(self, now: float) -> None:
        self._step += 1
        self._clock[:] = _CLOCK.pack(self._step, now)
        if self._chance.random() < _AT_ANY_TIME:
            victim = self._chance.randrange(len(self._children))
            _let_pass(self._chance.uniform(0.0, 0.05))
            self._children[victim].kill()
        for index, child in enumerate(self._children):
            while (line := child.line()) is not None and int(line) < self._step:
                pass
            if line is None:
                # It was killed, by us or amid its work; the other has gone on, or the new one does.
                child.kill()
                self._killed += 1
                self._children[index] = self._start(index)

    def _start(self, index: int) -> Child:
        seed = self._chance.random()
        return Child(lambda send: self._keep_time(index, seed, send), timeout=60.0)

    def _keep_time(self, index: int, seed: float, send: Callable[[str], None]) -> None:
        """Be one of the two."""
        chance, done = random.Random(seed), 0  # noqa: S311 - as above
        app = App(self._config)
        step, now = 0, 0.0
        firing = Firing(app.runtime, lambda: now)
        store = sealed(app.runtime, app.runtime.make_schedule_store())
        advance = store.store.advance

        def advanced(before: StoredSchedule, after: StoredSchedule | None) -> bool:
            if chance.random() < _AMID:
                os.kill(os.getpid(), signal.SIGKILL)
            return advance(before, after)

        store.store.advance = advanced  # type: ignore[method-assign]  # the moment between the two steps
        while True:
            step, now = _CLOCK.unpack(self._clock[:])
            if step == done:
                _let_pass(0.0005)
                continue
            now += _SKEW[index]
            _fire(firing, store, now)
            done = step
            send(str(step))

    def _stop(self) -> None:
        while self._children:
            self._children.pop().kill()


def _fire(firing: Firing, store: SealedSchedules, now: float) -> None:
    for one in store.claim_due(now, 300, 10.0):
        firing.fire(store, one)


def _before(one: Schedule) -> list[float]:
    """Return the slots a schedule has behind it."""
    first = START + int(one.name)
    if rules.parse(one.rule).cron:
        # What was said to be the first slot need not be one of the rule's own.
        assert one.anchor == first
    where = rules.zone(one.time_zone)
    following = rules.slots(rules.parse(one.rule), first, where, one.anchor)
    return [first, *itertools.takewhile(lambda slot: slot < one.next_run, following)]


def _let_pass(seconds: float) -> None:
    time.sleep(seconds)
