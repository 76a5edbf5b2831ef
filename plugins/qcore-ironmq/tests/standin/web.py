"""How the stand-in for IronMQ is spoken to: paths, bodies, answers."""

from __future__ import annotations

import json
import select
import socket
import time
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from clock import Clock
from queues import Queue, Refused

TOKEN = "token-of-the-tests"
PROJECT = "5000000000000000000000aa"


class Service:
    """All queues."""

    def __init__(self, least: int, speed: float) -> None:
        self.least = least
        self.clock = Clock(speed)
        self.queues: dict[str, Queue] = {}
        #: answers to give instead: method and end of path, status, whether it is done nevertheless, text
        self.faults: list[dict[str, Any]] = []
        self.requests = 0

    def queue(self, name: str, *, make: bool = False) -> Queue:
        """Return a queue."""
        if name not in self.queues:
            if not make:
                raise Refused(404, "Queue not found")
            self.queues[name] = Queue(name, self.least, self.clock)
        return self.queues[name]

    def put(self, name: str, told: dict[str, Any]) -> dict[str, Any]:
        """Make or change a queue; one that is refused is not made."""
        queue = self.queues.get(name) or Queue(name, self.least, self.clock)
        shown = queue.configure(told)
        self.queues.setdefault(name, queue)
        return shown

    def listed(self, query: dict[str, str]) -> list[dict[str, str]]:
        """Return the names of some queues."""
        count = int(query.get("per_page", "30"))
        if not 1 <= count <= 100:
            raise Refused(400, "per_page must be between 1 and 100")
        prefix, previous = query.get("prefix", ""), query.get("previous", "")
        names = sorted(name for name in self.queues if name.startswith(prefix) and name > previous)
        return [{"name": name} for name in names[:count]]


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    # head and body are two writes
    disable_nagle_algorithm = True
    service: Service

    def answer(self) -> None:
        """Answer a request."""
        parts = urlsplit(self.path)
        size = int(self.headers.get("Content-Length") or 0)
        text = self.rfile.read(size) if size else b""
        if len(text) < size:
            # who was killed amid his request asked for nothing: a delete without ids clears the queue
            self.close_connection = True
            return
        try:
            told = json.loads(text) if text.strip() else {}
            status, reply = self.route(parts.path, parse_qs(parts.query), told)
        except Refused as exc:
            status, reply = exc.status, {"msg": exc.msg}
        except (ValueError, KeyError, TypeError):
            status, reply = 400, {"msg": "Bad request"}
        if status == 0:
            # somebody cut the line
            self.close_connection = True
            return
        data = reply.encode() if isinstance(reply, str) else json.dumps(reply).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def __getattr__(self, name: str) -> Any:
        """Answer every method in the same way."""
        if name.startswith("do_"):
            return self.answer
        raise AttributeError(name)

    def route(self, path: str, query: dict[str, list[str]], told: dict[str, Any]) -> tuple[int, Any]:
        """Return status and answer."""
        if path == "/faults":
            self.service.faults.append(told)
            return 200, {}
        if path == "/clock":
            self.service.clock.advance(told["seconds"])
            return 200, {}
        if path == "/requests":
            return 200, {"requests": self.service.requests}
        self.service.requests += 1
        if self.headers.get("Authorization") != f"OAuth {TOKEN}":
            raise Refused(401, "Invalid project/token combination")
        before = f"/3/projects/{PROJECT}/queues/"
        if (self.command, path) == ("GET", before.rstrip("/")):
            return 200, {"queues": self.service.listed({key: values[0] for key, values in query.items()})}
        if not path.startswith(before):
            raise Refused(404, "Not found")
        name, *rest = path[len(before) :].split("/")
        at = f"{self.command} {'/'.join(rest)}"
        fault = next((one for one in self.service.faults if one["at"] == at), None)
        if fault is None:
            return self.act(unquote(name), rest, query, told)
        self.service.faults.remove(fault)
        if fault["done"]:
            self.act(unquote(name), rest, query, told)
        return fault["status"], fault["text"]

    def act(
        self, name: str, rest: list[str], query: dict[str, list[str]], told: dict[str, Any]
    ) -> tuple[int, Any]:
        """Do what is asked of a queue."""
        queue = self.service.queue
        match self.command, rest:
            case "GET", []:
                return 200, {"queue": queue(name).shown()}
            case "PUT", []:
                return 201, {"queue": self.service.put(name, told.get("queue", {}))}
            case "PATCH", []:
                return 200, {"queue": queue(name).configure(told["queue"])}
            case "DELETE", []:
                self.service.queues.pop(queue(name).name)
                return 200, {"msg": "Deleted"}
            case "POST", ["messages"]:
                ids = queue(name, make=True).post(told.get("messages", []))
                return 201, {"ids": ids, "msg": "Messages put on queue."}
            case "GET", ["messages"]:
                return 200, {"messages": queue(name).peek(int(query.get("n", ["1"])[0]))}
            case "DELETE", ["messages"]:
                return self.remove(queue(name), told)
            case "POST", ["reservations"]:
                return 200, {"messages": self.reserve(queue(name), told)}
            case "GET", ["messages", id_]:
                return 200, {"message": queue(name).find(id_).shown()}
            case "DELETE", ["messages", id_]:
                queue(name).delete(id_, told.get("reservation_id"))
                return 200, {"msg": "Deleted"}
            case "POST", ["messages", id_, "touch"]:
                found = queue(name).touch(id_, told["reservation_id"], told.get("timeout"))
                return 200, {"reservation_id": found, "msg": "Touched"}
            case "POST", ["messages", id_, "release"]:
                queue(name).release(id_, told["reservation_id"], told.get("delay", 0))
                return 200, {"msg": "Released"}
        raise Refused(404, "Not found")

    def remove(self, queue: Queue, told: dict[str, Any]) -> tuple[int, Any]:
        """Remove some messages, or with nothing said all of them."""
        if not told:
            with queue.changed:
                queue.messages.clear()
            return 200, {"msg": "Cleared"}
        queue.delete_many(told["ids"])
        return 200, {"msg": "Deleted"}

    def reserve(self, queue: Queue, told: dict[str, Any]) -> list[dict[str, Any]]:
        """Reserve messages, waiting for the first as long as the client is there."""
        wait = told.get("wait", 0)
        if not 0 <= wait <= 30:
            raise Refused(400, "Wait must be between 0 and 30 seconds")
        end = time.monotonic() + wait
        while True:
            if self.hung_up():
                return []
            found = queue.reserve(told.get("n", 1), told.get("timeout"), delete=told.get("delete", False))
            left = end - time.monotonic()
            if found or left <= 0:
                return found
            with queue.changed:
                queue.changed.wait(min(left, 0.05))

    def hung_up(self) -> bool:
        """Return whether the client is gone: it is not given what it could not take."""
        readable, _, _ = select.select([self.connection], [], [], 0)
        return bool(readable) and not self.connection.recv(1, socket.MSG_PEEK)

    def log_message(self, *_: object) -> None:
        """Say nothing."""
