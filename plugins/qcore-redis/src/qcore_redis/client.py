"""What a connection sends and reads, and when it is given up."""

from __future__ import annotations

import contextlib
import select
import time
from typing import TYPE_CHECKING, Any, Final

import hiredis

from qcore.errors import BackendRejected
from qcore_redis import error_mapping
from qcore_redis.parse_settings import find

if TYPE_CHECKING:
    from collections.abc import Callable
    from socket import socket

    from qcore_redis.address import Opened
    from qcore_redis.scripts import Script

#: bytes read at once: a batch of messages comes in few pieces
_PIECE: Final = 262_144
#: seconds of the shortest wait in the server: Redis 6.2 cuts 0.001 down to 0, which is without end
SHORTEST: Final = 0.002
#: seconds of silence after which a connection is looked at before something is sent
_SILENCE: Final = 0.01

# its own annotation takes tuples of one
_pack: Callable[[tuple[bytes | str | int | float, ...]], bytes] = hiredis.pack_command  # type: ignore[assignment]  # see above


class Client:
    """A connection that is made when it is needed, and anew after it was lost.

    Nothing is sent twice: who calls knows what may be repeated. Commands go straight to the socket,
    for redis-py costs more per command than the server.
    """

    def __init__(self, section: object, key: bytes) -> None:
        self.place = find(section)
        #: the key by which a cluster finds the server, and every script its others
        self._key = key
        # A script finds most of its keys itself, and a server that is moving them to another node would stop
        # it half-way at the first that is there. The second key never exists: while a slot is moved, a server
        # refuses a script that names a key it has not got, before the script begins.
        self._keys = (b"2", key, key + b"-")
        self._opened: Opened | None = None
        self._socket: socket
        self._reader: hiredis.Reader
        self._poll: select.poll
        #: when the last answer came
        self._answered = 0.0
        #: replies that are still to come and that nobody needs
        self._owed = 0
        #: scripts the server has taken
        self._known: set[Script] = set()
        self._plain = False
        self._closed = False

    # -- asking -----------------------------------------------------------------------------

    def call(self, *words: bytes | str | float, doubt: str = "") -> Any:  # noqa: ANN401 - a reply of any kind
        """Send a command and return its reply."""
        return self._checked(self._follow(words, self.place.timeout, doubt))

    def block(self, *words: bytes | str | float, seconds: float) -> Any:  # noqa: ANN401 - as above
        """Send a command that waits up to `seconds` in the server."""
        return self._checked(self._follow(words, seconds + self.place.timeout, ""))

    def run(self, script: Script, *words: bytes | str | float, doubt: str = "") -> Any:  # noqa: ANN401 - as above
        """Run a script, loading it into a server that does not know it."""
        form = script.plain if self._plain else script.flagged
        reply = self._follow((b"EVALSHA", form.sha, *self._keys, *words), self.place.timeout, doubt)
        if isinstance(reply, hiredis.ReplyError) and str(reply).startswith("NOSCRIPT"):
            # it was not run: asking once more doubles nothing
            form = self._load(script)
            reply = self._follow((b"EVALSHA", form.sha, *self._keys, *words), self.place.timeout, doubt)
        return self._checked(reply)

    def post(self, script: Script, *words: bytes | str | float) -> None:
        """Run a script whose reply nobody needs; it is read with the next one."""
        form = script.plain if self._plain else script.flagged
        if self._opened is None:
            return
        if script not in self._known:
            self.run(script, *words)
            self._known.add(script)
            return
        try:
            self._socket.sendall(_pack((b"EVALSHA", form.sha, *self._keys, *words)))
            self._owed += 1
        except BaseException as exc:
            self.drop()
            if not isinstance(exc, OSError):
                raise

    def drop(self) -> None:
        """Give the connection up: what it would still say belongs to no question."""
        opened, self._opened = self._opened, None
        if opened is not None:
            with contextlib.suppress(OSError):
                opened.close()

    def close(self) -> None:
        """Give it up for good."""
        self.drop()
        self._closed = True

    def __del__(self) -> None:
        # a producer may be forgotten by whoever made it
        if hasattr(self, "_opened"):
            self.drop()

    # -- the connection ---------------------------------------------------------------------

    def _open(self) -> None:
        if self._is_there():
            return
        if self._closed:
            raise BackendRejected(
                f"this connection to redis at {self.place.title} was closed; make a new one"
            )
        opened = self.place.open(self._key)
        self._socket = opened.socket
        self._reader = hiredis.Reader()
        self._poll = select.poll()
        self._poll.register(opened.socket, select.POLLIN)
        self._answered = time.monotonic()
        self._owed = 0
        self._known.clear()
        self._opened = opened

    def _is_there(self) -> bool:
        """Return whether it may be used; one that was closed in silence would swallow what is sent."""
        if self._opened is None:
            return False
        if self._owed or time.monotonic() - self._answered < _SILENCE or not self._poll.poll(0):
            return True
        # nobody owes us anything: what can be read now is its end
        self.drop()
        return False

    def _exchange(self, words: tuple[bytes | str | int | float, ...], timeout: float, doubt: str) -> Any:  # noqa: ANN401 - as above
        self._open()
        try:
            self._socket.settimeout(timeout)
            self._socket.sendall(_pack(words))
            while self._owed:
                if isinstance(self._read(), hiredis.ReplyError):
                    # the server has forgotten a script: the next one is not posted blindly
                    self._known.clear()
                self._owed -= 1
            reply = self._read()
            self._answered = time.monotonic()
        except OSError as exc:
            self.drop()
            raise error_mapping.lost(exc, self.place.title, doubt=doubt) from exc
        except BaseException:
            # a signal came in the middle of an answer
            self.drop()
            raise
        if isinstance(reply, hiredis.ReplyError) and error_mapping.is_moved(reply):
            self.drop()
            self.place.forget()
        return reply

    def _follow(self, words: tuple[bytes | str | int | float, ...], timeout: float, doubt: str) -> Any:  # noqa: ANN401 - as above
        """Ask, and once more where a cluster says that the queue is with another node by now."""
        reply = self._exchange(words, timeout, doubt)
        if isinstance(reply, hiredis.ReplyError) and str(reply).startswith("MOVED "):
            reply = self._exchange(words, timeout, doubt)
        return reply

    def _read(self) -> Any:  # noqa: ANN401 - as above
        reader = self._reader
        reply = reader.gets()
        while reply is False:
            piece = self._socket.recv(_PIECE)
            if not piece:
                raise ConnectionResetError("it closed the connection")
            reader.feed(piece)
            reply = reader.gets()
        return reply

    def _checked(self, reply: Any) -> Any:  # noqa: ANN401 - as above
        if isinstance(reply, hiredis.ReplyError):
            raise error_mapping.refused(reply, self.place.title) from None
        return reply

    def _load(self, script: Script) -> Any:  # noqa: ANN401 - a form
        reply = self._exchange((b"SCRIPT", b"LOAD", script.flagged.text), self.place.timeout, "")
        if isinstance(reply, hiredis.ReplyError) and "compil" in str(reply):
            # Redis 6.2 knows no flags
            reply = self._exchange((b"SCRIPT", b"LOAD", script.plain.text), self.place.timeout, "")
            self._checked(reply)
            self._plain = True
            return script.plain
        self._checked(reply)
        self._plain = False
        return script.flagged
