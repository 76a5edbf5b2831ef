"""The screen for whoever watches a queue."""
