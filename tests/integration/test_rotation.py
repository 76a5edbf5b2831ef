"""After a rotation nothing that is stored needs the old key."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from qcore.cli.dead_letters import requeue_all
from qcore.cli.key_usage import key_ids, reseal, usage
from qcore.errors import UnknownKey
from qcore.model import Action, Outgoing, Settlement
from qcore_queues.flags import ControlFlags
from qcore_queues.pausing import PAUSED_QUEUES
from tests.integration import tasks
from tests.integration.land import SECRET, final, lines, until

if TYPE_CHECKING:
    from tests.integration.land import Land

pytestmark = pytest.mark.portable

NEW = "a newer key than the one of the integration tests"


def store_with_the_old_key(land: Land) -> tuple[str, str]:
    """Store a result, a dead letter, a schedule and a pause; return the ids of the two tasks."""
    app, cluster = land.both(max_attempts=1)
    good = app.enqueue(tasks.add, 1, 1)
    bad = app.enqueue(tasks.fail_first, 1, str(land.file("once")))
    final(good)
    until(lambda: app.queue.size().dead_letters == 1, "the dead letter")
    cluster.stop()
    app.schedules.create(tasks.note, str(land.file()), name="by hand", every=1, next_run=time.time() + 3600)
    app.queue.pause()
    flags = ControlFlags(app.runtime.control_sealer)
    with app.runtime.coordination_stores.connection() as store:
        store.set_flag(PAUSED_QUEUES, flags.sign(PAUSED_QUEUES, b'["mail"]'), 600.0)
    return good.id, bad.id


def test_all_that_is_stored_is_sealed_anew_at_once(land: Land) -> None:
    """Schedules, results, dead letters and the pause no longer need the old key, and all of them work."""
    good, bad = store_with_the_old_key(land)
    both = land.app(secret_key=[NEW, SECRET])
    both.enqueue(tasks.add, 2, 2)
    land.app().enqueue(tasks.add, 3, 3)
    new_id, old_id = key_ids(both.runtime)
    stored = {"dead letters": 1, "schedules": 1, "results": 2, "pauses": 2}
    assert usage(both.runtime).of(old_id) == {"messages": 1, **stored}

    found = reseal(both.runtime)

    assert found.done == stored
    assert not any(found.failed.values())
    assert usage(both.runtime).of(old_id) == {"messages": 1}
    assert usage(both.runtime).of(new_id) == {"messages": 1, **stored}
    assert not any(reseal(both.runtime).done.values())
    both.queue.purge()
    new = land.app(secret_key=NEW)
    assert new.results.get(good) == 2
    assert new.queue.is_paused()
    with new.runtime.coordination_stores.connection() as store:
        flags = ControlFlags(new.runtime.control_sealer)
        assert flags.genuine(store, [PAUSED_QUEUES]) == {PAUSED_QUEUES: b'["mail"]'}
    new.queue.resume()
    new.schedules.update("by hand", next_run=time.time() - 1)
    land.cluster(secret_key=NEW, max_attempts=1)
    until(lambda: lines(land.file()), "the schedule to fire")
    with new.runtime.brokers.connection() as broker:
        broker.requeue([one.id for one in broker.dead_letters()])
    # its failure is final too, and stays until the second run has ended
    until(lambda: (found := new.results.fetch(bad)) is not None and found.success, "the second run")
    assert new.results.get(bad) == "run 2"


def test_a_dead_letter_is_sealed_anew_when_it_is_requeued(land: Land) -> None:
    """The message that waits needs no key that may go soon."""
    app = land.app()
    app.enqueue(tasks.add, 1, 2)
    both = land.app(secret_key=[NEW, SECRET])
    with both.runtime.brokers.connection() as broker:
        (one,) = broker.lease(1, 0.0)
        broker.settle([Settlement(one.receipt, Action.DEAD_LETTER, reason="a test")])
        requeue_all(both.runtime, broker, broker.dead_letters())

    assert usage(both.runtime).of(key_ids(both.runtime)[0]) == {"messages": 1}


def test_a_schedule_that_fires_is_sealed_anew_by_that(land: Land) -> None:
    """Whoever fires it seals it with the first key."""
    land.app().schedules.create(tasks.note, str(land.file()), name="by hand", every=1)
    both = land.app(secret_key=[NEW, SECRET])

    land.cluster(secret_key=[NEW, SECRET])

    new_id = key_ids(both.runtime)[0]
    until(lambda: usage(both.runtime).of(new_id).get("schedules") == 1, "it to be sealed anew")


def test_a_cluster_says_that_no_key_opens_a_schedule(land: Land) -> None:
    """It is not fired, and that is a trouble of the cluster, which `qcore health` and `qcore doctor` show."""
    land.app().schedules.create(tasks.note, str(land.file()), name="by hand", every=1)
    new = land.app(secret_key=NEW)
    cluster = land.cluster(secret_key=NEW)

    found = until(lambda: cluster.status().troubles, "a trouble")

    assert (
        "schedule 'by hand' is sealed with a key that is not in secret_key, and this process has its key "
        "from secret_key, given in code; add that key"
    ) in found[0]
    assert lines(land.file()) == []
    (broken,) = new.schedules.list()
    assert "not in secret_key" in broken.fault
    with pytest.raises(UnknownKey):
        new.schedules.get("by hand")
    assert reseal(new.runtime).failed["schedules"] == 1
    land.app().schedules.delete("by hand")
    until(lambda: not cluster.status().troubles, "the trouble to be over")


def test_junk_among_the_dead_letters_needs_no_key(land: Land) -> None:
    """What is not a message of ours is neither counted nor sealed anew."""
    app = land.app()
    with app.runtime.brokers.connection() as broker:
        broker.enqueue([Outgoing(bytes(16), b"junk of somebody else"), Outgoing(bytes(16), b"")])
        for one in broker.lease(2, 1.0):
            broker.settle([Settlement(one.receipt, Action.DEAD_LETTER, reason="junk")])

    assert usage(app.runtime).ids == set()
    assert not any(reseal(app.runtime).failed.values())
