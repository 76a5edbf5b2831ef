"""Warns of a cluster that cannot read what waits in its queue."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from qcore.errors import BackendError
from qcore.messages.signing import KEY_ID_SIZE, KeyRing
from qcore.wording import counted

if TYPE_CHECKING:
    from qcore.coordination import CoordinationStore
    from qcore.interfaces import Broker
    from qcore.runtime import Runtime

_log = logging.getLogger("qcore.cluster")

#: Flag with the ids of the keys of the cluster that started last. A message bears the id of its key as
#: well, so it is not a secret; it cannot be signed, because whoever has lost the key must be able to read it.
_FLAG: Final = "keys"
#: Seconds for which it is kept.
_KEPT: Final = 365 * 86_400.0


#: Bytes of a flag that may be ours.
_LONGEST: Final = 64 * KEY_ID_SIZE


def check_keys(runtime: Runtime, broker: Broker, coordination: CoordinationStore) -> None:
    """Compare the keys with those of the cluster that started last, log what is wrong, and store ours.

    It is an error in the log and does not keep the cluster from starting, because whoever can write to
    the store can set the flag.
    """
    ours = frozenset(KeyRing.derive(runtime.secrets, "task", runtime.config.name).by_id)
    try:
        before = _ids(coordination.get_flags([_FLAG])[0] or b"")
        if before and not before & ours:
            _log_if_tasks_wait(runtime, broker, before, ours)
        coordination.set_flag(_FLAG, b"".join(sorted(ours)), _KEPT)
    except BackendError as exc:
        # A worker that cannot open a message says the same, for each of them.
        _log.debug("the keys of earlier clusters are not known: %s", exc)


def _log_if_tasks_wait(
    runtime: Runtime, broker: Broker, before: frozenset[bytes], ours: frozenset[bytes]
) -> None:
    size = broker.size()
    waiting = size.ready + (size.delayed or 0)
    if waiting:
        _log.error(
            "this cluster has key %s, from %s, but the last one on the queue %s had %s, and %s that it "
            "cannot read will be dead letters soon: stop it, and restore that key or add it to secret_key",
            _named(ours),
            runtime.config.key_text,
            runtime.config.name,
            _named(before),
            counted(waiting, "task"),
        )


def _ids(flag: bytes) -> frozenset[bytes]:
    """Return the ids in a flag; none if it is not ours."""
    if len(flag) % KEY_ID_SIZE or len(flag) > _LONGEST:
        return frozenset()
    return frozenset(flag[start : start + KEY_ID_SIZE] for start in range(0, len(flag), KEY_ID_SIZE))


def _named(ids: frozenset[bytes]) -> str:
    return " and ".join(sorted(one.hex() for one in ids))
