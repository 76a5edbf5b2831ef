"""Decides what each call of the broker does to files."""

from __future__ import annotations

import errno
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from qcore.errors import BackendRejected, BackendUnavailable
from qcore.interfaces import Broker, Capabilities
from qcore.model import ID_AT, Action, DeadLetter, Delivery, QueueSize
from qcore_example.spool import DEAD_LETTERS, LEASED, NS_PER_SECOND, REASONS, WAITING, Name, Spool, token

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from qcore.interfaces import Settings
    from qcore.model import Outgoing, Settlement

#: errors that do not pass by waiting
_PERMANENT = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ENAMETOOLONG})


class SpoolBroker(Broker):
    """Keeps each message in a file, for the processes of one machine."""

    capabilities = Capabilities(
        redelivers=True,
        extend=True,
        delay=True,
        stores_counters=True,
        dead_letters=True,
        remove_messages=True,
    )

    def __init__(self, settings: Settings) -> None:
        # with a prefix, because a queue may be named `..`
        self._folder = settings.section("spool").path / f"queue-{settings.name}"
        self._retry = settings.retry
        self._poll = settings.poll
        #: names from the last listing of the folder that were not tried yet, the next one last
        self._seen: list[str] = []
        with _mapping_errors(self._folder):
            self._spool = Spool(self._folder)

    def enqueue(self, messages: Sequence[Outgoing]) -> None:
        """Write files; each appears in its folder only when it is complete."""
        now = time.time_ns()
        with _mapping_errors(self._folder):
            for number, message in enumerate(messages):
                # one nanosecond apart, so that they stay in order
                due = now + number + int(max(0.0, message.delay) * NS_PER_SECOND)
                self._spool.write(WAITING, str(Name(due, token())), message.body)

    def lease(self, limit: int, wait: float) -> Sequence[Delivery]:
        """Move files to the folder `leased`; while none is ready, look again every `poll` seconds."""
        deadline = time.monotonic() + wait
        with _mapping_errors(self._folder):
            while not (deliveries := self._lease_ready(limit)):
                left = deadline - time.monotonic()
                if left <= 0:
                    break
                time.sleep(min(left, self._poll))
            return deliveries

    def settle(self, settlements: Sequence[Settlement]) -> None:
        """Move or remove leased files; the receipt of an expired lease names no file and changes nothing."""
        with _mapping_errors(self._folder):
            leased = frozenset(self._spool.names(LEASED))
            for settlement in settlements:
                receipt = settlement.receipt.decode("ascii", "replace")
                if receipt in leased:
                    self._settle(receipt, settlement)

    def extend(self, receipts: Sequence[bytes], seconds: float) -> None:
        """Set the time at which leases end, `seconds` from now."""
        with _mapping_errors(self._folder):
            end = time.time_ns() + int(seconds * NS_PER_SECOND)
            leased = frozenset(self._spool.names(LEASED))
            for receipt in receipts:
                name = receipt.decode("ascii", "replace")
                if name in leased:
                    self._spool.set_lease_end(LEASED, name, end)

    def size(self) -> QueueSize:
        """Count the files in each folder."""
        with _mapping_errors(self._folder):
            now = time.time_ns()
            waiting = [Name.read(name).when <= now for name in self._spool.names(WAITING)]
            return QueueSize(
                ready=sum(waiting),
                leased=len(self._spool.names(LEASED)),
                delayed=len(waiting) - sum(waiting),
                dead_letters=len(self._spool.names(DEAD_LETTERS)),
            )

    def purge(self) -> int:
        """Remove the waiting files."""
        with _mapping_errors(self._folder):
            self._release_expired(time.time_ns())
            return sum(self._spool.remove(WAITING, name) for name in self._spool.names(WAITING))

    def remove_messages(self, ids: Sequence[bytes]) -> Sequence[bytes]:
        """Read the waiting files and remove those of these ids."""
        wanted = frozenset(ids)
        with _mapping_errors(self._folder):
            self._release_expired(time.time_ns())
            found = ((name, self._spool.read(WAITING, name)) for name in self._spool.names(WAITING))
            # a file that another process leases meanwhile has a new name, so it is not removed
            return [
                body for name, body in found if body[ID_AT] in wanted and self._spool.remove(WAITING, name)
            ]

    def dead_letters(self, limit: int = 100, after: str | None = None) -> Sequence[DeadLetter]:
        """Return dead letters, oldest first: their file names begin with the time."""
        with _mapping_errors(self._folder):
            names = self._spool.names(DEAD_LETTERS)
            if after is not None:
                # behind one that is gone there is nothing, rather than all of them again
                names = names[names.index(after) + 1 :] if after in names else []
            return [self._dead_letter(name) for name in names[:limit]]

    def requeue(self, ids: Sequence[str]) -> int:
        """Move dead letters to the folder `waiting`, with all counters at 0."""
        with _mapping_errors(self._folder):
            known = frozenset(self._spool.names(DEAD_LETTERS))
            found = [name for name in ids if name in known]
            now = time.time_ns()
            moved = [
                self._spool.move(DEAD_LETTERS, name, WAITING, Name(now + number, token()))
                for number, name in enumerate(found)
            ]
            self._forget_reasons(found)
            return sum(moved)

    def delete(self, ids: Sequence[str]) -> int:
        """Remove dead letters and their reasons."""
        with _mapping_errors(self._folder):
            known = frozenset(self._spool.names(DEAD_LETTERS))
            found = [name for name in ids if name in known]
            removed = sum(self._spool.remove(DEAD_LETTERS, name) for name in found)
            self._forget_reasons(found)
            return removed

    def ping(self) -> None:
        """Check that the folder exists."""
        if not self._folder.is_dir():
            raise BackendUnavailable(f"the folder {self._folder} does not exist; create or mount it")

    def info(self) -> str:
        """Return which folder holds the queue."""
        return f"spool folder {self._folder}"[:200]

    def close(self) -> None:
        """Do nothing: no file stays open."""

    # -- one message --------------------------------------------------------------------------

    def _lease_ready(self, limit: int) -> list[Delivery]:
        now = time.time_ns()
        self._release_expired(now)
        deliveries: list[Delivery] = []
        looked = False
        while len(deliveries) < limit:
            if not self._seen or Name.read(self._seen[-1]).when > now:
                if looked:
                    break
                self._seen = self._spool.names(WAITING)[::-1]
                looked = True
                continue
            deliveries += self._lease_file(self._seen.pop(), now + int(self._retry * NS_PER_SECOND))
        return deliveries

    def _lease_file(self, name: str, end: int) -> Iterator[Delivery]:
        old = Name.read(name)
        new = old._replace(token=token(), deliveries=old.deliveries + 1)
        # Before the move, because a process that looks between the two must not find an old time. After
        # it as well, because another process that lost the race may have set its own time.
        self._spool.set_lease_end(WAITING, name, end)
        if self._spool.move(WAITING, name, LEASED, new):
            self._spool.set_lease_end(LEASED, str(new), end)
            yield Delivery(
                body=self._spool.read(LEASED, str(new)),
                receipt=str(new).encode(),
                deliveries=new.deliveries,
                failures=new.failures,
                crashes=new.crashes,
            )

    def _release_expired(self, now: int) -> None:
        for name in self._spool.expired(now):
            self._spool.move(LEASED, name, WAITING, Name.read(name)._replace(token=token()))

    def _settle(self, receipt: str, settlement: Settlement) -> None:
        old = Name.read(receipt)
        now = time.time_ns()
        later = now + int(max(0.0, settlement.delay) * NS_PER_SECOND)
        counted = old._replace(
            when=later, token=token(), failures=settlement.failures, crashes=settlement.crashes
        )
        if settlement.action is Action.ACK:
            self._spool.remove(LEASED, receipt)
        elif settlement.action is Action.RETRY:
            self._spool.move(LEASED, receipt, WAITING, counted)
        elif settlement.action is Action.RELEASE:
            # without a delay the message returns to its old position
            when = later if settlement.delay > 0 else old.when
            new = old._replace(when=when, token=token(), deliveries=old.deliveries - 1)
            self._spool.move(LEASED, receipt, WAITING, new)
        else:
            letter = counted._replace(when=now)
            # the reason is written first, so that no dead letter is ever without one
            self._spool.write(REASONS, str(letter), settlement.reason.encode(errors="backslashreplace"))
            if not self._spool.move(LEASED, receipt, DEAD_LETTERS, letter):
                self._forget_reasons([str(letter)])

    def _dead_letter(self, name: str) -> DeadLetter:
        name_fields = Name.read(name)
        return DeadLetter(
            id=name,
            body=self._spool.read(DEAD_LETTERS, name),
            reason=self._spool.read(REASONS, name).decode(),
            dead_since=name_fields.when / NS_PER_SECOND,
            failures=name_fields.failures,
            crashes=name_fields.crashes,
        )

    def _forget_reasons(self, names: Sequence[str]) -> None:
        for name in names:
            self._spool.remove(REASONS, name)


@contextmanager
def _mapping_errors(folder: Path) -> Iterator[None]:
    """Raise an OSError as one of qcore's errors that names the folder."""
    try:
        yield
    except OSError as exc:
        if exc.errno in _PERMANENT:
            raise BackendRejected(
                f"cannot use the spool {folder}: {exc.strerror}; check its owner and permissions"
            ) from exc
        raise BackendUnavailable(f"cannot use the spool {folder}: {exc.strerror}") from exc
