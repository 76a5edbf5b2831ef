"""How the stand-in for Disque is spoken to: RESP, second version."""

from __future__ import annotations

import asyncio
from typing import Any

from job import Refused, Status
from node import Node


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


async def serve(password: str) -> None:
    """Listen on a port of its own until it is killed."""
    node = Node(password)

    async def talk(reader: Client, writer: asyncio.StreamWriter) -> None:
        known: dict[str, Any] = {}
        try:
            while words := await read(reader):
                if words[0].upper() == b"QUIT":
                    writer.write(b"+OK\r\n")
                    await writer.drain()
                    return
                try:
                    reply = written(await _unless_gone(node.answer(words, known), reader))
                except Refused as exc:
                    reply = b"-" + str(exc).encode() + b"\r\n"
                writer.write(reply)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def client() -> asyncio.StreamReaderProtocol:
        return asyncio.StreamReaderProtocol(Client(), talk)  # type: ignore[arg-type]  # it hands on our reader

    server = await asyncio.get_running_loop().create_server(client, "127.0.0.1", 0)
    node.port = server.sockets[0].getsockname()[1]
    print(node.port, flush=True)
    await node.cron()


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


async def _unless_gone(answer: Any, client: Client) -> Any:
    """Answer, unless the client hangs up meanwhile: a blocked client that is gone takes no job."""
    task, gone = asyncio.ensure_future(answer), asyncio.ensure_future(client.gone.wait())
    await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
    gone.cancel()
    if not task.done():
        task.cancel()
        raise ConnectionResetError
    return task.result()
