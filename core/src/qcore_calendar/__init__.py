"""The calendar of schedules: rules, time zones and slots, without a queue."""
