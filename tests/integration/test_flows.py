"""Hooks, chains and groups on real clusters: each end is gone on from once."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest

from qcore import Chain, QueueSize, Retry, State, TaskFailed
from qcore.errors import NotSupported
from tests.integration import flow_tasks, tasks
from tests.integration.land import final, lines, until

if TYPE_CHECKING:
    from qcore import App, Job
    from tests.integration.land import Land

pytestmark = pytest.mark.portable

SETTINGS: dict[str, Any] = {"retry": 30, "preload": ["tests.integration.flow_tasks"]}
EMPTY = QueueSize(ready=0, leased=0, delayed=0, dead_letters=0)


def drained(app: App, **others: int) -> None:
    """Wait until nothing is left in the queue but this."""
    wanted = QueueSize(**{"ready": 0, "leased": 0, "delayed": 0, "dead_letters": 0} | others)
    until(lambda: app.queue.size() == wanted, f"{wanted}, and it is {app.queue.size()}")


# -- hooks --------------------------------------------------------------------------------------


@pytest.mark.parametrize("save", [True, False])
def test_a_hook_is_called_with_the_result_stored_or_not(land: Land, save: bool) -> None:
    """What it is given does not come from the store."""
    app, _ = land.both(**SETTINGS)
    path = str(land.file())

    app.task(flow_tasks.double).using(hook=flow_tasks.hook, save=save, label=path).enqueue(4)

    until(lambda: lines(land.file()))
    drained(app)
    assert ["success 8 "] == lines(land.file())


def test_a_hook_is_called_once_a_task_and_not_once_a_run(land: Land) -> None:
    """A failure that will be retried does not end the job."""
    app, _ = land.both(**SETTINGS)
    path, told = str(land.file("runs")), str(land.file())
    sender = app.task(tasks.fail_first).using(
        retry=Retry(max_attempts=5, backoff=0.01), hook="tests.integration.flow_tasks.hook", label=told
    )

    sender.enqueue(3, path)

    until(lambda: lines(land.file()))
    drained(app)
    assert 4 == len(lines(land.file("runs")))
    assert ["success run 4 "] == lines(land.file())


@pytest.mark.parametrize(
    ("task", "kind", "error", "options"),
    [
        (flow_tasks.refuse, "failure", "ValueError", {"retry": Retry(max_attempts=2, backoff=0.01)}),
        (flow_tasks.refuse, "failure", "ValueError", {"ack_failure": True}),
        (flow_tasks.fall, "crash", "WorkerDied", {}),
        (flow_tasks.hang, "timeout", "TaskTimeout", {"timeout": 0.3, "ack_failure": True}),
        (flow_tasks.hang, "timeout", "TaskTimeout", {"timeout": 0.3, "retry": Retry(max_attempts=1)}),
    ],
    ids=[
        "failed and dead-lettered",
        "failed and acknowledged",
        "fell",
        "hung and acknowledged",
        "hung and dead-lettered",
    ],
)
def test_a_hook_is_told_of_every_bad_end(
    land: Land, task: Any, kind: str, error: str, options: dict[str, Any]
) -> None:
    """Whoever settled: the worker, or the supervisor in its place."""
    app, _ = land.both(**SETTINGS, max_crashes=2)
    told = str(land.file())

    job = app.task(task).using(hook=flow_tasks.hook, label=told, **options).enqueue(str(land.file("runs")))

    until(lambda: lines(land.file()))
    dead_letters = 0 if options.get("ack_failure") else 1
    drained(app, dead_letters=dead_letters)
    assert [f"{kind} None {error}"] == lines(land.file())
    assert (State.FAILED, kind) == (final(job).state, final(job).kind)
    with app.runtime.brokers.connection() as broker:
        assert all(error in letter.reason for letter in broker.dead_letters())


def test_a_hook_is_told_of_a_task_that_expired(land: Land) -> None:
    """It never ran, and its end is reported like any other."""
    app = land.app(**SETTINGS)
    job = app.task(flow_tasks.double).using(hook=flow_tasks.hook, label=str(land.file()), expires=0.001)
    job.enqueue(1)
    app.enqueue(tasks.add, 1, 1).fetch(wait=0.05)

    land.cluster(**SETTINGS)

    until(lambda: lines(land.file()))
    assert ["expired None it expired"] == [line[:23] for line in lines(land.file())]


def test_a_hook_that_fails_is_stored_and_hurts_nobody(land: Land) -> None:
    """The task it was called for has its result, and the hook is not tried again."""
    app, _ = land.both(**SETTINGS)

    job = app.async_task(flow_tasks.double, 2, hook=flow_tasks.broken_hook, task_name=str(land.file()))

    until(lambda: lines(land.file()))
    drained(app)
    assert 4 == app.results.get(job, wait=100)
    assert ["called"] == lines(land.file())
    with app.runtime.stores.connection() as store:
        until(lambda: store.recent(State.FAILED))
        (failed,) = store.recent(State.FAILED)
    assert ("tests.integration.flow_tasks.broken_hook", f"RuntimeError: {job}") == (
        failed.name,
        app.runtime.results.read(failed).error,
    )


# -- chains -------------------------------------------------------------------------------------


def test_a_chain_runs_its_steps_in_order(land: Land) -> None:
    """The next begins when the one before has ended; each has a result, the last is the chain's."""
    app, _ = land.both(**SETTINGS)
    path = str(land.file())

    chain = app.chain([(flow_tasks.step, (path, text)) for text in "abcd"])

    assert "d" == chain.result(wait=100)
    assert ["a", "b", "c", "d"] == lines(land.file()) == [job.result() for job in chain.jobs]
    assert (chain.id, 4, 4) == (chain.jobs[-1].id, len(chain), chain.current())
    drained(app)


