"""What is said of a task without a result, and of an unknown one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from qcore import App, Config
from qcore.errors import ResultGone, ResultNotReady

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

STRANGE = "0123456789abcdef" * 2


def task(number: int = 0) -> int:
    """Stand for work."""
    return number


@pytest.fixture(params=["memory", "sqlite"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., App]]:
    """Return a function that returns a producer on an empty queue."""
    made: list[App] = []

    def app(**options: object) -> App:
        section = {} if request.param == "memory" else {"path": str(tmp_path / "queue.db")}
        made.append(App(Config.from_dict({"secret_key": "k" * 40, request.param: section, **options})))
        return made[-1]

    yield app
    for one in made:
        one.close()


def test_an_unknown_id_is_unknown_beside_others(make: Callable[..., App]) -> None:
    """Neither is it taken for one that waits, nor is it said to be cancelled."""
    app = make()
    job = app.enqueue(task, 1)

    assert (app.status(STRANGE).state, job.status().state) == ("unknown", "queued")
    assert app.cancel_many([STRANGE, job.id]) == [False, True]
    assert app.status(job.id).state == "cancelled"
    with pytest.raises(
        ResultGone, match=rf"^task {STRANGE} has no result: nothing is known of it in the queue"
    ):
        app.results.get(STRANGE)


def test_a_task_is_known_while_its_message_is_somewhere(make: Callable[..., App]) -> None:
    """A delayed and a leased one wait; neither is unknown."""
    app = make()
    delayed = app.task(task).using(delay=600).enqueue(1)
    leased = app.enqueue(task, 2)
    with app.runtime.brokers.connection() as broker:
        assert len(broker.lease(5, 0.0)) == 1

        assert [delayed.status().state, leased.status().state] == ["queued", "queued"]
        assert leased.cancel()
        assert app.status(leased.id).state == "queued"


def test_a_queue_without_a_cluster_is_why_there_is_no_result(make: Callable[..., App]) -> None:
    """The likely cause is said, with what to do."""
    app = make()
    app.enqueue(task)
    job = app.enqueue(task)

    with pytest.raises(
        ResultNotReady, match=r"^task \w+ has no result yet: it waits in the queue '\w+' \(2 ready, 0 "
    ) as (caught):
        job.result()

    assert not isinstance(caught.value, ResultGone)
    assert str(caught.value).endswith(", and no cluster works on it; qcore run starts one")
    app.queue.pause()
    with pytest.raises(ResultNotReady, match=r", which is paused; qcore resume ends that$"):
        job.result()


def test_a_success_that_was_pushed_out_is_gone(make: Callable[..., App]) -> None:
    """It is not said that there is no result yet."""
    app = make(sync=True, save_limit=2)
    jobs = [app.enqueue(task, number) for number in range(3)]
    with app.runtime.stores.connection() as store:
        assert store.prune(2) == 1

    with pytest.raises(
        ResultGone, match=r"^task \w+ has no result: .*save_limit = 2.*, so it has been pushed out$"
    ):
        jobs[0].result()
    assert [job.result() for job in jobs[1:]] == [1, 2]


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"save_limit": -1}, "save_limit = -1 stores no successes"),
        (
            {"save_limit": 0},
            "there never was such a task, or its result was not to be stored, or was deleted$",
        ),
    ],
)
def test_other_causes_are_named(make: Callable[..., App], options: dict[str, int], why: str) -> None:
    """What the configuration says of results is a cause."""
    declared = make(**options).task(task)
    declared.enqueue()
    job = declared.using(save=False, sync=True).enqueue()

    with pytest.raises(ResultGone, match=why):
        job.result()
