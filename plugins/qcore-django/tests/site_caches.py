"""Caches that a test watches or breaks."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from django.core.cache.backends.filebased import FileBasedCache


class Watched(FileBasedCache):
    """A cache in files; beside its folder `away` has it raise, and `full` has it drop what is written."""

    #: key -> seconds, None = for ever
    kept: ClassVar[dict[str, float | None]] = {}

    def set(self, key: str, value: Any, timeout: Any = None, version: int | None = None) -> None:
        """Write a value, and down for how long."""
        self._look()
        if not Path(f"{self._dir}.full").exists():
            self.kept[key] = timeout
            super().set(key, value, timeout, version)

    def get(self, key: str, default: Any = None, version: int | None = None) -> Any:
        """Read a value."""
        self._look()
        return super().get(key, default, version)

    def _look(self) -> None:
        if Path(f"{self._dir}.away").exists():
            msg = "connection refused"
            raise ConnectionError(msg)
