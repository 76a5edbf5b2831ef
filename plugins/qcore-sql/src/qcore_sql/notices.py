"""Decides who is notified of results, and for how long."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from qcore.errors import BackendError
from qcore_sql.database import Database

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from sqlalchemy import TextClause

    from qcore.interfaces import Settings
    from qcore_sql.address import Address
    from qcore_sql.backend import Listens
    from qcore_sql.session import Session

#: what the keys of flags of those who wait begin with; an id follows
PREFIX: Final = "result-wait:"
#: what the name of a process's channel begins with; its number follows
CHANNEL: Final = "qcore_result_"
#: bytes of the number of a process
NUMBER: Final = 8
#: seconds between two looks at what has ended
_TICK: Final = 1.0
#: seconds that a flag is left behind who waits
_MARGIN: Final = 5.0
#: looks without anybody who waits, after which the connection is closed
_IDLE: Final = 30

# A flag of the coordination store's table says that somebody waits for a result; its value are the numbers
# of their processes. What is lost with a crash of the server needs no wait for the disk.
REGISTER: Final = text(
    "WITH loose AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true))"
    " INSERT INTO qcore_flag AS old (queue, item, expires, value)"
    " SELECT :queue, new.item,"
    " CAST(EXTRACT(EPOCH FROM statement_timestamp()) AS DOUBLE PRECISION) + :ttl, CAST(:number AS bytea)"
    " FROM loose, unnest(CAST(:items AS text[])) AS new (item)"
    " ON CONFLICT (queue, item) DO UPDATE SET expires = greatest(old.expires, excluded.expires),"
    " value = CASE WHEN old.expires <= EXTRACT(EPOCH FROM statement_timestamp()) THEN excluded.value"
    " WHEN position(excluded.value IN old.value) > 0 THEN old.value ELSE old.value || excluded.value END"
)
#: where others wait too, the flag stays until it expires
UNREGISTER: Final = text(
    "WITH loose AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true))"
    " DELETE FROM qcore_flag USING loose WHERE queue = :queue AND item = ANY (CAST(:items AS text[]))"
    " AND value = CAST(:number AS bytea)"
)


class Notices:
    """Wakes those in this process who wait for results of one queue.

    One thread is notified for all of them, by a connection of its own. It begins with the first who
    waits, and ends when nobody has waited for a while.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._number = os.urandom(NUMBER)
        #: of what is below
        self._lock = threading.Lock()
        self._wakes: dict[bytes, list[Callable[[bytes], None]]] = {}
        #: of the database, so that a flag is not deleted which has just been set anew
        self._writing = threading.Lock()
        self._registered: set[bytes] = set()
        self._database: Database | None = None
        self._listener: Listens | None = None

    def watch(
        self, ids: Sequence[bytes], seconds: float, wake: Callable[[bytes], None]
    ) -> Callable[[bytes], None]:
        """Have `wake` called with each of these ids whose result is saved; return what ends that for one."""
        with self._lock:
            for one in ids:
                self._wakes.setdefault(one, []).append(wake)
        try:
            with self._writing:
                if self._database is None:
                    self._begin()
                self._register(ids, seconds)
        except BaseException:
            for one in ids:
                self._end(one, wake)
            raise
        return lambda one: self._end(one, wake)

    def _end(self, one: bytes, wake: Callable[[bytes], None]) -> None:
        with self._lock:
            wakes = self._wakes.get(one, [])
            with suppress(ValueError):
                wakes.remove(wake)
            if not wakes:
                self._wakes.pop(one, None)

    def _begin(self) -> None:
        database = Database(self._settings)
        try:
            self._listener = database.listen(CHANNEL + self._number.hex())
        except BaseException:
            database.close()
            raise
        self._database = database
        threading.Thread(target=self._run, args=(database,), name="qcore-notices", daemon=True).start()

    def _register(self, ids: Collection[bytes], seconds: float) -> None:
        assert self._database is not None
        self._registered.update(ids)
        self._database.single(
            _change, REGISTER, self._settings.name, ids, ttl=seconds + _MARGIN, number=self._number
        )

    def _run(self, database: Database) -> None:
        idle = 0
        try:
            while idle < _IDLE and not database.is_last_user:
                try:
                    woken = self._listen(database)
                    self._wake([bytes.fromhex(one) for one in woken])
                    idle = 0 if self._unregister(database) else idle + 1
                except BackendError:
                    # who waits looks, and is notified again once the server is back
                    self._close()
                    self._wake(self._waited())
                    threading.Event().wait(_TICK)
        finally:
            with self._writing:
                self._close()
                self._database = None
                self._registered.clear()
            database.close()
            # whoever has come meanwhile looks for its result
            self._wake(self._waited())

    def _listen(self, database: Database) -> Sequence[str]:
        if self._listener is None:
            with self._writing:
                self._listener = database.listen(CHANNEL + self._number.hex())
                self._register(self._waited(), 60.0)
            return [one.hex() for one in self._waited()]
        return database.wait(self._listener, _TICK)

    def _unregister(self, database: Database) -> bool:
        """Delete the flags of those who wait no longer; return whether anybody waits."""
        with self._writing:
            with self._lock:
                ended = [one for one in self._registered if one not in self._wakes]
                waited = bool(self._wakes)
            self._registered.difference_update(ended)
            if ended:
                database.single(_change, UNREGISTER, self._settings.name, ended, number=self._number)
        return waited

    def _waited(self) -> list[bytes]:
        with self._lock:
            return list(self._wakes)

    def _wake(self, ids: Collection[bytes]) -> None:
        with self._lock:
            wakes = [(wake, one) for one in ids for wake in self._wakes.get(one, ())]
        for wake, one in wakes:
            wake(one)

    def _close(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None


def _change(
    session: Session, /, statement: TextClause, queue: str, ids: Collection[bytes], **values: object
) -> None:
    if ids:
        session.run(statement, queue=queue, items=[key(one) for one in ids], **values)


def key(one: bytes) -> str:
    """Return the key of the flag which says that somebody waits for a result."""
    return PREFIX + one.hex()


#: (process, address, queue) -> what notifies there
_ALL: Final[dict[tuple[int, str, str], Notices]] = {}


def notices_of(settings: Settings, address: Address) -> Notices:
    """Return what notifies in this process; a fork has its own."""
    place = (os.getpid(), address.key, settings.name)
    found = _ALL.get(place)
    return _ALL.setdefault(place, Notices(settings)) if found is None else found
