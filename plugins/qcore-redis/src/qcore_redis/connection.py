"""What goes over one connection, and until when."""

from __future__ import annotations

import contextlib
import select
import socket
import time
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

import hiredis

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qcore_redis.scripts import Script

    Word = bytes | str | int | float
    #: a command as it is sent, in pieces
    Packed = tuple[bytes, ...]

#: bytes of room for the first piece of an answer, which is the whole of most: to get and return more memory
#: takes longer than the call of the server
_FIRST: Final = 16_384
#: bytes of room for each further piece, which is kept: a batch of messages comes in several
_PIECE: Final = 65_536
#: pieces sent at once, fewer than any system takes
_PIECES: Final = 512
#: by how much longer than what is left a call of the system may take: to set it anew is a call by itself
_EASE: Final = 1.05
#: seconds of silence after which a connection is looked at before something is sent
_SILENCE: Final = 0.01

# its own annotation takes tuples of one
pack: Callable[[tuple[Word, ...]], bytes] = hiredis.pack_command  # type: ignore[assignment]  # see above


def pack_set(key: bytes, value: bytes, milliseconds: int) -> Packed:
    """Return the command that stores a value for some time, without a copy of the value."""
    expiry = b"%d" % milliseconds
    return (
        b"*5\r\n$3\r\nSET\r\n$%d\r\n%b\r\n$%d\r\n" % (len(key), key, len(value)),
        value,
        b"\r\n$2\r\nPX\r\n$%d\r\n%b\r\n" % (len(expiry), expiry),
    )


class Connection:
    """An open connection; one thread speaks at a time.

    Commands go straight to the socket, for redis-py costs more per command than the server.
    """

    def __init__(self, made: socket.socket, disconnect: Callable[[], object]) -> None:
        self._socket = made
        #: not by TLS, which takes one piece at a time
        self._is_plain = type(made) is socket.socket
        #: seconds that each call of the system may take
        self._given = 0.0
        self._disconnect: Callable[[], object] | None = disconnect
        #: called once it is closed
        self.closed: Callable[[], object] | None = None
        self._reader = hiredis.Reader()
        self._room: memoryview | None = None
        self._poll = select.poll()
        self._poll.register(made, select.POLLIN)
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

    def ask(self, words: tuple[Word, ...], deadline: float, before: Sequence[Packed] = ()) -> Any:  # noqa: ANN401 - a reply of any kind
        """Send a command and return its reply, error replies too; of those `before` it nobody needs them.

        Raises:
            OSError: the connection broke, or the whole reply was not there at `deadline`; close it then.

        """
        self._limit_to(deadline)
        if before:
            self._send([*chain.from_iterable(before), pack(words)], deadline)
        else:
            self._socket.sendall(pack(words))
        while self._owed:
            if isinstance(self._read(deadline), hiredis.ReplyError):
                # the server has forgotten a script: the next one is not posted blindly
                self.known.clear()
            self._owed -= 1
        for _ in before:
            self._read(deadline)
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

    def _send(self, pieces: list[bytes | memoryview], deadline: float) -> None:
        """Send pieces as they are: to join large ones takes as long as to send them."""
        if not self._is_plain:
            self._socket.sendall(b"".join(pieces))
            return
        sent = self._socket.sendmsg(pieces[:_PIECES])
        left = sum(map(len, pieces)) - sent
        while left:
            self._limit_to(deadline)
            while sent >= len(pieces[0]):
                sent -= len(pieces.pop(0))
            pieces[0] = memoryview(pieces[0])[sent:]
            sent = self._socket.sendmsg(pieces[:_PIECES])
            left -= sent

    def _read(self, deadline: float) -> Any:  # noqa: ANN401 - as above
        reader = self._reader
        if (reply := reader.gets()) is False:
            self._limit_to(deadline)
            self._feed(self._socket.recv(_FIRST))
            while (reply := reader.gets()) is False:
                # it may come byte by byte, and the time is for all of them
                self._limit_to(deadline)
                self._room = self._room or memoryview(bytearray(_PIECE))
                self._feed(self._room[: self._socket.recv_into(self._room)])
        return reply

    def _feed(self, piece: bytes | memoryview) -> None:
        if not piece:
            raise ConnectionResetError("it closed the connection")
        self._reader.feed(piece)  # type: ignore[arg-type]  # its own annotation has fewer types than it takes

    def _limit_to(self, deadline: float) -> None:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        if not left <= self._given <= left * _EASE:
            self._given = left * (1 + _EASE) / 2
            self._socket.settimeout(self._given)
