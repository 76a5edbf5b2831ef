"""moto's SQS in a process of its own, made to err as the real one does.

`python server.py` prints the port it listens on, and its clock goes so many times as fast as the first
argument says. A GET of /state tells how often what was asked; a
POST of /state with a JSON object sets what is to go wrong, see `Wrongs`; /reset forgets everything.
A POST of /pass has the clock go forward by `seconds`, so that no test waits for delays and leases.

Where moto 5.2 is not as AWS (measured; AWS as its documentation has it), and what is done here:

- A message is deleted by an old receipt handle too. Here an old one deletes nothing, and with
  `late` it does: AWS says only that it may.
- The visibility of a message that is not leased can be changed. Here it is refused.
- Messages are handed out twice to threads that ask at the same instant. Here one asks at a time.
- Nothing is ever throttled, delivered twice or out of order; batches fail whole or not at all;
  there is no limit of leased messages. See `Wrongs`.
- Anybody may do anything; its own check of policies asks for actions such as sqs:SendMessageBatch,
  which AWS does not have. Here a request needs an action of the policy in the README.
- Empty bodies and forbidden characters are taken. Here they are refused.

Left as they are: a queue may be made anew within a minute of its end; a short look sees all
messages; the 12 hours of a lease are counted from when the message was sent; 43201 seconds are
taken for the visibility timeout of a queue; there are no move tasks; FIFO sends bear no number.
"""

from __future__ import annotations

import json
import random
import re
import socket
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field, fields
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import moto.sqs.models
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Reply = tuple[str, dict[str, Any]]


class Clock:
    """The time of the server, which tests have pass."""

    def __init__(self, speed: float) -> None:
        self.speed = speed
        self._began = time.time()
        #: seconds that have passed on request
        self.passed = 0.0

    def now(self) -> float:
        """Return epoch seconds."""
        return self._began + (time.time() - self._began) * self.speed + self.passed


CLOCK = Clock(float(sys.argv[1]) if len(sys.argv) > 1 else 1.0)
# moto asks its clock a hundred times for each message there is, by way of three datetimes: a request
# on a queue of 400 messages took 0.7 seconds, nearly all of it that
moto.sqs.models.unix_time_millis = lambda: CLOCK.now() * 1000

#: a batch needs the right to what it does
RIGHTS = re.compile(r'"(sqs:\w+)"')
README = Path(__file__).parents[1] / "README.md"
#: what a body may not hold
FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
RECEIPTS = {"DeleteMessage", "DeleteMessageBatch", "ChangeMessageVisibility", "ChangeMessageVisibilityBatch"}


def policy() -> list[str]:
    """Return the actions that the README's policy allows."""
    return RIGHTS.findall(README.read_text(encoding="utf-8"))


@dataclass
class Wrongs:
    """What is to go wrong, and what is allowed."""

    #: IAM's actions; any other request is denied. Resources are not checked
    allowed: list[str] = field(default_factory=policy)
    #: operation -> how often it is throttled; `*` stands for any
    throttle: dict[str, int] = field(default_factory=dict)
    #: operation -> [error code, HTTP status, how often]
    fail: dict[str, list[Any]] = field(default_factory=dict)
    #: batch operation -> how often its first and third entry fail for no reason
    partial: dict[str, int] = field(default_factory=dict)
    #: an old receipt handle deletes the message all the same
    late: bool = False
    #: how many messages are handed out twice
    twice: int = 0
    #: batches are stored in any order
    shuffle: bool = False
    #: most messages that may be leased
    cap: int = 120_000
    #: operation -> how often the connection ends once it is done, without an answer
    hangup: dict[str, int] = field(default_factory=dict)


@dataclass
class HeldMessage:
    """The last lease of a message."""

    handle: str
    until: float