def test_a_chain_hands_values_on_when_asked_to(land: Land) -> None:
    """Each link's value is the first argument of the next."""
    app, _ = land.both(**SETTINGS)
    path = str(land.file())
    after = app.task(flow_tasks.after)

    chain = app.chain(
        [
            app.task(flow_tasks.step).bind(path, "a"),
            (after, (path, "b")),
            (flow_tasks.after, (), {"path": path, "text": "c"}),
        ],
        pipe_result=True,
    )

    assert "a+b+c" == chain.result(wait=100)


def test_a_chain_goes_on_where_no_success_is_stored(land: Land) -> None:
    """Neither save_limit nor save=False breaks it."""
    app, _ = land.both(**SETTINGS, save_limit=-1)
    path = str(land.file())

    app.chain([(flow_tasks.step, (path, "a")), (flow_tasks.after, (path, "b"))], pipe_result=True)

    until(lambda: lines(land.file()) == ["a", "a+b"])
    drained(app)


def test_a_chain_stops_at_a_failure_and_its_handle_says_where(land: Land) -> None:
    """What comes behind is never run; whoever waits for the chain is woken at once."""
    app, _ = land.both(**SETTINGS, max_attempts=1)
    path = str(land.file())

    chain = app.chain(
        [(flow_tasks.step, (path, "a")), (flow_tasks.refuse, (path,)), (flow_tasks.step, (path, "c"))]
    )

    with pytest.raises(TaskFailed, match=r"stopped at link 2 of 3 \(.*refuse\): ValueError: no"):
        chain.result(wait=100)
    drained(app, dead_letters=1)
    assert (2, ["a", "no"]) == (chain.current(), lines(land.file()))
    assert ("failure", "skipped") == (final(chain.jobs[1]).kind, final(chain).kind)


def test_a_chain_goes_on_behind_a_link_that_may_fail(land: Land) -> None:
    """Its value is None then."""
    app, _ = land.both(**SETTINGS, ack_failures=True)
    path = str(land.file())

    chain = app.chain(
        [
            app.task(flow_tasks.refuse).using(continue_on_failure=True).bind(path),
            (flow_tasks.after, (path, "b")),
        ],
        pipe_result=True,
    )

    assert "None+b" == chain.result(wait=100)


@pytest.mark.parametrize("task", [flow_tasks.fall, flow_tasks.hang])
def test_a_chain_stops_at_a_link_that_kills_its_worker(land: Land, task: Any) -> None:
    """The supervisor gives the verdict and the next worker goes on from it."""
    app, _ = land.both(**SETTINGS, max_crashes=1, timeout=0.3, max_attempts=1)
    path = str(land.file())

    chain = app.chain([(task, (path,)), (flow_tasks.step, (path, "never"))])

    with pytest.raises(TaskFailed, match="stopped at link 1 of 2"):
        chain.result(wait=100)
    drained(app, dead_letters=1)
    assert 1 == len(lines(land.file()))


