"""When tasks are enqueued by the clock."""
