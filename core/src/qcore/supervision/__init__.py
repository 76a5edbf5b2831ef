"""The processes and threads around the workers."""