def test_a_requeued_dead_letter_continues_its_chain(land: Land) -> None:
    """The chain that was given up ends well after all."""
    app, _ = land.both(**SETTINGS, max_attempts=1)
    runs, path = str(land.file("runs")), str(land.file())
    chain = app.chain([(tasks.fail_first, (1, runs)), (flow_tasks.step, (path, "b"))])
    with pytest.raises(TaskFailed, match="stopped"):
        chain.result(wait=100)
    drained(app, dead_letters=1)

    with app.runtime.brokers.connection() as broker:
        broker.requeue([letter.id for letter in broker.dead_letters()])

    until(lambda: final(chain).success)
    drained(app)
    assert (["b"], "b") == (lines(land.file()), chain.result())


def test_a_value_too_large_to_be_handed_on_stops_the_chain(land: Land) -> None:
    """The link itself has succeeded."""
    app, _ = land.both(**SETTINGS, max_message=4096)

    chain = app.chain([(flow_tasks.large, (8192,)), "builtins.len"], pipe_result=True)

    with pytest.raises(TaskFailed, match=r"its result cannot be passed on: the message has .* max_message"):
        chain.result(wait=100)
    assert bytes(8192) == chain.jobs[0].result()


# -- groups -------------------------------------------------------------------------------------


def test_a_group_is_enqueued_together_and_read_together(land: Land) -> None:
    """In the order of its members."""
    app, _ = land.both(**SETTINGS)

    group = app.group([(flow_tasks.double, (number,)) for number in range(20)]).enqueue()

    assert [2 * number for number in range(20)] == group.results(wait=100)
    assert [2 * number for number in range(20)] == [job.result() for job in group]


def test_a_callback_is_called_once_with_what_all_returned(land: Land) -> None:
    """In the order of the members, with arguments of its own behind; nothing of the barrier is left."""
    app, _ = land.both(**SETTINGS)
    path = str(land.file())

    job = app.group([(flow_tasks.double, (number,)) for number in range(20)]).then(
        (flow_tasks.total, (path,))
    )

    assert 380 == job.result(wait=100)
    assert list(range(0, 40, 2)) == job.members.results()
    drained(app)
    assert ["20"] == lines(land.file())
    _nothing_gathered(app, job)


def test_a_callback_is_not_called_when_a_member_failed(land: Land) -> None:
    """Its handle says how many and the first."""
    app, _ = land.both(**SETTINGS, ack_failures=True)
    path = str(land.file())
    members = [
        (flow_tasks.double, (1,)),
        (flow_tasks.double, (2,)),
        (flow_tasks.refuse, (path,)),
        (flow_tasks.refuse, (path,)),
    ]

    job = app.group(members).then(flow_tasks.total)

    with pytest.raises(TaskFailed, match="2 of 4 failed, the first is #3: ValueError: no"):
        job.result(wait=100)
    drained(app)
    _nothing_gathered(app, job)


def test_a_callback_that_asks_for_results_is_called_however_they_ended(land: Land) -> None:
    """By itself, by timeout, by a crash; in order."""
    app, _ = land.both(**SETTINGS, max_crashes=1, ack_failures=True)
    path = str(land.file())
    late = app.task(flow_tasks.hang).using(timeout=0.3)

    job = app.group([(flow_tasks.double, (1,)), (flow_tasks.fall, (path,)), late.bind(path)]).then(
        flow_tasks.tell, results=True
    )

    told = [text.partition(":")[0] for text in job.result(wait=100)]
    assert ["2", "crash", "timeout"] == told


def test_a_member_may_be_a_chain(land: Land) -> None:
    """It is the last link, or where it stopped, that counts."""
    app, _ = land.both(**SETTINGS, ack_failures=True)
    path = str(land.file())
    feeding = Chain([(flow_tasks.step, (path, "a")), (flow_tasks.after, (path, "b"))], pipe_result=True)
    stopped = [(flow_tasks.refuse, (path,)), (flow_tasks.step, (path, "never"))]

    job = app.group([feeding, stopped, (flow_tasks.double, (3,))]).then(flow_tasks.tell, results=True)

    assert ["a+b", "skipped: stopped at link 1 of 2", "6"] == [
        text.partition(" (")[0] for text in job.result(wait=100)
    ]


def test_a_callback_depends_on_no_stored_result(land: Land) -> None:
    """Neither save_limit nor the time results are kept is its concern."""
    app, _ = land.both(**SETTINGS, save_limit=-1)
    members = [app.task(flow_tasks.double).using(result_ttl=0.001).bind(number) for number in range(5)]

    job = app.group(members).then(app.task(flow_tasks.total).using(save=True))

    assert 20 == job.result(wait=100)


