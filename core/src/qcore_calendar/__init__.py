"""The calendar of schedules: rules, time zones and slots, without a queue."""

import qcore  # noqa: F401 - first, because it imports this package, whose errors are qcore's
