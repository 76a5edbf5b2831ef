"""The queues of the stand-in for IronMQ, by the rules of its version 3.

Not IronMQ: nobody can install that. What is reserved, released, touched and deleted follows the
reference of the HTTP interface: limits, errors, and that a message given back comes first.
"""

from __future__ import annotations

import secrets
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clock import Clock

#: of the service
LONGEST_LEASE, LONGEST_DELAY, MOST, LARGEST = 86_400, 604_800, 100, 256 * 1024
#: seconds a message is kept at most
LONGEST_LIFE = 2_592_000


class Refused(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, msg: str) -> None:
        super().__init__(msg)
        self.status = status
        self.msg = msg


class Message:
    """One message."""

    def __init__(self, body: str, delay: float, life: float, clock: Clock) -> None:
        self.clock = clock
        # 19 digits
        self.id = str(secrets.randbelow(9 * 10**18) + 10**18)
        self.body = body
        self.reserved_count = 0
        self.reservation_id = ""
        #: when it may be reserved
        self.at = clock.now() + delay
        #: when it is forgotten
        self.ends = clock.now() + life

    def free(self) -> bool:
        """Return whether it may be reserved now."""
        return self.clock.now() >= self.at

    def reserved(self) -> bool:
        """Return whether somebody has it now."""
        return bool(self.reservation_id) and not self.free()

    def shown(self, *, reservation: bool = False) -> dict[str, Any]:
        """Return it as the service shows it."""
        told: dict[str, Any] = {"id": self.id, "body": self.body, "reserved_count": self.reserved_count}
        return {**told, "reservation_id": self.reservation_id} if reservation else told


