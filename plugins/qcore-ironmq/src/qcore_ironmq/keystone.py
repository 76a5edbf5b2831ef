"""Decides which token a request bears where Keystone gives it out."""

from __future__ import annotations

import datetime as dt
import json
import time
from typing import TYPE_CHECKING, Any, Final

from qcore.errors import BackendRejected, BackendUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    import urllib3

#: what identifies a user of Keystone
WANTED: Final = ("server", "tenant", "username", "password")
#: seconds before its end that a token is no longer used
_EARLY: Final = 30.0
#: seconds a token is used whose end cannot be read
_SHORT: Final = 60.0


class Keystone:
    """Tokens of a Keystone server (identity API 2.0), each used until shortly before its end.

    The official client asks for them without a time limit, so this asks itself.
    """

    def __init__(self, given: dict[str, str]) -> None:
        self._given = given
        self._url = given["server"].rstrip("/") + "/tokens"
        self._token = ""
        self._until = 0.0

    def token(self, send: Callable[[str, bytes], urllib3.BaseHTTPResponse]) -> str:
        """Return a token, asked for by `send(url, body)` if there is none that lasts."""
        if not self._token or time.monotonic() >= self._until:
            self._token, lasts = self._ask(send)
            self._until = time.monotonic() + lasts
        return self._token

    def forget(self) -> None:
        """Ask anew the next time: a token was refused before its end."""
        self._token = ""

    def _ask(self, send: Callable[[str, bytes], urllib3.BaseHTTPResponse]) -> tuple[str, float]:
        user = {"username": self._given["username"], "password": self._given["password"]}
        body = {"auth": {"tenantName": self._given["tenant"], "passwordCredentials": user}}
        answer = send(self._url, json.dumps(body).encode())
        if answer.status in {401, 403}:
            raise BackendRejected(
                f"Keystone at {self._url} refuses tenant {self._given['tenant']!r} and user"
                f" {self._given['username']!r} (HTTP {answer.status}); see iron_mq.keystone"
            )
        if answer.status >= 500 or answer.status == 429:
            raise BackendUnavailable(f"Keystone at {self._url} asks to come again: HTTP {answer.status}")
        try:
            found = json.loads(answer.data)["access"]["token"]
            token = found["id"]
        except (ValueError, LookupError, TypeError, RecursionError):
            found, token = {}, None
        if not (isinstance(token, str) and token and token.isascii() and token.isprintable()):
            why = f"it gives no token (HTTP {answer.status})"
            given = f"what answers at {self._url} is not a Keystone: {why}; see iron_mq.keystone"
            raise BackendRejected(given)
        return token, max(0.0, _lasts(found) - _EARLY)


def _lasts(found: Any) -> float:  # noqa: ANN401 - what Keystone answers about a token
    """Return for how many seconds a token was given out, by Keystone's own clock."""
    try:
        issued, expires = (
            # one of the two may come without its zone: both are UTC
            dt.datetime.fromisoformat(found[key]).replace(tzinfo=dt.UTC)
            for key in ("issued_at", "expires")
        )
    except (ValueError, LookupError, TypeError):
        return _SHORT
    return (expires - issued).total_seconds()