class Server:
    """A WSGI application around moto's."""

    def __init__(self) -> None:
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._lock = threading.Lock()
        #: counts what was forgotten: a poll that began before takes nothing
        self._times_reset = 0
        self._reset()

    def _reset(self) -> None:
        self.wrongs = Wrongs()
        CLOCK.passed = 0.0
        self.asked: Counter[str] = Counter()
        #: message id -> its last lease
        self._held: dict[str, HeldMessage] = {}
        #: any handle ever given -> message id
        self._owner: dict[str, str] = {}
        self._deleted: set[str] = set()

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        """Answer a request."""
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        path = environ["PATH_INFO"]
        if path in {"/state", "/reset", "/pass"}:
            return self._respond(start, self._state(path, body))
        operation = environ.get("HTTP_X_AMZ_TARGET", "").rpartition(".")[2]
        told = json.loads(body or b"{}")
        with self._lock:
            self.asked[operation] += 1
            reply = self._wrong(operation)
        reply = reply or self._serve(operation, told, environ)
        if _spend(self.wrongs.hangup, operation):
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            raise ConnectionAbortedError
        return self._respond(start, reply)

    def _state(self, path: str, body: bytes) -> Reply:
        with self._lock:
            if path == "/pass":
                CLOCK.passed += json.loads(body)["seconds"]
                return "200 OK", {}
            if path == "/reset":
                self._moto_reset()
                self._times_reset += 1
                self._reset()
            for name, value in json.loads(body or b"{}").items():
                assert name in {one.name for one in fields(Wrongs)}
                setattr(self.wrongs, name, value)
            return "200 OK", {"asked": dict(self.asked), "left": vars(self.wrongs), "now": CLOCK.now()}

    def _moto_reset(self) -> None:
        self._ask_moto({"REQUEST_METHOD": "POST", "PATH_INFO": "/moto-api/reset"}, b"")

    def _wrong(self, operation: str) -> Reply | None:
        action = f"sqs:{operation.removesuffix('Batch')}"
        if operation and action not in self.wrongs.allowed:
            return error("AccessDeniedException", f"not authorized to perform: {action}", 403)
        for name in (operation, "*"):
            if _spend(self.wrongs.throttle, name):
                return error("ThrottlingException", "Rate exceeded")
            if (found := self.wrongs.fail.get(name)) and found[2]:
                found[2] -= 1
                return error(found[0], "told to fail", found[1])
        return None

    def _serve(self, operation: str, told: dict[str, Any], environ: dict[str, Any]) -> Reply:
        wait = told.pop("WaitTimeSeconds", 0) if operation == "ReceiveMessage" else 0
        end, times_reset = time.monotonic() + wait / CLOCK.speed, self._times_reset
        while True:
            with self._lock:
                if times_reset != self._times_reset:
                    return "200 OK", {}
                reply = self._do(operation, told, environ)
            if operation != "ReceiveMessage" or reply[1].get("Messages") or not reply[0].startswith("200"):
                return reply
            # asked by its whole stack, moto takes milliseconds to say that there is nothing
            while time.monotonic() < end:
                time.sleep(0.02)
                if self._something_is_visible(told):
                    break
            else:
                return reply

    def _something_is_visible(self, told: dict[str, Any]) -> bool:
        name = told.get("QueueUrl", "").rpartition("/")[2]
        with self._lock:
            regions = [
                region for account in moto.sqs.models.sqs_backends.values() for region in account.values()
            ]
            queues = [region.queues[name] for region in regions if name in region.queues]
            # what is not a queue is for moto to refuse
            return not queues or any(queue.messages for queue in queues)

    def _do(self, operation: str, told: dict[str, Any], environ: dict[str, Any]) -> Reply:
        failed: list[dict[str, Any]] = []
        done: list[dict[str, Any]] = []
        if operation == "ReceiveMessage" and self._leased() >= self.wrongs.cap:
            return error("OverLimit", "Too many messages in flight", 403)
        if operation in {"SendMessage", "SendMessageBatch"}:
            for entry in told.get("Entries", [told]):
                if not entry["MessageBody"] or FORBIDDEN.search(json.dumps(entry, ensure_ascii=False)):
                    return error("InvalidMessageContents", "forbidden characters")
        if "Entries" in told:
            if _spend(self.wrongs.partial, operation):
                failed = [_failed(one, "InternalError", sender=False) for one in told["Entries"][0:3:2]]
            if operation == "SendMessageBatch" and self.wrongs.shuffle:
                random.shuffle(told["Entries"])
        if operation in RECEIPTS:
            refused = self._receipts(operation, told, failed, done)
            if refused is not None:
                return refused
        out = {one["Id"] for one in failed + done}
        if "Entries" in told:
            told["Entries"] = [one for one in told["Entries"] if one["Id"] not in out]
            if not told["Entries"]:
                return "200 OK", {"Successful": done, "Failed": failed}
        reply = self._ask_moto(environ, json.dumps(told).encode())
        if reply[0].startswith("200"):
            self._note(operation, told, reply[1], environ)
            if "Entries" in told:
                reply[1]["Failed"] = reply[1].get("Failed", []) + failed
                reply[1]["Successful"] = reply[1].get("Successful", []) + done
        return reply

    def _receipts(
        self, operation: str, told: dict[str, Any], failed: list[dict[str, Any]], done: list[dict[str, Any]]
    ) -> Reply | None:
        """Refuse or ignore what AWS does not do with an old receipt handle."""
        skip = {one["Id"] for one in failed}
        for entry in told.get("Entries", [told]):
            if entry.get("Id") in skip:
                continue
            owner = self._owner.get(entry["ReceiptHandle"], "")
            held = self._held.get(owner)
            current = held is not None and held.handle == entry["ReceiptHandle"]
            if operation.startswith("Delete"):
                if owner and not current and not self.wrongs.late:
                    if "Entries" not in told:
                        return "200 OK", {}
                    done.append({"Id": entry["Id"]})
                continue
            if owner in self._deleted:
                code, text = "InvalidParameterValue", "Message does not exist or is not available"
            elif owner and held is not None and not (current and held.until > CLOCK.now()):
                code, text = "AWS.SimpleQueueService.MessageNotInflight", "The message is not in flight"
            else:
                continue
            if "Entries" not in told:
                return error(code, text)
            failed.append(_failed(entry, code, text))
        return None

    def _note(
        self, operation: str, told: dict[str, Any], answer: dict[str, Any], environ: dict[str, Any]
    ) -> None:
        now = CLOCK.now()
        for message in answer.get("Messages", []) if operation == "ReceiveMessage" else []:
            handle, owner = message["ReceiptHandle"], message["MessageId"]
            self._owner[handle] = owner
            self._held[owner] = HeldMessage(handle, now + float(told.get("VisibilityTimeout", 30)))
            if self.wrongs.twice > 0:
                self.wrongs.twice -= 1
                again = {"QueueUrl": told["QueueUrl"], "ReceiptHandle": handle, "VisibilityTimeout": 0}
                target = {"HTTP_X_AMZ_TARGET": "AmazonSQS.ChangeMessageVisibility"}
                self._ask_moto(environ | target, json.dumps(again).encode())
        refused = {one["Id"] for one in answer.get("Failed", [])}
        for entry in told.get("Entries", [told]) if operation in RECEIPTS else []:
            owner = self._owner.get(entry["ReceiptHandle"], "")
            if entry.get("Id") in refused:
                continue
            if operation.startswith("Delete"):
                self._deleted.add(owner)
                self._held.pop(owner, None)
            elif owner in self._held:
                self._held[owner].until = now + float(entry["VisibilityTimeout"])

    def _leased(self) -> int:
        now = CLOCK.now()
        return sum(held.until > now for held in self._held.values())

    def _ask_moto(self, environ: dict[str, Any], body: bytes) -> Reply:
        got: list[str] = []
        inner = {
            **_request(""),
            **environ,
            "wsgi.input": BytesIO(body),
            "CONTENT_LENGTH": str(len(body)),
        }
        data = b"".join(self._moto(inner, lambda status, *_: got.append(status)))
        return got[0], json.loads(data or b"{}")

    @staticmethod
    def _respond(start: Callable[..., Any], reply: Reply) -> Iterable[bytes]:
        status, told = reply
        data = json.dumps(told).encode()
        headers = [("Content-Type", "application/x-amz-json-1.0"), ("Content-Length", str(len(data)))]
        start(status, headers)
        return [data]