class Queue:
    """One queue; messages that come back stand at its front."""

    def __init__(self, name: str, least: int, clock: Clock) -> None:
        self.name = name
        self.clock = clock
        self.least = least
        self.messages: list[Message] = []
        self.total = 0
        #: what may be changed, with the service's defaults
        self.settings: dict[str, Any] = {"message_timeout": 60, "message_expiration": 604_800}
        self.changed = threading.Condition()

    def configure(self, told: dict[str, Any]) -> dict[str, Any]:
        """Change settings, and return what the service tells then."""
        most = {"message_timeout": LONGEST_LEASE, "message_expiration": LONGEST_LIFE}
        for key, limit in most.items():
            value = told.get(key, self.settings[key])
            if type(value) is not int or not self.least <= value <= limit:
                raise Refused(400, f"{key} must be between {self.least} and {limit} seconds")
        letters = dead_letter(told["dead_letter"]) if "dead_letter" in told else {}
        self.settings |= {key: told[key] for key in most if key in told} | letters
        return {"name": self.name, "type": "pull", **self.settings}

    def post(self, messages: list[dict[str, Any]]) -> list[str]:
        """Add messages."""
        if not messages:
            raise Refused(400, "No messages to post")
        if len(messages) > MOST:
            raise Refused(400, f"Too many messages: at most {MOST}")
        for one in messages:
            if not isinstance(one.get("body"), str) or len(one["body"]) > LARGEST:
                raise Refused(400, "Message body too large or missing")
            if not 0 <= one.get("delay", 0) <= LONGEST_DELAY:
                raise Refused(400, "Delay must be between 0 and 604800 seconds")
        life = self.settings["message_expiration"]
        made = [Message(one["body"], one.get("delay", 0), life, self.clock) for one in messages]
        with self.changed:
            self.messages += made
            self.total += len(made)
            self.changed.notify_all()
        return [one.id for one in made]

    def reserve(self, count: int, timeout: int | None, *, delete: bool) -> list[dict[str, Any]]:
        """Reserve what is free, for the queue's own time if nothing is said."""
        timeout = self.settings["message_timeout"] if timeout is None else timeout
        if not 1 <= count <= MOST:
            raise Refused(400, "n must be between 1 and 100")
        self.check(timeout)
        with self.changed:
            self.come_back()
            found = [one for one in self.messages if one.free()][:count]
            for one in found:
                one.reserved_count += 1
                one.reservation_id = secrets.token_hex(16)
                one.at = self.clock.now() + timeout
            if delete:
                self.messages = [one for one in self.messages if one not in found]
            return [one.shown(reservation=True) for one in found]

    def come_back(self) -> None:
        """Forget what is too old, and put what timed out to the front."""
        self.messages = [one for one in self.messages if self.clock.now() < one.ends]
        back = [one for one in self.messages if one.reservation_id and one.free()]
        for one in back:
            one.reservation_id = ""
        if back:
            self.messages = back + [one for one in self.messages if one not in back]

    def check(self, timeout: int) -> None:
        """Refuse a timeout that is none."""
        if not self.least <= timeout <= LONGEST_LEASE:
            raise Refused(400, f"Timeout must be between {self.least} and {LONGEST_LEASE} seconds")

    def find(self, id_: str) -> Message:
        """Return a message."""
        for one in self.messages:
            if one.id == id_ and self.clock.now() < one.ends:
                return one
        raise Refused(404, "Message not found")

    def held(self, id_: str, reservation: str | None) -> Message:
        """Return a message that may be changed by whoever names this reservation."""
        one = self.find(id_)
        if reservation is None and not one.reserved():
            return one
        if not one.reserved() or one.reservation_id != reservation:
            raise Refused(403, "Reservation timed out")
        return one

    def delete(self, id_: str, reservation: str | None) -> None:
        """Remove a message."""
        with self.changed:
            self.messages.remove(self.held(id_, reservation))

    def delete_many(self, ids: list[dict[str, Any]]) -> None:
        """Remove messages: all of them, or none if one may not be."""
        if len(ids) > MOST:
            raise Refused(400, f"Too many messages: at most {MOST}")
        with self.changed:
            found = [self.held(str(one["id"]), one.get("reservation_id")) for one in ids]
            self.messages = [one for one in self.messages if one not in found]

    def touch(self, id_: str, reservation: str, timeout: int | None) -> str:
        """Extend a reservation: it becomes another."""
        timeout = self.settings["message_timeout"] if timeout is None else timeout
        self.check(timeout)
        with self.changed:
            one = self.held(id_, reservation)
            one.reservation_id = secrets.token_hex(16)
            one.at = self.clock.now() + timeout
            return one.reservation_id

    def release(self, id_: str, reservation: str, delay: int) -> None:
        """Give a message back, to the front."""
        if not 0 <= delay <= LONGEST_DELAY:
            raise Refused(400, "Delay must be between 0 and 604800 seconds")
        with self.changed:
            one = self.held(id_, reservation)
            one.reservation_id = ""
            one.at = self.clock.now() + delay
            self.messages.remove(one)
            self.messages.insert(0, one)
            self.changed.notify_all()

    def shown(self) -> dict[str, Any]:
        """Return what the service says of a queue."""
        with self.changed:
            self.come_back()
            ready = sum(one.free() for one in self.messages)
        return {**self.configure({}), "size": ready, "total_messages": self.total}

    def peek(self, count: int) -> list[dict[str, Any]]:
        """Show the first free messages."""
        if not 1 <= count <= MOST:
            raise Refused(400, "n must be between 1 and 100")
        with self.changed:
            self.come_back()
            return [one.shown() for one in self.messages if one.free()][:count]


def dead_letter(told: Any) -> dict[str, Any]:
    """Return where a queue moves what was reserved too often, as it is kept."""
    name = told.get("queue_name") if isinstance(told, dict) else None
    if not name or not isinstance(name, str):
        raise Refused(400, "dead_letter must have a queue_name")
    most = told.get("max_reservations", 10)
    if type(most) is not int or not 1 <= most <= 1000:
        raise Refused(400, "max_reservations must be between 1 and 1000")
    return {"dead_letter": {"queue_name": name, "max_reservations": most}}
