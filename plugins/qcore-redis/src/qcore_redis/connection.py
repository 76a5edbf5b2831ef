"""What goes over one connection, and until when."""

from __future__ import annotations

import contextlib
import select
import time
from typing import TYPE_CHECKING, Any, Final

import hiredis

if TYPE_CHECKING:
    from collections.abc import Callable
    from socket import socket

    from qcore_redis.scripts import Script

    Word = bytes | str | int | float

#: bytes read at once: a batch of messages comes in few pieces
_PIECE: Final = 262_144
#: seconds of silence after which a connection is looked at before something is sent
_SILENCE: Final = 0.01

# its own annotation takes tuples of one
pack: Callable[[tuple[Word, ...]], bytes] = hiredis.pack_command  # type: ignore[assignment]  # see above


class Connection:
    """An open connection; one thread speaks at a time.

    Commands go straight to the socket, for redis-py costs more per command than the server.
    """

    def __init__(self, socket: socket, disconnect: Callable[[], object]) -> None:
        self._socket = socket
        self._disconnect: Callable[[], object] | None = disconnect
        #: called once it is closed
        self.closed: Callable[[], object] | None = None
        self._reader = hiredis.Reader()
        self._poll = select.poll()
        self._poll.register(socket, select.POLLIN)
        #: when the last answer came
        self._answered = time.monotonic()
        #: replies that are still to come and that nobody needs
        self._owed = 0
        #: scripts that its server has taken
        self.known: set[Script] = set()

    def is_there(self) -> bool:
        """Return whether it may be used; one that was closed in silence would swallow what is sent."""
        if self._owed or time.monotonic() - self._answered < _SILENCE:
            return True
        # nobody owes us anything: what can be read now is its end
        return not self._poll.poll(0)

    def ask(self, words: tuple[Word, ...], deadline: float) -> Any:  # noqa: ANN401 - a reply of any kind
        """Send a command and return its reply, error replies too.

        Raises:
            OSError: the connection broke, or the whole reply was not there at `deadline`; close it then.

        """
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        self._socket.settimeout(left)
        self._socket.sendall(pack(words))
        while self._owed:
            if isinstance(self._read(deadline), hiredis.ReplyError):
                # the server has forgotten a script: the next one is not posted blindly
                self.known.clear()
            self._owed -= 1
        reply = self._read(deadline)
        self._answered = time.monotonic()
        return reply

    def post(self, words: tuple[Word, ...]) -> None:
        """Send a command whose reply nobody needs; it is read with the next one."""
        self._socket.sendall(pack(words))
        self._owed += 1

    def close(self) -> None:
        """Give it up: what it would still say belongs to no question."""
        disconnect, self._disconnect = self._disconnect, None
        if disconnect is None:
            return
        try:
            with contextlib.suppress(OSError):
                disconnect()
        finally:
            if self.closed is not None:
                self.closed()

    def __del__(self) -> None:
        # a signal may come just before it is in use, and a producer may be forgotten
        if hasattr(self, "_disconnect"):
            self.close()

    def _read(self, deadline: float) -> Any:  # noqa: ANN401 - as above
        reader = self._reader
        reply = reader.gets()
        while reply is False:
            piece = self._socket.recv(_PIECE)
            if not piece:
                raise ConnectionResetError("it closed the connection")
            reader.feed(piece)
            reply = reader.gets()
            if reply is False:
                # it may come byte by byte, and the time is for all of them
                self._limit_to(deadline)
        return reply

    def _limit_to(self, deadline: float) -> None:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        self._socket.settimeout(left)
