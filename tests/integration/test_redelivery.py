"""What is stored of a task decides over a message that comes again only if it is of that task's run."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from qcore.messages.head import read_head
from qcore.model import Action, Kind, Outcome, Settlement, State
from tests.integration import flow_tasks, limited_tasks, tasks
from tests.integration.land import alive, final, kill, lines, until, worker_pids

if TYPE_CHECKING:
    from tests.integration.land import Land

pytestmark = pytest.mark.portable


def test_a_link_of_a_revived_chain_survives_its_machine(land: Land) -> None:
    """What was stored of it when the chain stopped does not end a run of its own."""
    settings = {"workers": 1, "max_attempts": 1, "retry": 2, "timeout": None}
    app, cluster = land.both(**settings)
    gate = land.file("gate")
    chain = app.chain(
        [
            (tasks.fail_first, (1, str(land.file("runs")))),
            (limited_tasks.begin, (str(land.file()), str(gate))),
        ]
    )
    assert final(chain).kind == "skipped"
    until(lambda: app.queue.size().dead_letters == 1)
    with app.runtime.brokers.connection() as broker:
        broker.requeue([letter.id for letter in broker.dead_letters()])
    until(lambda: lines(land.file()) == ["begun"])
    pids = [cluster.pid or 0, *worker_pids(cluster)]

    kill(pids[0])
    until(lambda: not any(map(alive, pids)))
    gate.touch()
    land.cluster(**settings)

    until(lambda: final(chain).success)


def test_a_success_is_gone_on_from_after_the_message_has_expired(land: Land) -> None:
    """It was in time; that its worker died before it could say what follows does not change that."""
    app = land.app(retry=2)
    first = app.task(flow_tasks.double).using(expires=1.0)
    chain = app.chain([first.bind(2), (flow_tasks.step, (str(land.file()), "next"))])
    with app.runtime.brokers.connection() as broker, app.runtime.stores.connection() as store:
        (delivery,) = broker.lease(1, 0.0)
        opened = app.runtime.envelope.open(delivery.body)
        head = read_head(opened.head)
        done = Outcome(Kind.SUCCESS, finished=time.time())
        store.save(
            [
                app.runtime.results.seal(
                    opened.id, head, State.SUCCESS, done, b"", created=opened.created, attempts=1, crashes=0
                )
            ]
        )
        broker.settle([Settlement(delivery.receipt, Action.RETRY)])
    until(lambda: time.time() * 1000 > opened.expires)

    land.cluster(retry=2)

    assert final(chain).success
    assert lines(land.file()) == ["next"]
    assert final(chain.jobs[0]).state is State.SUCCESS
