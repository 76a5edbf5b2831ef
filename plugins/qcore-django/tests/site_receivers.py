"""Receivers of a site, as one of its modules connects them."""

from __future__ import annotations

import json
import os
from typing import Any

from qcore_django import signals


def note(signal: Any, task: dict[str, Any] | None = None, proc_name: str = "", **_: Any) -> None:
    """Write down a signal."""
    name = next(name for name, one in vars(signals).items() if one is signal)
    said = [name, task["id"] if task else proc_name, task.get("success") if task else None]
    file = os.open(os.environ["SITE_NOTES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(file, f"{json.dumps(said)}\n".encode())
    os.close(file)


for name in ("pre_execute", "post_execute_in_worker", "post_execute", "post_spawn"):
    getattr(signals, name).connect(note)
