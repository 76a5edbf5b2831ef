"""Shared memory between workers and their supervisor."""