@pytest.mark.parametrize(
    ("items", "expected"),
    [([], []), ([3], [6]), ([(1,), 2, (3,)], [2, 4, 6])],
    ids=["none", "one", "tuples and values"],
)
def test_iter_collects_one_result_in_the_order_of_its_arguments(
    land: Land, items: list[Any], expected: list[int]
) -> None:
    """Of no arguments the empty list; no list of allowed tasks is in its way."""
    app, _ = land.both(**SETTINGS, tasks_allowed=["tests.*"])

    assert expected == app.iter(flow_tasks.double, items).result(wait=100)


def test_what_iter_collected_is_kept_when_it_is_too_large(land: Land) -> None:
    """The dead letter keeps it: with a larger `max_result` and a requeue the list is there, in full."""
    app, cluster = land.both(**SETTINGS, max_result=1000)
    path = str(land.file())
    job = app.iter(flow_tasks.note_and_return, [(path, "x" * 400) for _ in range(3)])

    with pytest.raises(
        TaskFailed,
        match="max_result allows 1000.* the 3 results that it was given are kept for 30 days: "
        f"raise max_result, restart the cluster and run `qcore dead-letters requeue {job.id}`",
    ):
        job.result(wait=100)
    drained(app, dead_letters=1)
    assert all(one.delete() for one in job.members)
    cluster.stop()
    app, _ = land.both(**SETTINGS)
    _requeue(app)

    until(lambda: app.status(job.id).state == "succeeded")
    assert ["x" * 400] * 3 == app.results.get(job.id)
    drained(app)
    assert 3 == len(lines(land.file()))
    _nothing_gathered(app, job)


def test_a_callback_that_failed_is_requeued_with_what_it_was_given(land: Land) -> None:
    """Its dead letter keeps the values of the members."""
    app, cluster = land.both(**SETTINGS, max_attempts=1)
    path = land.file()

    job = app.group([(flow_tasks.double, (1,)), (flow_tasks.double, (2,))]).then(
        (flow_tasks.total_or_fail, (str(path),))
    )
    assert "FileNotFoundError" in final(job).error
    drained(app, dead_letters=1)
    cluster.stop()
    path.touch()
    _requeue(app)
    land.cluster(**SETTINGS, max_attempts=1)

    until(lambda: final(job).success)
    assert 6 == job.result()
    drained(app)
    _nothing_gathered(app, job)


def test_a_callback_that_is_acknowledged_for_its_failure_keeps_nothing(land: Land) -> None:
    """Nobody can requeue it, so its barrier is deleted."""
    app, _ = land.both(**SETTINGS, ack_failures=True, max_result=100)

    job = app.iter(flow_tasks.large, [90, 90])

    error = final(job).error
    assert "the result has" in error
    assert "requeue" not in error
    drained(app)
    _nothing_gathered(app, job)


def _requeue(app: App) -> None:
    with app.runtime.brokers.connection() as broker:
        broker.requeue([letter.id for letter in broker.dead_letters()])


def test_a_thousand_members_are_gathered(land: Land) -> None:
    """Each once and in order."""
    app, _ = land.both(**SETTINGS)

    assert [2 * number for number in range(1000)] == app.iter(flow_tasks.double, range(1000)).result(wait=60)


def test_two_members_that_end_together_call_back_once(land: Land) -> None:
    """Whichever of two workers is the last, and however close the other."""
    app, _ = land.both(**SETTINGS)
    rounds = 40

    jobs = []
    for number in range(rounds):
        gate = land.file(f"gate{number}")
        members = [(flow_tasks.wait_for, (str(gate), member)) for member in range(2)]
        job = app.group(members).then((flow_tasks.total, (str(land.file()),)))
        gate.touch()
        jobs.append(job)

    assert [1] * rounds == [job.result(wait=100) for job in jobs]
    drained(app)
    assert rounds == len(lines(land.file()))


def _nothing_gathered(app: App, job: Job[Any]) -> None:
    flow = job.members.id  # type: ignore[attr-defined]  # a CallbackJob
    with app.runtime.coordination_stores.connection() as store:
        until(lambda: not store.barrier_members(f"flow:{flow}"))


# -- other queues, Django-Q's calls, groups by label -------------------------------------


