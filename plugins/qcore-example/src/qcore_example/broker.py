"""A queue in a folder: what each call does to its files."""

from __future__ import annotations

import errno
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from qcore.errors import BackendRejected, BackendUnavailable
from qcore.interfaces import Broker, Capabilities
from qcore.model import ID_AT, Action, DeadLetter, Delivery, QueueSize
from qcore_example.spool import DEAD_LETTERS, LEASED, REASONS, SECOND, WAITING, Name, Spool, token

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from qcore.interfaces import Settings
    from qcore.model import Outgoing, Settlement

#: obstacles that no later call will find gone
_LASTING = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ENAMETOOLONG})


class SpoolBroker(Broker):
    """Keeps each message as a file, for processes of one machine."""

    capabilities = Capabilities(
        receipts=True, extend=True, delay=True, counts_attempts=True, dead_letter=True, remove_messages=True
    )

    def __init__(self, settings: Settings) -> None:
        # a queue may be named `..`; a folder that begins with a word of ours may not
        self._folder = Path(settings.section("spool").path) / f"queue-{settings.name}"
        self._retry = settings.retry
        self._poll = settings.poll
        #: names seen in the last look at the folder and not tried yet, the next one last
        self._seen: list[str] = []
        with _in_words(self._folder):
            self._spool = Spool(self._folder)

    def enqueue(self, messages: Sequence[Outgoing]) -> None:
        """Write files; each appears in its folder whole."""
        now = time.time_ns()
        with _in_words(self._folder):
            for number, message in enumerate(messages):
                # a nanosecond apart, so that they stay in order
                due = now + number + int(max(0.0, message.delay) * SECOND)
                self._spool.write(WAITING, str(Name(due, token())), message.body)

    def lease(self, limit: int, wait: float) -> Sequence[Delivery]:
        """Move files to the leased ones, looking again every `poll` seconds."""
        deadline = time.monotonic() + wait
        with _in_words(self._folder):
            while not (taken := self._take(limit)):
                left = deadline - time.monotonic()
                if left <= 0:
                    break
                time.sleep(min(left, self._poll))
            return taken

    def settle(self, settlements: Sequence[Settlement]) -> None:
        """Move or remove the files of leases; the name of an ended lease leads nowhere."""
        with _in_words(self._folder):
            leased = frozenset(self._spool.names(LEASED))
            for settlement in settlements:
                receipt = settlement.receipt.decode("ascii", "replace")
                if receipt in leased:
                    self._settle(receipt, settlement)

    def extend(self, receipts: Sequence[bytes], seconds: float) -> None:
        """Set the time at which leases end."""
        with _in_words(self._folder):
            end = time.time_ns() + int(seconds * SECOND)
            leased = frozenset(self._spool.names(LEASED))
            for receipt in receipts:
                name = receipt.decode("ascii", "replace")
                if name in leased:
                    self._spool.set_end(LEASED, name, end)

    def size(self) -> QueueSize:
        """Count files."""
        with _in_words(self._folder):
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
        with _in_words(self._folder):
            self._take_back(time.time_ns())
            return sum(self._spool.remove(WAITING, name) for name in self._spool.names(WAITING))

    def remove_messages(self, ids: Sequence[bytes]) -> Sequence[bytes]:
        """Read the waiting files and remove those of these ids."""
        wanted = frozenset(ids)
        with _in_words(self._folder):
            self._take_back(time.time_ns())
            found = ((name, self._spool.read(WAITING, name)) for name in self._spool.names(WAITING))
            # whoever leases one in between moves it, and it is not ours to remove
            return [
                body for name, body in found if body[ID_AT] in wanted and self._spool.remove(WAITING, name)
            ]

    def dead_letters(self, limit: int = 100, after: str | None = None) -> Sequence[DeadLetter]:
        """Read dead letters; their names begin with the time."""
        with _in_words(self._folder):
            names = [name for name in self._spool.names(DEAD_LETTERS) if name > (after or "")]
            return [self._letter(name) for name in names[:limit]]

    def requeue(self, ids: Sequence[str]) -> int:
        """Move dead letters back, with counters at zero."""
        with _in_words(self._folder):
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
        with _in_words(self._folder):
            known = frozenset(self._spool.names(DEAD_LETTERS))
            found = [name for name in ids if name in known]
            removed = sum(self._spool.remove(DEAD_LETTERS, name) for name in found)
            self._forget_reasons(found)
            return removed

    def ping(self) -> None:
        """Look whether the folder is there."""
        if not self._folder.is_dir():
            raise BackendUnavailable(f"no folder {self._folder}; make it or mount it")

    def info(self) -> str:
        """Say which folder it is."""
        return f"spool folder {self._folder}"[:200]

    def close(self) -> None:
        """Do nothing: no file stays open."""

    # -- one message --------------------------------------------------------------------------

    def _take(self, limit: int) -> list[Delivery]:
        now = time.time_ns()
        self._take_back(now)
        taken: list[Delivery] = []
        looked = False
        while len(taken) < limit:
            if not self._seen or Name.read(self._seen[-1]).when > now:
                if looked:
                    break
                self._seen = self._spool.names(WAITING)[::-1]
                looked = True
                continue
            taken += self._lease_one(self._seen.pop(), now + int(self._retry * SECOND))
        return taken

    def _lease_one(self, name: str, end: int) -> Iterator[Delivery]:
        old = Name.read(name)
        new = old._replace(token=token(), deliveries=old.deliveries + 1)
        # before the move, for who looks between them must not find an old time; and after it,
        # for another who lost the race may have set its own time
        self._spool.set_end(WAITING, name, end)
        if self._spool.move(WAITING, name, LEASED, new):
            self._spool.set_end(LEASED, str(new), end)
            yield Delivery(
                body=self._spool.read(LEASED, str(new)),
                receipt=str(new).encode(),
                deliveries=new.deliveries,
                failures=new.failures,
                crashes=new.crashes,
            )

    def _take_back(self, now: int) -> None:
        for name in self._spool.ended(now):
            self._spool.move(LEASED, name, WAITING, Name.read(name)._replace(token=token()))

    def _settle(self, receipt: str, settlement: Settlement) -> None:
        old = Name.read(receipt)
        now = time.time_ns()
        later = now + int(max(0.0, settlement.delay) * SECOND)
        counted = old._replace(
            when=later, token=token(), failures=settlement.failures, crashes=settlement.crashes
        )
        if settlement.action is Action.ACK:
            self._spool.remove(LEASED, receipt)
        elif settlement.action is Action.RETRY:
            self._spool.move(LEASED, receipt, WAITING, counted)
        elif settlement.action is Action.RELEASE:
            # without delay it goes back to its old place
            when = later if settlement.delay > 0 else old.when
            new = old._replace(when=when, token=token(), deliveries=old.deliveries - 1)
            self._spool.move(LEASED, receipt, WAITING, new)
        else:
            letter = counted._replace(when=now)
            # the reason first: a dead letter without one would say nothing
            self._spool.write(REASONS, str(letter), settlement.reason.encode())
            if not self._spool.move(LEASED, receipt, DEAD_LETTERS, letter):
                self._forget_reasons([str(letter)])

    def _letter(self, name: str) -> DeadLetter:
        told = Name.read(name)
        return DeadLetter(
            id=name,
            body=self._spool.read(DEAD_LETTERS, name),
            reason=self._spool.read(REASONS, name).decode(),
            dead_since=told.when / SECOND,
            failures=told.failures,
            crashes=told.crashes,
        )

    def _forget_reasons(self, names: Sequence[str]) -> None:
        for name in names:
            self._spool.remove(REASONS, name)


@contextmanager
def _in_words(folder: Path) -> Iterator[None]:
    """Raise an obstacle as qcore's errors, saying which folder it is about."""
    try:
        yield
    except OSError as exc:
        if exc.errno in _LASTING:
            raise BackendRejected(f"cannot use the spool {folder}: {exc.strerror}; check its owner") from exc
        raise BackendUnavailable(f"cannot use the spool {folder}: {exc.strerror}") from exc
