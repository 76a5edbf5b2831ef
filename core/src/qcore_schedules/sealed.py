"""Decides how a whole schedule is sealed in its store."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import msgspec

from qcore.errors import BadSignature, EnvelopeError, MalformedMessage, UnknownKey
from qcore.interfaces import ScheduleStore
from qcore.messages.signing import KEY_ID_SIZE
from qcore.model import StoredSchedule
from qcore_calendar.schedule import Schedule

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from qcore.interfaces import Broker
    from qcore.messages.sealer import Sealer
    from qcore.model import Outgoing
    from qcore.runtime import Runtime

_log = logging.getLogger("qcore.scheduler")

#: First byte of a sealed schedule; it is signed too.
_LAYOUT: Final = b"\x03"
#: That of the layout which has `queue` for `cluster`: it is read, and sealed anew.
_BEFORE: Final = b"\x02"

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Schedule).decode
_decode_fields: Final = msgspec.msgpack.Decoder(dict[str, Any]).decode


class SealedSchedules:
    """The schedules of a store, each under one seal; used like its store by one thread.

    The store sees of a schedule its name, and by what it is found when it is due. All that decides
    what is fired and when is read from the sealed bytes, so who can write to the store alone cannot
    change it. What is written is sealed with the first key, whichever key sealed it before.
    """

    def __init__(self, store: ScheduleStore, sealer: Sealer, whence: str = "secret_key") -> None:
        self._whence = whence
        #: keeps the sealed rows
        self.store = store
        self._sealer = sealer
        #: what was read last, by name: another key may have sealed it
        self._read: dict[str, tuple[Schedule, StoredSchedule]] = {}
        self.transaction_domain = store.transaction_domain
        self.cross_process = store.cross_process

    def add(self, schedule: Schedule) -> bool:
        """Store a schedule unless there is one of the same name; return whether it was stored."""
        return self.store.add(self._sealed(schedule))

    def put(self, schedule: Schedule) -> None:
        """Store a schedule in the place of whatever is stored under its name."""
        while not self.add(schedule):
            self.remove(schedule.name)

    def remove(self, name: str) -> bool:
        """Remove a schedule, whatever its seal; return whether there was one."""
        return self.store.remove(name)

    def all(self) -> Sequence[Schedule]:
        """Return every schedule, by name; one that is not to be trusted is paused and has its `fault`."""
        found = []
        for row in self.store.all():
            try:
                found.append(self._open(row))
            except EnvelopeError as exc:
                found.append(
                    Schedule(name=row.name, task="", rule="", next_run=0.0, repeats=0, fault=str(exc))
                )
        return found

    def key_ids(self) -> list[bytes]:
        """Return the id of the key of each schedule, unverified."""
        return [row.body[1 : 1 + KEY_ID_SIZE] for row in self.store.all()]

    def reseal(self) -> tuple[int, int]:
        """Seal with the first key what another one sealed; return how many, and how many no key opens."""
        done = failed = 0
        for row in self.store.all():
            if row.body[: 1 + KEY_ID_SIZE] == _LAYOUT + self._sealer.key_id:
                continue
            try:
                schedule = self._open(row)
            except EnvelopeError:
                failed += 1
                continue
            # One that fires meanwhile is sealed with the first key by that.
            self.store.advance(row, self._sealed(schedule))
            done += 1
        return done, failed

    def get(self, name: str) -> Schedule | None:
        """Return the schedule of this name, None if there is none.

        Raises:
            BadSignature: it was altered, or belongs to another schedule or name.
            MalformedMessage: its layout is unknown.
            UnknownKey: it is sealed with a key that is not configured.

        """
        row = self.store.get(name)
        if row is None:
            return None
        schedule = self._open(row)
        self._read = {name: (schedule, row)}
        return schedule

    def claim_due(
        self,
        now: float,
        limit: int,
        hold: float,
        refused: Callable[[StoredSchedule, EnvelopeError], None] | None = None,
    ) -> Sequence[Schedule]:
        """Claim due schedules for `hold` seconds, the longest due first.

        Args:
            now: epoch seconds.
            limit: how many at most.
            hold: seconds.
            refused: called with each that is not to be trusted; the others are returned.

        """
        seen: set[str] = set()
        # Rows that are not to be trusted must not hide those behind them.
        while rows := [row for row in self.store.claim_due(now, limit, hold) if row.name not in seen]:
            seen.update(row.name for row in rows)
            self._read = {}
            for row in rows:
                try:
                    schedule = self._open(row)
                except EnvelopeError as exc:
                    self._refuse(row, exc)
                    if refused is not None:
                        refused(row, exc)
                    continue
                if schedule.next_run <= now and _active(schedule):
                    self._read[row.name] = (schedule, row)
                else:
                    _log.warning("schedule %r is stored as due, but it is not; this is put right", row.name)
                    self.store.advance(row, self._sealed(schedule))
            if self._read:
                return [schedule for schedule, _ in self._read.values()]
        return ()

    def advance(self, before: Schedule, after: Schedule | None) -> bool:
        """Replace a schedule by `after`, or remove it, if `before` is still what is stored."""
        return self.store.advance(self._row(before), None if after is None else self._sealed(after))

    def fire(
        self,
        broker: Broker,
        messages: Sequence[Outgoing],
        before: Schedule,
        after: Schedule | None,
        *,
        one_step: bool = True,
    ) -> bool:
        """Enqueue the messages of a slot and advance its schedule.

        Args:
            broker: for the messages.
            messages: of the slots.
            before: the schedule as it was claimed.
            after: its next state, None = it is removed.
            one_step: whether the messages are for the schedule's own cluster.

        """
        row, then = self._row(before), None if after is None else self._sealed(after)
        if one_step:
            return self.store.fire(broker, messages, row, then)
        return ScheduleStore.fire(self.store, broker, messages, row, then)

    def close(self) -> None:
        """Close the store's connections."""
        self.store.close()

    # -- rows -----------------------------------------------------------------------------------

    def _row(self, before: Schedule) -> StoredSchedule:
        """Return the row of a schedule as it was read, or as it would be written."""
        schedule, row = self._read.get(before.name, (None, None))
        return row if row is not None and schedule == before else self._sealed(before)

    def _sealed(self, schedule: Schedule) -> StoredSchedule:
        name = schedule.name
        body = _LAYOUT + self._sealer.seal(_LAYOUT + name.encode(), _encode(schedule))
        return StoredSchedule(name, body, schedule.next_run, _active(schedule))

    def _open(self, row: StoredSchedule) -> Schedule:
        what_to_do = "create it again, or delete it"
        layout = row.body[:1]
        if layout not in {_LAYOUT, _BEFORE}:
            msg = f"schedule {row.name!r} is not sealed as this version of qcore seals them; {what_to_do}"
            raise MalformedMessage(msg)
        try:
            data = self._sealer.open(layout + row.name.encode(), row.body[1:])
        except UnknownKey as exc:
            msg = (
                f"schedule {row.name!r} is sealed with a key that is not in secret_key, and this process has "
                f"its key from {self._whence}; add that key, or {what_to_do}"
            )
            raise UnknownKey(msg) from exc
        except BadSignature as exc:
            msg = f"schedule {row.name!r} was altered by something other than qcore; {what_to_do}"
            raise BadSignature(msg) from exc
        try:
            if layout == _LAYOUT:
                return _decode(data)
            fields = _decode_fields(data)
            return msgspec.convert(fields | {"cluster": fields.get("queue", "")}, Schedule)
        except (msgspec.MsgspecError, ValueError) as exc:
            msg = f"schedule {row.name!r} is of an unknown version of qcore ({exc}); {what_to_do}"
            raise MalformedMessage(msg) from exc

    def _refuse(self, row: StoredSchedule, error: EnvelopeError) -> None:
        """Keep a schedule from being found again; during a key rotation another cluster may read it."""
        if not isinstance(error, UnknownKey):
            # Its bytes stay, so that `all` can say what is wrong with it.
            self.store.advance(row, StoredSchedule(row.name, row.body, row.next_run, active=False))


def sealed(runtime: Runtime, store: ScheduleStore) -> SealedSchedules:
    """Return the schedules of a store of this queue."""
    return SealedSchedules(store, runtime.schedule_sealer, runtime.config.key_text)


@contextmanager
def stored_schedules(runtime: Runtime, *, create: bool = False) -> Iterator[SealedSchedules]:
    """Lend the schedules of a queue; `create` makes a queue where there is none."""
    with runtime.schedule_stores.connection(create=create) as store:
        yield sealed(runtime, store)


def _active(schedule: Schedule) -> bool:
    return schedule.repeats != 0 and not schedule.fault
