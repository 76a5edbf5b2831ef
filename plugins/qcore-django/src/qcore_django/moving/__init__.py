"""Moves what Django-Q has stored to this queue."""
