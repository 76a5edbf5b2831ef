"""Exports the broker and the error reporter that use files."""

from qcore_example.broker import SpoolBroker
from qcore_example.reporter import FileReporter
from qcore_example.settings import SpoolSettings

__all__ = ["FileReporter", "SpoolBroker", "SpoolSettings"]
