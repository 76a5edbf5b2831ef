"""Shared memory with a cell for each thing that is held."""
