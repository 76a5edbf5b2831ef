"""Change a stored schedule that others may change at the same time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qcore.errors import BackendUnavailable, EnvelopeError

if TYPE_CHECKING:
    from collections.abc import Callable

    from qcore_calendar.schedule import Schedule
    from qcore_schedules.sealed import SealedSchedules

#: How often a change is made again because somebody else changed the schedule meanwhile.
_TRIES: Final = 20


def swap(
    store: SealedSchedules,
    name: str,
    change: Callable[[Schedule | None], Schedule | None],
    *,
    instead_of: tuple[type[EnvelopeError], ...] = (),
) -> tuple[Schedule | None, bool]:
    """Compare and swap one schedule; return what is stored then, and whether this call changed it.

    Args:
        store: of the schedule.
        name: of the schedule.
        change: is given the stored schedule, None if there is none, and returns the one to store,
            None to remove it, or the same to leave it alone. It is called again if somebody else
            changed the schedule meanwhile.
        instead_of: errors for which the stored schedule counts as none, and is replaced.

    Raises:
        BackendUnavailable: others change the schedule all the time.
        EnvelopeError: the stored schedule is not to be trusted.

    """
    for _ in range(_TRIES):
        try:
            before = store.get(name)
        except instead_of:
            after = change(None)
            if after is not None:
                store.put(after)
            return after, after is not None
        after = change(before)
        if after == before:
            return after, False
        if before is not None:
            if store.advance(before, after):
                return after, True
        elif after is not None and store.add(after):
            return after, True
    msg = f"schedule {name!r} is changed by others all the time; try again"
    raise BackendUnavailable(msg)
