"""Tries what a writer to the backend without a key cannot do."""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING, Any, Final

import msgspec
import pytest

from qcore import App, Cluster, Config
from qcore.cli.overview import statuses
from qcore.errors import EnvelopeError
from qcore.messages.sealer import STATUS, Sealer
from qcore.model import ID_AT, Action, Outgoing, Settlement, State
from qcore_queues.flags import PAUSED, ControlFlags, cancel_key

if TYPE_CHECKING:
    from qcore import Job

_KEY: Final = "a key of the tests of writers without a key"
#: one that no process of ours knows
_STRANGE: Final = "the key of somebody else, who can write to the backend"
#: seconds any condition is waited for
_TIMEOUT: Final = 45.0
#: where a bit of a message is flipped: in its id, behind it, and at its end
_PLACES: Final = (ID_AT.start, ID_AT.stop, ID_AT.stop + 20, -1)


def check_a_writer_without_a_key_changes_nothing(settings: dict[str, Any]) -> None:
    """Write forged messages, flags, results, statuses and schedules past a running cluster.

    - What was altered becomes a dead letter and is not run.
    - No forged flag pauses the queue or cancels a task.
    - A result of another task and a changed one are refused by who reads them.
    - A forged status shows as nothing, and an altered schedule has a fault.

    Args:
        settings: the keys of the configuration that lead to the backend, with the name of the queue.

    """
    config = Config.from_dict({"workers": 1, "retry": 60, "max_attempts": 1, "secret_key": _KEY, **settings})
    with contextlib.closing(App(config)) as app:
        altered = _alter_a_message(app)
        cancelled = _forge_a_cancellation(app)
        with Cluster(config).start() as cluster:
            assert cancelled.result(wait=_TIMEOUT) == 2.0
            _check_dead_letters(app, altered)
            _check_pause(app)
            _check_results(app)
            _check_status(app, cluster)
            _check_schedule(app)


def _flipped(body: bytes, place: int) -> bytes:
    changed = bytearray(body)
    changed[place] ^= 1
    return bytes(changed)


def _alter_a_message(app: App) -> list[bytes]:
    """Put copies of a message into the queue of which each has another bit flipped, and take it away."""
    app.enqueue("math.sqrt", 4)
    with app.runtime.brokers.connection() as broker:
        (one,) = broker.lease(1, _TIMEOUT)
        broker.settle([Settlement(one.receipt, Action.ACK)])
        altered = [_flipped(one.body, place) for place in _PLACES]
        broker.enqueue([Outgoing(os.urandom(16), body) for body in altered])
    return altered


def _check_dead_letters(app: App, altered: list[bytes]) -> None:
    end = time.monotonic() + _TIMEOUT
    found: list[bytes] = []
    while sorted(found) != sorted(altered) and time.monotonic() < end:
        with app.runtime.brokers.connection() as broker:
            found = [letter.body for letter in broker.dead_letters(100)]
    assert sorted(found) == sorted(altered), (
        f"of {len(altered)} altered messages {len(found)} are dead letters"
    )


def _forged(app: App, key: str) -> list[bytes]:
    name = app.config.name
    ours = ControlFlags(app.runtime.control_sealer).sign("cancel:" + "00" * 16)
    strange = ControlFlags(Sealer([_STRANGE], "control", name)).sign(key)
    return [b"1", ours, app.runtime.status_sealer.seal(key.encode(), b""), strange]


def _forge_a_cancellation(app: App) -> Job[Any]:
    job = app.enqueue("math.sqrt", 4)
    key = cancel_key(bytes.fromhex(job.id))
    with app.runtime.coordination_stores.connection() as store:
        store.set_flag(key, _forged(app, key)[-1], 600.0)
    return job


def _check_pause(app: App) -> None:
    for forged in _forged(app, PAUSED):
        with app.runtime.coordination_stores.connection() as store:
            store.set_flag(PAUSED, forged, 600.0)
        assert app.enqueue("math.sqrt", 9).result(wait=_TIMEOUT) == 3.0
        assert not app.queue.is_paused()


def _check_results(app: App) -> None:
    jobs = [app.enqueue("math.sqrt", number) for number in (16, 25)]
    assert [job.result(wait=_TIMEOUT) for job in jobs] == [4.0, 5.0]
    with app.runtime.stores.connection() as store:
        ours, other = store.get([bytes.fromhex(job.id) for job in jobs])
        assert ours is not None
        assert other is not None
        for body in (other.body, _flipped(ours.body, -1), ours.body[:40], b""):
            store.delete([ours.id])
            store.save([msgspec.structs.replace(ours, body=body, state=State.SUCCESS)])
            with pytest.raises(EnvelopeError):
                app.results.get(jobs[0].id)


def _check_status(app: App, cluster: Cluster) -> None:
    strange = Sealer([_STRANGE], "status", app.config.name).seal(STATUS, b"{}")
    with app.runtime.brokers.connection() as broker:
        if broker.capabilities.cluster_status:
            for number, forged in enumerate((b"", b"junk", strange)):
                broker.publish_status(f"forged {number}", forged, 60.0)
            found, _ = statuses(app.runtime, broker.statuses())
            assert {one.id for one in found} <= {cluster.status().id}, "a forged status is believed"


def _check_schedule(app: App) -> None:
    app.schedules.create("math.sqrt", 4, name="nightly", every=3600)
    rows = app.runtime.make_schedule_store()
    with contextlib.closing(rows):
        row = rows.get("nightly")
        assert row is not None
        rows.remove("nightly")
        rows.add(msgspec.structs.replace(row, body=_flipped(row.body, -1), next_run=1.0))
    (found,) = app.schedules.list()
    assert found.fault, "an altered schedule is believed"
    app.schedules.delete("nightly")
