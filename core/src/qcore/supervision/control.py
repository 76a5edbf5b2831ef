"""The channel between a supervisor and the program that started it."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any

import msgspec

from qcore.errors import StartFailed

if TYPE_CHECKING:
    import socket

    from qcore.supervision.supervisor import Supervisor

_log = logging.getLogger("qcore.cluster")


def serve(supervisor: Supervisor, control: socket.socket, parent: int) -> None:
    """Run a supervisor for the process at the other end of `control`, and stop when that process ends."""
    encoder = msgspec.json.Encoder()

    def send(**answer: object) -> None:
        try:
            control.sendall(encoder.encode(answer) + b"\n")
        except OSError as exc:
            _log.debug("the program that started the cluster has ended: %s", exc)

    def receive() -> None:
        try:
            data = control.recv(65536)
        except ConnectionResetError:
            # It ended with an answer unread.
            data = b""
        if not data:
            supervisor.unwatch(control)
            if watched is None:
                supervisor.stop()
            return
        for line in data.splitlines():
            request = msgspec.json.decode(line)
            if request["do"] == "status":
                send(status=supervisor.status(), number=request.get("number"))
            elif request["do"] == "stop":
                supervisor.stop(request.get("timeout"))

    def orphaned() -> None:
        if watched is not None:
            supervisor.unwatch(watched)
        _log.warning("the program that started the cluster (pid %d) has ended; the cluster stops", parent)
        supervisor.stop()

    # Only one of the two reports the end of the program, because a second stop ends running tasks.
    watched = os.pidfd_open(parent) if hasattr(os, "pidfd_open") else None
    supervisor.watch(control, receive)
    if watched is not None:
        supervisor.watch(watched, orphaned)
    try:
        supervisor.run(on_ready=lambda: send(ready=True))
    except StartFailed as exc:
        send(failed=str(exc))


class Control:
    """The program's end of the channel: one request, one answer, each a line of JSON."""

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self._pending = b""
        self._asked = 0
        #: whether the supervisor has closed its end
        self.has_ended = False

    def hand_over(self, data: bytes) -> None:
        """Send the new supervisor what it needs to run."""
        self._line.sendall(len(data).to_bytes(4, "big") + data)

    def ask(self, **what: object) -> None:
        """Send a request; if the supervisor has ended, its answer is missing."""
        try:
            self._line.sendall(msgspec.json.encode(what) + b"\n")
        except OSError as exc:
            _log.debug("the supervisor has just ended: %s", exc)

    def ask_status(self, seconds: float) -> dict[str, Any]:
        """Return the status, empty if there is none within `seconds` or the supervisor has ended."""
        self._asked += 1
        self.ask(do="status", number=self._asked)
        answer = self.answer(seconds)
        while answer and answer.get("number") != self._asked:
            # The supervisor did not answer in time once, and does so now.
            answer = self.answer(seconds)
        return answer

    def answer(self, seconds: float) -> dict[str, Any]:
        """Return the next answer, empty if there is none within `seconds` or the supervisor has ended."""
        self._line.settimeout(seconds)
        while b"\n" not in self._pending:
            try:
                data = self._line.recv(1 << 20)
            except TimeoutError:
                return {}
            except OSError:
                # It was killed with a request unread, or another thread has closed this end.
                data = b""
            if not data:
                self.has_ended = True
                return {}
            self._pending += data
        line, _, self._pending = self._pending.partition(b"\n")
        found: dict[str, Any] = msgspec.json.decode(line)
        return found

    def close(self) -> None:
        """Close the channel."""
        self._line.close()


def take_over(line: socket.socket) -> bytes:
    """Return what `Control.hand_over` sent, empty if the program has ended."""
    size = int.from_bytes(_exactly(line, 4), "big")
    return _exactly(line, size)


def _exactly(line: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = line.recv(size - len(data))
        if not part:
            return b""
        data += part
    return data
