"""Which failures are reported, and how that holds up no task."""
