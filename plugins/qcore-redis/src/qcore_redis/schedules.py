"""Decides how schedules live in Redis."""

from __future__ import annotations

import logging
import struct
from typing import TYPE_CHECKING, Final

from qcore.interfaces import ScheduleStore
from qcore.model import StoredSchedule
from qcore_redis import codec
from qcore_redis.client import Client
from qcore_redis.scripts import script

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from qcore.interfaces import Broker, Settings
    from qcore.model import Outgoing

_log = logging.getLogger("qcore_redis.schedules")

#: what a value begins with: the next slot, and whether it may fire
_HEAD: Final = struct.Struct(">d?")


class RedisSchedules(ScheduleStore):
    """Schedules beside the queue of the same name."""

    def __init__(self, settings: Settings) -> None:
        prefix = b"{qcore:%s}:" % settings.name.encode()
        self._key = prefix + b"c"
        self._link = Client(settings.section("redis"), prefix + b"q")
        self.transaction_domain = f"redis:{self._link.address.title}#{settings.name}"

    def add(self, schedule: StoredSchedule) -> bool:
        """Keep a schedule unless there is one of the same name; return whether it is kept."""
        return bool(self._link.run(script("schedules", "schedule_add"), *_words(schedule)))

    def remove(self, name: str) -> bool:
        """Forget a schedule."""
        return bool(self._link.run(script("schedules", "schedule_remove"), name))

    def all(self) -> Sequence[StoredSchedule]:
        """Return every schedule, by name."""
        found = self._link.call(b"HGETALL", self._key)
        return sorted(self._rows(found), key=lambda schedule: schedule.name)

    def get(self, name: str) -> StoredSchedule | None:
        """Return the schedule of this name."""
        found = self._link.call(b"HGET", self._key, name)
        return None if found is None else next(self._rows([name.encode(), found]), None)

    def claim_due(self, now: float, limit: int, hold: float) -> Sequence[StoredSchedule]:
        """Claim what is due."""
        found = self._link.run(script("schedules", "schedule_claim"), repr(now), limit, repr(now + hold))
        return list(self._rows(found))

    def advance(self, before: StoredSchedule, after: StoredSchedule | None) -> bool:
        """Replace a schedule by its next state, or remove it, if `before` is still what is kept."""
        then = ("",) if after is None else _words(after)
        arguments = (before.name, before.body, *then)
        return bool(self._link.run(script("schedules", "schedule_advance"), *arguments))

    def fire(
        self,
        broker: Broker,
        messages: Sequence[Outgoing],
        before: StoredSchedule,
        after: StoredSchedule | None,
    ) -> bool:
        """Enqueue and advance in one step, if the queue is on the same server."""
        if broker.capabilities.transaction_domain != self.transaction_domain:
            return super().fire(broker, messages, before, after)
        then = ("", "", 0) if after is None else _words(after)
        arguments = (before.name, before.body, *then, *codec.words(messages))
        fire = script("put", "schedules", "schedule_fire", fills=True)
        return bool(self._link.run(fire, *arguments, unknown_outcome=codec.UNKNOWN_OUTCOME))

    def close(self) -> None:
        """Let go of the connection."""
        self._link.close()

    def _rows(self, found: Sequence[bytes]) -> Iterator[StoredSchedule]:
        """Yield the schedules of names and values in turn; what was not written so becomes a dead letter."""
        for name, value in zip(found[::2], found[1::2], strict=True):
            try:
                next_run, active = _HEAD.unpack_from(value)
                yield StoredSchedule(name.decode(), value[_HEAD.size :], next_run, active)
            except (struct.error, UnicodeDecodeError) as exc:
                _log.error("the schedule %r cannot be read and is a dead letter now: %s", name[:80], exc)
                self._link.run(script("schedules", "schedule_reject"), name, value)


def _packed(schedule: StoredSchedule) -> bytes:
    return _HEAD.pack(schedule.next_run, schedule.active) + schedule.body


def _words(schedule: StoredSchedule) -> tuple[str, bytes, int]:
    return (schedule.name, _packed(schedule), int(schedule.active))
