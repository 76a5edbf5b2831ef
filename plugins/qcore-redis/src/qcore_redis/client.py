"""What is asked again elsewhere or later, and what is an error."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import hiredis

from qcore.errors import BackendRejected, BackendUnavailable
from qcore_redis import error_mapping
from qcore_redis.parse_settings import find
from qcore_redis.pool import connection_pool
from qcore_redis.scripts import script

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qcore_redis.connection import Connection, Packed, Word
    from qcore_redis.scripts import Script

#: seconds of the shortest wait in the server: Redis 6.2 cuts 0.001 down to 0, which is without end
SHORTEST: Final = 0.002
#: seconds before a cluster that is being changed is asked again: from, to, doubling
_PAUSES: Final = (0.02, 0.25)
#: seconds of one wait in the server while connections are scarce
_SHARED: Final = 0.1
#: commands with one key: while it is moved it is on one node or the other, and each can be asked
_ONE_KEY: Final = frozenset({b"RPUSH", b"HMGET", b"HGET", b"HGETALL", b"ZRANGE", b"LRANGE", b"BLPOP"})


#: what kind of key a command is for
_KINDS: Final[dict[object, bytes]] = {
    b"RPUSH": b"list",
    b"LRANGE": b"list",
    b"HMGET": b"hash",
    b"HGET": b"hash",
    b"HGETALL": b"hash",
    b"ZRANGE": b"zset",
}


class Client:
    """Asks a server, by a connection that is made when it is needed and anew after it was lost.

    A question whose answer was lost is not repeated: who calls knows whether it may be. What a cluster
    refused because it is being changed was not done, and is asked again until the call's time is over.
    """

    def __init__(self, section: object, key: bytes) -> None:
        self.address = find(section)
        #: the key by which a cluster finds the server, and every script its others
        self._key = key
        # A script finds most of its keys itself, and a server that is moving them to another node would stop
        # it half-way at the first that is there. The second key never exists: while a slot is moved, a server
        # refuses a script that names a key it has not got, before the script begins.
        self._keys = (b"2", key, key + b"-")
        #: the connection that was used last, while it is idle
        self._cell: list[Connection] = []
        self._identity = self.address.identity(key)
        self._pool = connection_pool(self._identity, self.address.most)
        self._pool.join(self._cell)
        self._plain = False
        self._closed = False

    # -- asking -----------------------------------------------------------------------------

    def call(self, *words: Word, unknown_outcome: str = "", replicated: bool = False) -> Any:  # noqa: ANN401 - a reply of any kind
        """Send a command and return its reply; `replicated`: once replicas have it, if that is wanted."""
        deadline = time.monotonic() + self.address.timeout
        reply = self._once(words, deadline, unknown_outcome, replicated)
        if isinstance(reply, hiredis.ReplyError):
            reply = self._again(reply, words, deadline, unknown_outcome, replicated)
            if str(reply).startswith("WRONGTYPE") and words[0] in _KINDS:
                # somebody else put something there: without it the command is done on an empty key
                self.run(script("set_aside"), words[1], _KINDS[words[0]])
                reply = self._once(words, deadline, unknown_outcome, replicated)
            return self._checked(reply)
        return reply

    def block(self, *words: Word, seconds: float) -> Any:  # noqa: ANN401 - as above
        """Send a command that waits up to `seconds` in the server; nothing of it is asked again."""
        return self._checked(self._once(words, self._deadline() + seconds))

    def run(self, script_: Script, *words: Word, unknown_outcome: str = "", replicated: bool = False) -> Any:  # noqa: ANN401 - as above
        """Run a script, loading it into a server that does not know it."""
        deadline = time.monotonic() + self.address.timeout
        answer = self._answer(script_, words)
        reply = self._once(answer, deadline, unknown_outcome, replicated)
        if isinstance(reply, hiredis.ReplyError):
            reply = self._again(reply, answer, deadline, unknown_outcome, replicated)
            if str(reply).startswith("NOSCRIPT"):
                # it was not run: asking once more doubles nothing
                self._load(script_, deadline)
                answer = self._answer(script_, words)
                reply = self._once(answer, deadline, unknown_outcome, replicated)
                if isinstance(reply, hiredis.ReplyError):
                    reply = self._again(reply, answer, deadline, unknown_outcome, replicated)
            return self._checked(reply)
        return reply

    def run_behind(
        self,
        before: Sequence[Packed],
        script_: Script,
        *words: Word,
        unknown_outcome: str,
        replicated: bool,
    ) -> bool:
        """Send commands and run a script in one round trip; False = it has done nothing."""
        deadline = self._deadline()
        reply = self._once(self._answer(script_, words), deadline, unknown_outcome, replicated, before)
        if isinstance(reply, hiredis.ReplyError) and str(reply).startswith("NOSCRIPT"):
            self._load(script_, deadline)
            reply = self._once(self._answer(script_, words), deadline, unknown_outcome, replicated)
        return not isinstance(reply, hiredis.ReplyError)

    def run_now(self, script_: Script, *words: Word) -> Any:  # noqa: ANN401 - as above
        """Run a script, and do not ask again while a cluster is being changed."""
        deadline = self._deadline()
        reply = self._once(self._answer(script_, words), deadline)
        if str(reply).startswith("NOSCRIPT") and isinstance(reply, hiredis.ReplyError):
            self._load(script_, deadline)
            reply = self._once(self._answer(script_, words), deadline)
        return self._checked(reply)

    def post(self, script_: Script, *words: Word) -> None:
        """Run a script whose reply nobody needs; it is read with the next one."""
        try:
            connection = self._cell.pop()
        except IndexError:
            return
        if script_ not in connection.known:
            self._keep(connection)
            self.run(script_, *words)
            connection.known.add(script_)
            return
        try:
            connection.post(self._answer(script_, words))
        except BaseException as exc:
            connection.close()
            if not isinstance(exc, OSError):
                raise
        else:
            self._keep(connection)

    def longest(self, seconds: float) -> float:
        """Return how long one wait in the server may take, while others may need the connection."""
        return min(seconds, _SHARED) if self._pool.scarce else seconds

    def drop(self) -> None:
        """Give the connection up, if there is one."""
        while self._cell:
            self._cell.pop().close()

    def close(self) -> None:
        """Give it up for good."""
        self._closed = True
        self._pool.leave(self._cell)
        self.drop()

    def __del__(self) -> None:
        # a producer may be forgotten by whoever made it
        if hasattr(self, "_pool"):
            self._pool.leave(self._cell)

    def after_fork(self) -> None:
        """Leave connections to the parent, and count those of this process with its others."""
        self._pool.leave(self._cell)
        self.drop()
        # Not the parent's: it may have idle connections of others there, and a thread that held the lock.
        self._pool = connection_pool(self._identity, self.address.most)
        self._pool.join(self._cell)

    # -- the way ----------------------------------------------------------------------------

    def _deadline(self) -> float:
        return time.monotonic() + self.address.timeout

    def _answer(self, script_: Script, words: tuple[Word, ...]) -> tuple[Word, ...]:
        form = script_.plain if self._plain else script_.flagged
        return (b"EVALSHA", form.sha, *self._keys, *words)

    def _again(
        self,
        reply: Any,  # noqa: ANN401 - as above
        words: tuple[Word, ...],
        deadline: float,
        unknown_outcome: str,
        replicated: bool,  # noqa: FBT001 - as above; a private function
    ) -> Any:  # noqa: ANN401 - as above
        """Ask again while a cluster is being changed: elsewhere at once, or here after a pause."""
        pause, followed = _PAUSES[0], False
        give_up_at = deadline - self.address.timeout + self.address.connect_timeout
        while isinstance(reply, hiredis.ReplyError) and error_mapping.is_changing(reply):
            word, node = error_mapping.redirection(reply)
            if word == "MOVED" and not self.address.follows:
                return reply
            if word == "ASK" and words[0] in _ONE_KEY:
                reply = self._elsewhere(node, words, deadline, unknown_outcome, replicated)
                if not (isinstance(reply, hiredis.ReplyError) and error_mapping.is_changing(reply)):
                    return reply
            if word != "MOVED" or followed:
                if time.monotonic() + pause >= give_up_at:
                    return reply
                time.sleep(pause)
                pause = min(pause * 2, _PAUSES[1])
            followed = followed or word == "MOVED"
            reply = self._once(words, deadline, unknown_outcome, replicated)
        return reply

    def _once(
        self,
        words: tuple[Word, ...],
        deadline: float,
        unknown_outcome: str = "",
        replicated: bool = False,  # noqa: FBT001, FBT002 - a private function
        before: Sequence[Packed] = (),
    ) -> Any:  # noqa: ANN401 - as above
        try:
            connection = self._cell.pop()
        except IndexError:
            connection = self._another(deadline)
        else:
            if not connection.is_there():
                connection.close()
                connection = self._another(deadline)
        try:
            reply = connection.ask(words, deadline, before)
            if replicated and self.address.replicas:
                self._confirm(connection, reply, deadline, unknown_outcome)
        except OSError as exc:
            connection.close()
            raise error_mapping.lost(exc, self.address.title, unknown_outcome=unknown_outcome) from exc
        except BaseException:
            # a signal came in the middle of an answer
            connection.close()
            raise
        if isinstance(reply, hiredis.ReplyError) and error_mapping.is_moved(reply):
            connection.close()
            self.address.forget()
            word, node = error_mapping.redirection(reply)
            if word == "MOVED":
                self.address.lead(node)
        elif self._pool.waiting or self._closed:
            self._keep(connection)
        else:
            self._cell.append(connection)
        return reply

    def _elsewhere(
        self,
        node: str,
        words: tuple[Word, ...],
        deadline: float,
        unknown_outcome: str,
        replicated: bool,  # noqa: FBT001 - a private function
    ) -> Any:  # noqa: ANN401 - as above
        """Ask the node that a key was moved to, while the slot is not yet its own."""
        connection = self.address.at(node, deadline)
        if connection is None:
            return hiredis.ReplyError(f"ASK {self._key.decode(errors='replace')} {node}")
        try:
            connection.ask((b"ASKING",), deadline)
            reply = connection.ask(words, deadline)
            if replicated and self.address.replicas:
                self._confirm(connection, reply, deadline, unknown_outcome)
        except OSError as exc:
            raise error_mapping.lost(exc, self.address.title, unknown_outcome=unknown_outcome) from exc
        finally:
            connection.close()
        return reply

    def _confirm(self, connection: Connection, reply: object, deadline: float, unknown_outcome: str) -> None:
        """Wait until replicas have what was just accepted."""
        address = self.address
        if isinstance(reply, hiredis.ReplyError):
            return
        words = (b"WAIT", address.replicas, max(1, round(address.replicas_timeout * 1000)))
        have = connection.ask(words, deadline + address.replicas_timeout)
        if isinstance(have, hiredis.ReplyError):
            raise error_mapping.refused(have, address.title)
        if have < address.replicas:
            raise BackendUnavailable(
                f"redis at {address.title} has it, but {have} of {address.replicas} replicas confirmed within"
                f" {address.replicas_timeout:g} s (redis.wait_replicas); {unknown_outcome}"
            )

    def _another(self, deadline: float) -> Connection:
        if self._closed:
            raise BackendRejected(
                f"this connection to redis at {self.address.title} was closed; make a new one"
            )
        return self._pool.take(self._open, deadline, self.address.title)

    def _open(self, deadline: float) -> Connection:
        return self.address.open(self._key, deadline)

    def _keep(self, connection: Connection) -> None:
        if self._closed:
            connection.close()
        else:
            self._pool.give(connection, self._cell)

    def _checked(self, reply: Any) -> Any:  # noqa: ANN401 - as above
        if isinstance(reply, hiredis.ReplyError):
            raise error_mapping.refused(reply, self.address.title) from None
        return reply

    def _load(self, script_: Script, deadline: float) -> None:
        reply = self._once((b"SCRIPT", b"LOAD", script_.flagged.text), deadline)
        self._plain = isinstance(reply, hiredis.ReplyError) and "compil" in str(reply)
        if self._plain:
            # Redis 6.2 knows no flags
            reply = self._once((b"SCRIPT", b"LOAD", script_.plain.text), deadline)
        self._checked(reply)
