"""How the stand-in for Disque is spoken to: RESP, second version, a port for each node."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from clock import Clock
from job import Refused, Status
from node import CRON, Node


def written(reply: Any) -> bytes:
    """Return a reply as it is sent, in the second version of the protocol."""
    if reply is None:
        return b"*-1\r\n"
    if isinstance(reply, Status):
        return b"+" + bytes(reply) + b"\r\n"
    if isinstance(reply, int):
        return b":%d\r\n" % reply
    if isinstance(reply, bytes):
        return b"$%d\r\n%s\r\n" % (len(reply), reply)
    return b"*%d\r\n" % len(reply) + b"".join(written(one) for one in reply)


async def read(reader: asyncio.StreamReader) -> list[bytes]:
    """Read one command."""
    head = await reader.readuntil(b"\r\n")
    if not head.startswith(b"*"):
        return head.split()
    words = []
    for _ in range(int(head[1:])):
        size = int((await reader.readuntil(b"\r\n"))[1:])
        words.append((await reader.readexactly(size + 2))[:-2])
    return words


class Client(asyncio.StreamReader):
    """What a client sends, and whether it is still there."""

    def __init__(self) -> None:
        super().__init__(limit=1 << 26)
        self.gone = asyncio.Event()

    def feed_eof(self) -> None:
        """Take note that it hung up."""
        super().feed_eof()
        self.gone.set()

    def set_exception(self, exc: BaseException) -> None:
        """Take note that the line is cut."""
        super().set_exception(exc)
        self.gone.set()


class Listener:
    """A node's port: it can be closed, with all who talk there, and opened again."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def open(self) -> None:
        """Listen, at the same port as before."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._client, "127.0.0.1", self._node.port)
        self._node.port = self._server.sockets[0].getsockname()[1]
        self._node.up = True

    def close(self) -> None:
        """Refuse connections and cut those there are: the node is down, and what it held is lost."""
        self._node.up = False
        if self._server is not None:
            self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()
        self._node.forget_all()

    def _client(self) -> asyncio.StreamReaderProtocol:
        return asyncio.StreamReaderProtocol(Client(), self._talk)  # type: ignore[arg-type]  # it hands on our reader

    async def _talk(self, reader: Client, writer: asyncio.StreamWriter) -> None:
        known: dict[str, Any] = {}
        self._writers.add(writer)
        try:
            while words := await read(reader):
                if words[0].upper() == b"QUIT":
                    writer.write(b"+OK\r\n")
                    await writer.drain()
                    return
                try:
                    reply = written(await _unless_gone(self._node.answer(words, known), reader))
                except Refused as exc:
                    reply = b"-" + str(exc).encode() + b"\r\n"
                writer.write(reply)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()


async def serve(count: int, speed: float, password: str, *, obeys: bool) -> None:
    """Run a cluster until it is killed; where it obeys, a line of its input takes a node down or up."""
    clock = Clock(speed)
    nodes = [Node(number, clock, password) for number in range(count)]
    for node in nodes:
        node.nodes = list(nodes)
    listeners = [Listener(node) for node in nodes]
    for listener in listeners:
        await listener.open()
    print(*(node.port for node in nodes), flush=True)
    orders = asyncio.create_task(_obey(listeners)) if obeys else asyncio.get_running_loop().create_future()
    while not orders.done():
        for node in nodes:
            if node.up:
                node.cron()
        await asyncio.sleep(CRON / speed)


async def _obey(listeners: list[Listener]) -> None:
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
    while line := await reader.readline():
        number, how = line.split()
        if how == b"up":
            await listeners[int(number)].open()
        else:
            listeners[int(number)].close()
        print("done", flush=True)


async def _unless_gone(answer: Any, client: Client) -> Any:
    """Answer, unless the client hangs up meanwhile: a blocked client that is gone takes no job."""
    task, gone = asyncio.ensure_future(answer), asyncio.ensure_future(client.gone.wait())
    await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
    gone.cancel()
    if not task.done():
        task.cancel()
        raise ConnectionResetError
    return task.result()