def test_a_task_for_another_queue_runs_there(land: Land, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its handle reads the results of that queue; each queue has a file of its own."""
    monkeypatch.setenv("XDG_STATE_HOME", str(land.folder))
    settings = SETTINGS | {"sqlite": {}}
    app, _ = land.app(**settings), land.cluster(**settings, name="other")
    there = app.task(flow_tasks.double).using(cluster="other")
    path = str(land.file())

    jobs = app.enqueue_many([there.bind(1), app.task(flow_tasks.double).bind(2), there.bind(3)])
    named = app.async_task(flow_tasks.double, 4, cluster="other", hook=flow_tasks.hook, task_name=path)
    chain = app.chain([there.bind(5), there], pipe_result=True)

    assert [2, 6] == [jobs[0].result(wait=100), jobs[2].result(wait=100)]
    assert (8, 20) == (app.for_cluster("other").results.get(named, wait=100), chain.result(wait=100))
    assert [4, 10] == app.iter(there, [2, 5]).result(wait=100)
    assert 1 == app.queue.size().ready
    until(lambda: lines(land.file()) == ["success 8 "])


def test_a_flow_stays_in_one_queue(land: Land) -> None:
    """Its links could not be enqueued with the results of another."""
    app = land.app(**SETTINGS)

    with pytest.raises(NotSupported, match="stays with one cluster, and its tasks ask for 'a', 'b'"):
        app.chain([app.task(flow_tasks.double).using(cluster=name).bind(1) for name in ("a", "b")])


def test_async_task_takes_hooks_and_chains(land: Land) -> None:
    """In the words of Django-Q; the id is the first task's."""
    app, _ = land.both(**SETTINGS)
    path = str(land.file())

    first = app.async_task(
        flow_tasks.step, path, "a", chain=[(flow_tasks.step, (path, "b")), (flow_tasks.step, (path, "c"), {})]
    )

    until(lambda: lines(land.file()) == ["a", "b", "c"])
    assert "a" == app.results.get(first)


def test_results_are_read_by_their_group(land: Land) -> None:
    """Values, errors, whole results, counts; and they are taken out of it, or forgotten."""
    app, _ = land.both(**SETTINGS, ack_failures=True)
    app.async_task(flow_tasks.refuse, str(land.file()), group="g")
    for number in range(3):
        app.async_task(flow_tasks.double, number, group="g")

    assert [0, 2, 4] == sorted(app.results.get_group("g", wait=100, count=3))
    until(lambda: app.results.count_group("g") == 4)
    assert (4, 1) == (app.results.count_group("g"), app.results.count_group("g", failures=True))
    assert 4 == len(app.results.get_group("g", failures=True))
    assert {"failure", "success"} == {one.kind for one in app.results.fetch_group("g")}
    assert 3 == len(app.results.fetch_group("g", failures=False))
    ids = [one.id for one in app.results.fetch_group("g")]
    assert 4 == app.results.delete_group("g")
    assert ([], 4) == (app.results.fetch_group("g"), len([one for one in app.results.fetch_many(ids) if one]))
    assert [True, False] == [app.results.delete(ids[0]) for _ in range(2)]


def test_groups_are_forgotten_with_their_tasks_when_asked_to(land: Land) -> None:
    """Nothing of them is left then."""
    app, _ = land.both(**SETTINGS)
    jobs = [app.async_task(flow_tasks.double, number, group="g") for number in range(3)]
    app.results.get_group("g", wait=100, count=3)

    assert 3 == app.results.delete_group("g", tasks=True)

    assert [None] * 3 == app.results.fetch_many(jobs)
    assert list(itertools.repeat(0, 2)) == [
        app.results.count_group("g"),
        app.results.delete_group("g", tasks=True),
    ]


def test_successes_are_counted_apart_where_save_limit_per_says_so(land: Land) -> None:
    """As many of each task as the limit, however many there are of the other."""
    app, _ = land.both(**SETTINGS, save_limit=2, save_limit_per="name", workers=1)
    jobs = [app.async_task(flow_tasks.double, n, task_name=name) for n in range(4) for name in ("a", "b")]
    app.results.get(jobs[-1], wait=100)

    until(lambda: sum(one is not None for one in app.results.fetch_many(jobs)) == 4)
    assert ["a", "b", "a", "b"] == [one.label for one in app.results.fetch_many(jobs) if one is not None]