def _request(operation: str) -> dict[str, Any]:
    return {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": "/",
        "QUERY_STRING": "",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "127.0.0.1",
        "HTTP_X_AMZ_TARGET": f"AmazonSQS.{operation}",
        "HTTP_AUTHORIZATION": "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/sqs/aws4_request",
        "CONTENT_TYPE": "application/x-amz-json-1.0",
        "wsgi.url_scheme": "http",
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.version": (1, 0),
    }


def _spend(left: dict[str, int], name: str) -> bool:
    if left.get(name, 0) <= 0:
        return False
    left[name] -= 1
    return True


def _failed(
    entry: dict[str, Any], code: str, text: str = "told to fail", *, sender: bool = True
) -> dict[str, Any]:
    return {"Id": entry["Id"], "Code": code, "SenderFault": sender, "Message": text}


def error(code: str, text: str, status: int = 400) -> Reply:
    """Return what AWS answers with an error."""
    return f"{status} told", {"__type": f"com.amazonaws.sqs#{code}", "message": text}


class Handler(WSGIRequestHandler):
    """Keeps connections open and says nothing."""

    protocol_version = "HTTP/1.1"

    def date_time_string(self, timestamp: float | None = None) -> str:
        """Return the time of an answer."""
        return super().date_time_string(CLOCK.now() if timestamp is None else timestamp)

    def log(self, *args: Any) -> None:
        """Say nothing."""


if __name__ == "__main__":
    made = make_server("127.0.0.1", 0, Server(), threaded=True, request_handler=Handler)  # type: ignore[arg-type]  # a WSGI application
    print(made.server_port, flush=True)
    made.serve_forever()
