"""Which fields a schedule has."""

from __future__ import annotations

import attrs


@attrs.frozen(kw_only=True)
class Schedule:
    """A task that is enqueued again and again."""

    #: unique in the queue
    name: str
    #: dotted name of the function
    task: str
    #: encoded arguments and options
    body: bytes = b""
    #: cron expression, or `every N` seconds, or one of Django-Q's types
    rule: str
    time_zone: str = "UTC"
    #: epoch seconds of the next slot
    next_run: float
    #: epoch seconds of the slot that intervals and calendars count from
    anchor: float = 0.0
    #: slots left; -1 = no limit, 0 = paused
    repeats: int = -1
    #: slots it has left when it is resumed; 0 = none, it is done
    kept: int = 0
    catch_up: bool | None = None
    #: what is done while an earlier slot's task has not ended: `allow`, `skip`, or `queue` one
    overlap: str = "allow"
    #: seconds at most by which a slot's task is delayed, evenly spread
    jitter: float = 0.0
    #: name of the clusters that run its tasks; empty = those that fire it
    cluster: str = ""
    #: module that declares it in code; empty = made by hand
    declared: str = ""
    #: why it is skipped, empty while it works
    fault: str = ""
    #: the first slot it was created with: `@` and epoch seconds, or a wall clock's; empty = none given
    first: str = ""
