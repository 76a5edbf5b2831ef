"""The scheduler: tasks are enqueued by the clock, each slot once."""
