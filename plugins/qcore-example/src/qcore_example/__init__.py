"""A broker and an error reporter made of files."""

from qcore_example.broker import SpoolBroker
from qcore_example.reporter import FileReporter
from qcore_example.settings import SpoolSettings

__all__ = ["FileReporter", "SpoolBroker", "SpoolSettings"]
