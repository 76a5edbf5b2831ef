"""Brokers that lack a capability and refuse what it is needed for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import msgspec

from qcore.errors import BackendUnavailable, NotSupported
from qcore.model import Action, QueueSize, Settlement
from qcore_sqlite import SqliteBroker

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qcore.interfaces import Settings
    from qcore.model import Delivery, Outgoing


class _Lacking(SqliteBroker):
    """SQLite without one of its capabilities."""

    def __init__(self, settings: Settings, **lacking: Any) -> None:
        super().__init__(settings)
        self.capabilities = attrs.evolve(self.capabilities, **lacking)

    def check(self, settlements: Sequence[Settlement]) -> None:
        """Raise NotSupported for what cannot be done."""

    def hand_out(self, deliveries: Sequence[Delivery]) -> Sequence[Delivery]:
        """Return deliveries as this broker knows them."""
        return deliveries

    def settle(self, settlements: Sequence[Settlement]) -> None:
        """Settle if all of it can be done."""
        self.check(settlements)
        super().settle(settlements)

    def lease(self, limit: int, wait: float) -> Sequence[Delivery]:
        """Lease."""
        return self.hand_out(super().lease(limit, wait))

    def commit_and_lease(self, store: Any, results: Any, settlements: Any, *args: Any) -> Any:
        """Commit if all of it can be done."""
        self.check(settlements)
        return self.hand_out(super().commit_and_lease(store, results, settlements, *args))


class NoStatus(_Lacking):
    """Keeps no status of clusters."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, cluster_status=False)

    def publish_status(self, cluster: str, body: bytes, ttl: float) -> None:
        """Keep nothing."""

    def statuses(self) -> Sequence[bytes]:
        """Know of no cluster."""
        return ()


class NoDeadLetters(_Lacking):
    """Redelivers, and keeps no dead letters."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, dead_letters=False)

    def check(self, settlements: Sequence[Settlement]) -> None:
        """Refuse dead letters."""
        if any(one.action is Action.DEAD_LETTER for one in settlements):
            raise NotSupported("this broker keeps no dead letters")


class NoDelays(_Lacking):
    """Delays nothing."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, delay=False, retry_delay=False)

    def check(self, settlements: Sequence[Settlement]) -> None:
        """Refuse delays."""
        if any(one.delay > 0 for one in settlements):
            raise NotSupported("this broker delays nothing")


class NoDelaysOrExtensions(NoDelays):
    """Delays nothing and renews no lease."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.capabilities = attrs.evolve(self.capabilities, extend=False)

    def extend(self, receipts: Sequence[bytes], seconds: float) -> None:
        """Refuse."""
        raise NotSupported("this broker renews no lease")


class NoCounters(_Lacking):
    """Forgets failures and crashes."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, stores_counters=False)

    def hand_out(self, deliveries: Sequence[Delivery]) -> Sequence[Delivery]:
        """Drop the counters, that of the deliveries too."""
        return [msgspec.structs.replace(one, deliveries=1, failures=0, crashes=0) for one in deliveries]


class NothingComesAgain(NoDeadLetters):
    """Hands a message out once, and keeps no dead letters."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.capabilities = attrs.evolve(self.capabilities, redelivers=False)


class CountsLittle(_Lacking):
    """Counts what is ready, and has no way to what is delayed."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, purges_delayed=False)

    def size(self) -> QueueSize:
        """Tell how many are ready."""
        return QueueSize(super().size().ready)


class NoReceipts(_Lacking):
    """Hands a message out and forgets it."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, redelivers=False, extend=False, dead_letters=False, delay=False)

    def hand_out(self, deliveries: Sequence[Delivery]) -> Sequence[Delivery]:
        """Remove what is handed out."""
        SqliteBroker.settle(self, [Settlement(one.receipt) for one in deliveries])
        return deliveries


class AcceptsThree(_Lacking):
    """Accepts three messages of a call and then breaks off."""

    def enqueue(self, messages: Sequence[Outgoing]) -> None:
        """Accept what it can, and say which messages those are."""
        super().enqueue(messages[:3])
        if len(messages) > 3:
            error = BackendUnavailable("the line broke")
            error.accepted = [one.id for one in messages[:3]]
            raise error


class LosesAnswers(_Lacking):
    """Settles, and answers only where there is no file that says otherwise."""

    def commit_and_lease(self, store: Any, results: Any, settlements: Any, *args: Any) -> Any:
        """Commit, and lose the answer to what a worker settles."""
        found = super().commit_and_lease(store, results, settlements, *args)
        muted = Path(os.environ["TEST_QCORE_MUTED"])
        if settlements and self.is_worker and muted.exists():
            with (muted.parent / "lost").open("a") as file:
                file.write("an answer\n")
            raise BackendUnavailable("the line broke after the call")
        return found

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.is_worker = bool(settings.owner)
