"""The broker and the reporter fulfil the contracts of their interfaces."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest

from qcore.interfaces import Settings
from qcore_example import FileReporter, SpoolBroker, SpoolSettings
from qcore_testing import BrokerContract, ErrorReporterContract

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class TestSpoolBroker(BrokerContract):
    """SpoolBroker fulfils the contract of Broker."""

    @pytest.fixture
    def make(self, tmp_path: Path) -> Callable[..., SpoolBroker]:
        """Return a factory of brokers of one queue."""
        sections = {"spool": SpoolSettings(path=tmp_path)}
        return lambda name="kit", **fields: SpoolBroker(Settings(name=name, sections=sections, **fields))


class TestFileReporter(ErrorReporterContract):
    """FileReporter fulfils the contract of ErrorReporter."""

    @pytest.fixture
    def make(self, tmp_path: Path) -> Callable[..., FileReporter]:
        """Return a factory of reporters."""
        return partial(FileReporter, path=str(tmp_path / "failures.jsonl"))

    @pytest.fixture
    def received(self, tmp_path: Path) -> Callable[[], str]:
        """Return what reads the file."""
        return (tmp_path / "failures.jsonl").read_text
