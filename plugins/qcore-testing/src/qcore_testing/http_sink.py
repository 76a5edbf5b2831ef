"""A server that records what an error reporter posts to it."""

from __future__ import annotations

import contextlib
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType
    from typing import Self

_T = TypeVar("_T")

#: Seconds that `until` waits at most.
_PATIENCE: Final = 45.0


class Posted(NamedTuple):
    """One request."""

    path: str
    headers: Mapping[str, str]
    body: bytes


class HttpSink:
    """A stand-in for a tracker that speaks HTTP, in threads of this process.

    `status` and `headers` are what it answers; while `holds` is set, it answers nothing.
    """

    def __init__(self, answer: bytes = b"{}") -> None:
        self.answer = answer
        self.status = 200
        self.headers: dict[str, str] = {}
        self.posted: list[Posted] = []
        self.holds = threading.Event()
        self._closed = threading.Event()
        sink = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                sink.posted.append(Posted(self.path, dict(self.headers.items()), body))
                while sink.holds.is_set() and not sink._closed.wait(0.05):
                    pass
                # a client that a test has ended waits for no answer
                with contextlib.suppress(ConnectionError):
                    self._answer()

            def _answer(self) -> None:
                self.send_response(sink.status)
                for name, value in {**sink.headers, "Content-Length": str(len(sink.answer))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(sink.answer)

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def host(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        """Be away: further connections are refused."""
        if not self._closed.is_set():
            self._closed.set()
            self._server.shutdown()
            self._server.server_close()

    def until(self, found: Callable[[], _T], what: str = "") -> _T:
        """Return what `found` returns as soon as it is true in the sense of `if`."""
        end = time.monotonic() + _PATIENCE
        while not (value := found()):
            if time.monotonic() > end:
                raise AssertionError(f"still waiting: {what}; posted so far: {len(self.posted)}")
            self._closed.wait(0.02) if not self._closed.is_set() else threading.Event().wait(0.02)
        return value
