"""Decides how schedules live in Redis."""

from __future__ import annotations

import logging
import struct
from typing import TYPE_CHECKING, Final

import attrs
import msgspec

from qcore.interfaces import ScheduleStore
from qcore.model import Schedule
from qcore_redis import codec
from qcore_redis.client import Client
from qcore_redis.scripts import script

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from qcore.interfaces import Broker, Settings
    from qcore.model import Outgoing

_log = logging.getLogger("qcore_redis.schedules")

_SLOT: Final = struct.Struct(">d")
_FIELDS: Final = frozenset(field.name for field in attrs.fields(Schedule))
_encode = msgspec.msgpack.Encoder().encode


class RedisSchedules(ScheduleStore):
    """Schedules beside the queue of the same name."""

    def __init__(self, settings: Settings) -> None:
        prefix = b"{qcore:%s}:" % settings.name.encode()
        self._key = prefix + b"c"
        self._link = Client(settings.section("redis"), prefix + b"q")
        self._decode = msgspec.msgpack.Decoder(Schedule).decode
        self.transaction_domain = f"redis:{self._link.address.title}#{settings.name}"

    def add(self, schedule: Schedule) -> None:
        """Keep a schedule; one of the same name is replaced."""
        self._link.run(script("schedules", "schedule_add"), *_words(schedule))

    def remove(self, name: str) -> bool:
        """Forget a schedule."""
        return bool(self._link.run(script("schedules", "schedule_remove"), name))

    def all(self) -> Sequence[Schedule]:
        """Return every schedule, by name."""
        found = self._link.call(b"HGETALL", self._key)
        return sorted(self._readable(found), key=lambda schedule: schedule.name)

    def get(self, name: str) -> Schedule | None:
        """Return the schedule of this name."""
        found = self._link.call(b"HGET", self._key, name)
        return None if found is None else next(self._readable([name.encode(), found]), None)

    def claim_due(self, now: float, limit: int, hold: float) -> Sequence[Schedule]:
        """Claim what is due."""
        found = self._link.run(script("schedules", "schedule_claim"), repr(now), limit, repr(now + hold))
        return list(self._readable(found))

    def advance(self, before: Schedule, after: Schedule | None) -> bool:
        """Replace a schedule by its next state, or remove it, if `before` is still what is kept."""
        then = ("",) if after is None else _words(after)
        arguments = (before.name, _packed(before), *then)
        return bool(self._link.run(script("schedules", "schedule_advance"), *arguments))

    def fire(
        self, broker: Broker, messages: Sequence[Outgoing], before: Schedule, after: Schedule | None
    ) -> bool:
        """Enqueue and advance in one step, if the queue is on the same server."""
        if broker.capabilities.transaction_domain != self.transaction_domain:
            return super().fire(broker, messages, before, after)
        then = ("", "", 0) if after is None else _words(after)
        arguments = (before.name, _packed(before), *then, *codec.words(messages))
        fire = script("put", "schedules", "schedule_fire", fills=True)
        return bool(self._link.run(fire, *arguments, doubt=codec.DOUBT))

    def close(self) -> None:
        """Let go of the connection."""
        self._link.close()

    def _readable(self, found: Sequence[bytes]) -> Iterator[Schedule]:
        """Yield the schedules of names and values in turn; what nobody can read becomes a dead letter."""
        for name, value in zip(found[::2], found[1::2], strict=True):
            try:
                schedule = self._read(name, value)
            except (msgspec.MsgspecError, ValueError, TypeError, AttributeError) as exc:
                _log.error("the schedule %r cannot be read and is a dead letter now: %s", name[:80], exc)
                self._link.run(script("schedules", "schedule_reject"), name, value)
            else:
                yield schedule

    def _read(self, name: bytes, value: bytes) -> Schedule:
        arguments = value[_SLOT.size :]
        try:
            schedule = self._decode(arguments)
        except msgspec.ValidationError:
            # in an earlier layout `declared` was not a module's name, only yes or no
            schedule = msgspec.convert({**msgspec.msgpack.decode(arguments), "declared": ""}, Schedule)
        if schedule.name.encode() != name:
            raise ValueError(f"it names itself {schedule.name!r}")
        packed = _packed(schedule)
        if packed != value and msgspec.msgpack.decode(arguments).keys() <= _FIELDS:
            # an earlier version wrote it: what is kept must be what `advance` will compare it with
            self._link.run(script("schedules", "schedule_renew"), schedule.name, value, packed)
        return schedule


def _packed(schedule: Schedule) -> bytes:
    return _SLOT.pack(schedule.next_run) + _encode(schedule)


def _words(schedule: Schedule) -> tuple[str, bytes, int]:
    fires = schedule.repeats != 0 and not schedule.fault
    return (schedule.name, _packed(schedule), int(fires))
