"""Decides how the runs of a schedule are checked in."""

from __future__ import annotations

import json
import re
import uuid
from typing import TYPE_CHECKING, Any, Final

from sentry_sdk.crons import MonitorStatus, capture_checkin

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qcore.model import TaskInfo
    from qcore_calendar.schedule import Schedule

#: the header that tells a worker how often its schedule fires
HEADER: Final = "sentry-monitor"
#: most characters of a monitor's name
_LONGEST: Final = 50
#: rules of one word, as number and unit
_INTERVALS: Final[Mapping[str, tuple[int, str]]] = {
    "hourly": (1, "hour"),
    "daily": (1, "day"),
    "weekly": (1, "week"),
    "biweekly": (2, "week"),
    "monthly": (1, "month"),
    "bimonthly": (2, "month"),
    "quarterly": (3, "month"),
    "yearly": (1, "year"),
}


def monitor_config(schedule: Schedule) -> dict[str, Any] | None:
    """Return how often Sentry has to expect a run, None if it cannot count so: its unit is the minute."""
    rule, zone = schedule.rule, schedule.time_zone
    if rule in _INTERVALS:
        value, unit = _INTERVALS[rule]
    elif found := re.fullmatch(r"every (\d+)", rule):
        seconds = int(found[1])
        if seconds % 60:
            return None
        value, unit = seconds // 60, "minute"
    elif len(rule.split()) == 5:
        return {"schedule": {"type": "crontab", "value": rule}, "timezone": zone}
    else:
        return None
    return {"schedule": {"type": "interval", "value": value, "unit": unit}, "timezone": zone}


def slug(schedule: str) -> str:
    """Return a schedule's name as Sentry takes it: lower-case letters, digits, `-` and `_`."""
    return re.sub(r"[^a-z0-9_-]+", "-", schedule.lower()).strip("-")[:_LONGEST] or "schedule"


def check_in(task: TaskInfo, status: str, duration: float | None = None) -> None:
    """Tell Sentry that a run of a schedule begins or ends.

    The id of a run is made from the task's, so that whoever sees a run end can say so: its worker or,
    if that died, the supervisor.
    """
    given = task.headers.get(HEADER, "")
    capture_checkin(
        monitor_slug=slug(task.schedule or ""),
        check_in_id=uuid.uuid5(uuid.NAMESPACE_OID, f"{task.id}:{task.attempt}").hex,
        status=status,
        duration=duration,
        monitor_config=json.loads(given) if given else None,
    )


IN_PROGRESS: Final = MonitorStatus.IN_PROGRESS
OK: Final = MonitorStatus.OK
ERROR: Final = MonitorStatus.ERROR
