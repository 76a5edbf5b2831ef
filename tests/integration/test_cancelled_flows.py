"""Chains, groups and callbacks are cancelled as a whole, wherever they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from qcore.tasks.task import Job
from tests.integration import flow_tasks
from tests.integration.land import final, finals, lines

if TYPE_CHECKING:
    from tests.integration.land import Land

pytestmark = pytest.mark.portable


def test_a_chain_cancelled_before_it_began_never_begins(land: Land) -> None:
    """Its handle says that it was cancelled, and counts no link as ended."""
    app = land.app()
    chain = app.chain([(flow_tasks.step, (str(land.file()), text)) for text in "abc"])

    assert chain.cancel()
    assert not chain.cancel()
    land.cluster()

    assert final(chain).cancelled
    assert "stopped at link 1 of 3" in final(chain).error
    assert chain.current() == 0
    assert lines(land.file()) == []


def test_a_chain_that_continues_after_failures_does_not_when_cancelled(land: Land) -> None:
    """Links behind the one taken out of the queue end without a run, however short they are."""
    app = land.app()
    step = app.task(flow_tasks.step).using(continue_on_failure=True)
    chain = app.chain([step.bind(str(land.file()), text) for text in "abc"])

    assert chain.cancel()
    land.cluster()

    assert final(chain).cancelled
    assert lines(land.file()) == []


def test_a_callback_cancelled_while_it_waits_is_not_called(land: Land) -> None:
    """It is not enqueued yet, and short enough to end before anybody could stop it."""
    app = land.app()
    job = app.group([(flow_tasks.double, (number,)) for number in range(3)]).then(
        (flow_tasks.total, (str(land.file()),))
    )

    # By its id alone nothing is known of it yet; it is flagged all the same.
    assert not Job.cancel(job)
    land.cluster()

    assert final(job).cancelled
    assert [one.value for one in finals(job.members)] == [0, 2, 4]
    assert lines(land.file()) == []


def test_the_callback_of_cancelled_members_is_cancelled(land: Land) -> None:
    """One word for members, callback and chain."""
    app = land.app()
    job = app.group([(flow_tasks.double, (number,)) for number in range(3)]).then(
        (flow_tasks.total, (str(land.file()),))
    )

    assert job.members.cancel() == 3
    land.cluster()

    assert (final(job).kind, job.status().state) == ("cancelled", "cancelled")
    assert final(job).error.startswith("3 of 3 failed, the first is #1: TaskCancelled")
    assert lines(land.file()) == []


def test_a_large_group_is_cancelled_in_few_steps(land: Land) -> None:
    """Chains among its members too; of a member that has ended nothing is left to cancel."""
    app, cluster = land.both(ack_failures=True)
    ended = [(flow_tasks.refuse, (str(land.file()),)), (flow_tasks.double, (1,))]
    first = app.group([ended]).enqueue()
    assert not final(first.jobs[0]).success
    assert cluster.stop()
    members = [(flow_tasks.double, (number,)) for number in range(1000)]
    group = app.group([*members, [(flow_tasks.double, (1,)), (flow_tasks.double, (1,))]]).enqueue()

    assert first.cancel() == 0
    assert group.cancel() == 1001
    assert group.cancel() == 0

    assert all(one is not None and one.cancelled for one in group.fetch())
    assert app.queue.size().ready == 0
