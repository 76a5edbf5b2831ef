"""Which keys sealed what is stored, and how it is sealed anew."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

import attrs

from qcore.cli.ids import every_dead_letter
from qcore.errors import EnvelopeError
from qcore.messages.envelope import MAGIC
from qcore.messages.signing import KEY_ID_SIZE, Key
from qcore.model import KEY_ID_AT
from qcore.scheduling import scheduler_if_any
from qcore_queues.flags import PAUSE_TTL, PAUSED, ControlFlags
from qcore_queues.pausing import PAUSED_QUEUES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from qcore.interfaces import Broker
    from qcore.model import DeadLetter, StoredResult
    from qcore.runtime import Runtime

#: Results that are looked at, the newest.
RESULTS: Final = 100_000
_PAGE: Final = 500
#: The flags that pause all queues of a name, or some.
_PAUSES: Final = (PAUSED, PAUSED_QUEUES)


@attrs.frozen(kw_only=True)
class KeyUsage:
    """How much is sealed with each key, by the key's id."""

    #: what is counted -> key id -> how many; None = the backend cannot tell
    counts: dict[str, dict[bytes, int] | None]
    #: results that were not looked at
    unseen_results: int

    def of(self, key_id: bytes) -> dict[str, int]:
        """Return what is sealed with one key, without zeros."""
        found = {what: (counts or {}).get(key_id, 0) for what, counts in self.counts.items()}
        return {what: count for what, count in found.items() if count}

    @property
    def ids(self) -> set[bytes]:
        """The ids of all keys that sealed something."""
        return {key_id for counts in self.counts.values() for key_id in counts or ()}


@attrs.frozen(kw_only=True)
class Resealed:
    """How much was sealed with the first key, and how much could not be."""

    #: what -> how many
    done: dict[str, int]
    #: what -> how many no key opens, or the backend could not replace
    failed: dict[str, int]


def key_ids(runtime: Runtime) -> list[bytes]:
    """Return the ids of the keys in `secret_key`, in their order."""
    return [Key(secret.encode(), "task", runtime.config.name).id for secret in runtime.secrets]


def usage(runtime: Runtime, results: int = RESULTS) -> KeyUsage:
    """Count what is stored by the key that sealed it, of `results` newest results; no seal is verified."""
    with runtime.brokers.connection() as broker:
        queued = broker.key_ids()
        if queued is not None:
            queued = {key: count for key, count in queued.items() if len(key) == KEY_ID_SIZE}
        dead = Counter(one.body[KEY_ID_AT] for one in every_dead_letter(broker) if one.body.startswith(MAGIC))
    scheduler = scheduler_if_any(runtime.plugins)
    schedule_keys = Counter(scheduler.key_ids(runtime) if scheduler else ())
    with runtime.stores.connection() as store:
        found = store.recent(limit=results)
        stored = sum(store.counts().values())
    result_keys = Counter(one.body[:KEY_ID_SIZE] for one in found)
    with runtime.coordination_stores.connection() as coordination:
        pauses = Counter(flag[:KEY_ID_SIZE] for flag in coordination.get_flags(_PAUSES) if flag)
    return KeyUsage(
        counts={
            "messages": queued,
            "dead letters": dict(dead),
            "schedules": dict(schedule_keys),
            "results": dict(result_keys),
            "pauses": dict(pauses),
        },
        unseen_results=max(0, stored - len(found)),
    )


def reseal(runtime: Runtime) -> Resealed:
    """Seal with the first key what is stored and sealed with another one, except waiting messages."""
    done, failed = Counter[str](), Counter[str]()
    scheduler = scheduler_if_any(runtime.plugins)
    done["schedules"], failed["schedules"] = scheduler.reseal(runtime) if scheduler else (0, 0)
    first = key_ids(runtime)[0]
    with runtime.stores.connection() as store:
        for one in store.recent(limit=RESULTS):
            if one.body[:KEY_ID_SIZE] != first:
                after = _resealed_result(runtime, one)
                fits = after is not None and store.replace(one, after)
                (done if fits else failed)["results"] += 1
    with runtime.brokers.connection() as broker:
        what = "dead letters"
        done[what], failed[what] = reseal_dead_letters(runtime, broker, every_dead_letter(broker))
    done["pauses"], failed["pauses"] = _reseal_pauses(runtime, first)
    return Resealed(done=dict(done), failed=dict(failed))


def is_sealed_with(letter: DeadLetter, key_id: str) -> bool:
    """Return whether a dead letter names the key of this id, in hexadecimal digits; nothing is verified."""
    return letter.body.startswith(MAGIC) and letter.body[KEY_ID_AT].hex() == key_id.lower()


def reseal_dead_letters(runtime: Runtime, broker: Broker, letters: Iterable[DeadLetter]) -> tuple[int, int]:
    """Seal dead letters with the first key; return how many were, and how many could not be."""
    first = key_ids(runtime)[0]
    done = failed = 0
    for letter in letters:
        # What is not a message of ours was put there by somebody else, and no key is needed for it.
        if letter.body.startswith(MAGIC) and letter.body[KEY_ID_AT] != first:
            try:
                fits = broker.replace_dead_letter(letter.id, runtime.envelope.reseal(letter.body))
            except EnvelopeError:
                fits = False
            done, failed = done + fits, failed + (not fits)
    return done, failed


def _resealed_result(runtime: Runtime, record: StoredResult) -> StoredResult | None:
    try:
        return runtime.results.reseal(record)
    except EnvelopeError:
        return None


def _reseal_pauses(runtime: Runtime, first: bytes) -> tuple[int, int]:
    """Seal the flags of paused queues anew; return how many were, and how many no key opens."""
    flags = ControlFlags(runtime.control_sealer)
    with runtime.coordination_stores.connection() as store:
        kept = zip(_PAUSES, store.get_flags(_PAUSES), strict=True)
        old = [key for key, flag in kept if flag and flag[:KEY_ID_SIZE] != first]
        genuine = flags.genuine(store, old)
        for key, data in genuine.items():
            store.set_flag(key, flags.sign(key, data), PAUSE_TTL)
    return len(genuine), len(old) - len(genuine)
