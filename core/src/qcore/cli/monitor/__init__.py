"""The screen of whoever watches a queue."""

from qcore.cli.monitor.verb import command

__all__ = ["command"]
