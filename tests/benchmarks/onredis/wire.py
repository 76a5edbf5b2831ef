"""A private Redis, and just enough of its protocol to ask it things."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType
    from typing import Self

#: Seconds the server has to come up.
_TIMEOUT: Final = 10.0


class Wire:
    """A connection that every environment can make, whatever client is installed there."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self._file = self._socket.makefile("rb")

    def ask(self, *words: str | int) -> Any:
        """Return what the server says to a command."""
        parts = [str(word).encode() for word in words]
        framed = [b"$%d\r\n%s\r\n" % (len(part), part) for part in parts]
        self._socket.sendall(b"*%d\r\n" % len(parts) + b"".join(framed))
        return self._answer()

    def _answer(self) -> Any:
        line = self._file.readline()
        kind, rest = line[:1], line[1:-2]
        if kind == b"-":
            raise OSError(rest.decode())
        if kind == b"+":
            return rest.decode()
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if rest == b"-1" else self._file.read(int(rest) + 2)[:-2].decode(errors="replace")
        if kind == b"*":
            return [self._answer() for _ in range(int(rest))]
        raise OSError(f"the server said {line!r}")

    def info(self, section: str) -> dict[str, str]:
        """Return a section of INFO."""
        lines = self.ask("INFO", section).splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)

    def processor(self) -> float:
        """Return the seconds of processor time the server has used."""
        told = self.info("cpu")
        return float(told["used_cpu_sys"]) + float(told["used_cpu_user"])

    def memory(self) -> int:
        """Return the bytes in use, buffers of connections left out."""
        told = self.info("memory")
        return int(told["used_memory"]) - int(told["mem_clients_normal"])

    def stored(self) -> int:
        """Return how many keys there are, fields of hashes counted one by one."""
        count, cursor = 0, "0"
        while True:
            cursor, keys = self.ask("SCAN", cursor, "COUNT", 1000)
            for key in keys:
                # a result has a key of its own or a field of a hash; either way it is counted
                count += self.ask("HLEN", key) if self.ask("TYPE", key) == "hash" else 1
            if cursor == "0":
                return count


class Server:
    """A Redis of our own that keeps nothing."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        program = shutil.which("redis-server")
        if program is None:
            raise OSError("there is no redis-server on PATH: apt install redis-server")
        self._process = subprocess.Popen(
            [program, "--bind", "127.0.0.1", "--port", str(self.port), "--save", "", "--appendonly", "no"],
            cwd=folder,
            stdout=subprocess.DEVNULL,
        )
        self._until_it_answers()

    def _until_it_answers(self) -> None:
        deadline = time.monotonic() + _TIMEOUT
        while True:
            try:
                Wire(self.port).ask("PING")
                return
            except OSError:
                if time.monotonic() > deadline:
                    self._process.kill()
                    raise
                time.sleep(0.01)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
