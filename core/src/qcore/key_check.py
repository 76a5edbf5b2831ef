"""Decides whether clusters can read what is in their queue."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from qcore.errors import BackendError, ConfigError
from qcore_queues.key_ids import accepted, named, split
from qcore_text.wording import counted, typed

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


def check_keys(runtime: Runtime, broker: Broker, coordination: CoordinationStore) -> None:
    """Compare the keys with those of the cluster that started last, and store ours.

    A key that somebody has set in `secret_key` is that one's decision, and whoever can write to the store
    can set the flag: that is an error in the log. The key file beside a queue is ours.

    Raises:
        ConfigError: the key file beside the queue is another one than that of the tasks that wait.

    """
    config = runtime.config
    ours = frozenset(runtime.envelope.key_ids)
    try:
        before = split(coordination.get_flags([_FLAG])[0] or b"")
        lost = _unreadable(broker, before) if before and not before & ours else 0
        if lost:
            beside = not config.secret_key and config.queue_file(config.name) is not None
            _report(runtime, before, ours, lost, refuse=beside)
        coordination.set_flag(_FLAG, b"".join(sorted(ours)), _KEPT)
    except BackendError as exc:
        # A worker that cannot open a message says the same, for each of them.
        _log.debug("the keys of earlier clusters are not known: %s", exc)


def _unreadable(broker: Broker, before: frozenset[bytes]) -> int:
    """Return how many messages wait that these keys have signed, as far as the broker can tell."""
    signed = broker.key_ids()
    if signed is not None:
        return sum(signed.get(one, 0) for one in before)
    size = broker.size()
    return size.ready + (size.delayed or 0)


def _report(
    runtime: Runtime, before: frozenset[bytes], ours: frozenset[bytes], lost: int, *, refuse: bool
) -> None:
    config = runtime.config
    text = (
        f"this cluster has key {named(ours)}, from {config.key_text}, but the last one on the queue "
        f"{config.name} had {named(before)}, and {counted(lost, 'task')} that it cannot read"
    )
    if refuse:
        remedy = (
            "put the key file back that was there, or set secret_key to both keys; if the old one is lost, "
            f"'{typed('purge')}' removes what waits"
        )
        raise ConfigError([f"{text} would be dead letters: {remedy}"])
    _log.error("%s will be dead letters soon: stop it, and restore that key or add it to secret_key", text)


def warn_of_another_key(runtime: Runtime, broker: Broker) -> None:
    """Log an error if clusters work on the queue and none of them accepts what this program signs."""
    try:
        theirs = accepted(broker.statuses()) if broker.capabilities.cluster_status else frozenset()
    except Exception as exc:  # noqa: BLE001 - what was enqueued is accepted, whatever a plugin raises now
        _log.debug("the keys of the clusters are not known: %s", exc)
        return
    ours, config = runtime.envelope.key_ids[0], runtime.config
    if theirs and ours not in theirs:
        text = (
            f"what this program enqueues is signed with key {ours.hex()}, from {config.key_text}, and the "
            f"clusters on the queue {config.name} have {named(theirs)}: it will be dead letters"
        )
        _log.error("%s; use one of their keys first, or add this one to theirs", text)
