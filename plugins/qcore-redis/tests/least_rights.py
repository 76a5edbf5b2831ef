"""A user with the rights that the page names, and with none but these."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any, Final

PAGE: Final = Path(__file__).parents[3] / "docs" / "how-to" / "use-redis.md"


def line(queue: str) -> list[str]:
    """Return the words of the page's command, for a queue."""
    found = re.search(r"ACL SETUSER orders (?:.*\\\n)*.*", PAGE.read_text(encoding="utf-8"))
    assert found, "the page names the rights"
    return shlex.split(found[0].replace("\\\n", " ").replace("qcore:orders", f"qcore:{queue}"))


def allow(server: Any, queue: str) -> dict[str, str]:
    """Make the user of the page, and return how to log in."""
    words = line(queue)
    (password,) = (word[1:] for word in words if word.startswith(">"))
    with server.client() as client:
        client.execute_command(*words)
    return {"username": "orders", "password": password}


def allow_also(server: Any, queue: str) -> None:
    """Let this user use another queue as well."""
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", "orders", f"~{{qcore:{queue}}}:*")
