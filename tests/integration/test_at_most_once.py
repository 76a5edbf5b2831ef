"""A task that may run only once never runs twice, whoever is killed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from qcore import QueueSize, Retry, State, TaskFailed
from qcore.begun import BEGUN, sign_of
from qcore.cli.overview import look
from qcore.errors import BackendRejected, PayloadTooLarge
from qcore.messages.head import Head, encode_head
from qcore.messages.results import Begun
from qcore.model import Kind, Outcome, Outgoing
from qcore.supervision.orphans import Orphans
from qcore.supervision.recovery import Recovery
from qcore.tasks.call import Options
from qcore.tasks.task import bind
from tests.integration import flow_tasks, tasks
from tests.integration.land import final, kill, lines, until

if TYPE_CHECKING:
    from qcore import App, Job, Result
    from tests.integration.land import Land

pytestmark = pytest.mark.portable

SETTINGS: dict[str, Any] = {"preload": ["tests.integration.flow_tasks"]}
EMPTY = QueueSize(ready=0, leased=0, delayed=0, dead_letters=0)


def once(app: App, function: Any, **options: Any) -> Any:
    """Return a task that may run only once."""
    return app.task(function).using(at_most_once=True, **options)


def interrupted(result: Result) -> bool:
    """Tell whether a result says that the task began, and did not end."""
    return result.state is State.FAILED and result.kind == "interrupted" and result.interrupted


def test_killing_its_worker_once_is_the_end(land: Land) -> None:
    """Without the option it would run three times."""
    app, _ = land.both(**SETTINGS)

    job = once(app, flow_tasks.fall).enqueue(str(land.file()))

    result = final(job)
    assert interrupted(result)
    assert "SIGKILL" in result.error
    until(lambda: app.queue.size() == EMPTY)
    assert lines(land.file()) == ["fell"]
    assert app.status(job.id).state == "interrupted"


def test_max_attempts_and_ack_failure_do_not_count_crashes(land: Land) -> None:
    """Each number counts its own kind of end; the crashes of one task have a number of their own."""
    app, _ = land.both(**SETTINGS, retry=30)

    options: Any = {"retry": Retry(max_attempts=1), "ack_failure": True}
    jobs = [
        app.task(flow_tasks.fall).using(**options, max_crashes=1).enqueue(str(land.file("one"))),
        app.task(flow_tasks.fall).using(**options, max_crashes=2).enqueue(str(land.file("two"))),
    ]

    assert [final(job).crashes for job in jobs] == [1, 2]
    assert [len(lines(land.file(name))) for name in ("one", "two")] == [1, 2]


def test_its_message_is_gone_before_it_begins(land: Land) -> None:
    """The acknowledgement is durable, and until its end the result says that it has begun."""
    app, _ = land.both(**SETTINGS)
    gate = land.file("gate")

    job = once(app, tasks.hold_on).enqueue(str(land.file()), str(gate))
    until(lambda: lines(land.file()))

    assert app.queue.size() == EMPTY
    early = job.fetch()
    assert early is not None
    assert early.begun
    until(lambda: app.status(job.id).state == "running")
    gate.touch()
    assert final(job).success


def dead(app: App, *jobs: Job[Any]) -> None:
    """Have the clusters that run these tasks pass for dead: the flag that they kept is gone."""
    with app.runtime.stores.connection() as store, app.runtime.coordination_stores.connection() as shared:
        for one in store.get([bytes.fromhex(job.id) for job in jobs]):
            body = app.runtime.results.open(one.id, one.body) if one is not None else None
            assert body is not None
            assert body.begun is not None
            shared.set_flag(body.begun.sign, b"", 1.0)


def stored(app: App, job: Job[Any]) -> Result:
    """Return what is stored of a task, which may be less than what is read."""
    with app.runtime.stores.connection() as store:
        (record,) = store.get([bytes.fromhex(job.id)])
    assert record is not None
    return app.runtime.results.read(record)


@pytest.mark.parametrize("broker", ["sqlite", "strange_brokers.NoStatus"])
def test_death_of_the_whole_cluster_does_not_run_it_again(land: Land, broker: str) -> None:
    """The next cluster stores that they were interrupted, and what follows from that follows once."""
    settings = SETTINGS | {"retry": 30, "workers": 3}
    if broker != "sqlite":
        settings["broker_class"] = f"tests.integration.{broker}"
    app, cluster = land.both(**settings)
    told = str(land.file("told"))
    hold = once(app, tasks.hold_on, hook=flow_tasks.hook, label=told)
    call = hold.bind(str(land.file()), str(land.file("gate")))
    step, after = (
        app.task(one).using(hook=flow_tasks.hook, label=told).bind(told, "no")
        for one in (flow_tasks.step, flow_tasks.after)
    )
    alone, chain = app.enqueue_many([call])[0], app.chain([call, step])
    app.group([call]).then(after)
    until(lambda: len(lines(land.file())) == 3)

    kill(cluster.pid or 0)
    until(lambda: cluster.status().state == "stopped")
    assert stored(app, alone).begun
    dead(app, alone)
    clusters = [land.cluster(**settings) for _ in range(2)]

    until(lambda: stored(app, alone).interrupted)
    assert "no sign of life" in stored(app, alone).error
    until(lambda: app.queue.size() == EMPTY and len(lines(land.file("told"))) >= 5)
    for one in clusters:
        one.stop()
    kinds = sorted(one.partition(" ")[0] for one in lines(land.file("told")))
    assert kinds == ["interrupted"] * 3 + ["skipped"] * 2
    with pytest.raises(TaskFailed, match="stopped at link 1 of 2"):
        chain.result()
    assert len(lines(land.file())) == 3


def test_task_of_a_dead_cluster_reads_as_interrupted(land: Land) -> None:
    """Although no other cluster has come yet to store it."""
    app, cluster = land.both(**SETTINGS, retry=1)
    job = once(app, tasks.hold_on).enqueue(str(land.file()), str(land.file("gate")))
    until(lambda: lines(land.file()))

    kill(cluster.pid or 0)
    until(lambda: cluster.status().state == "stopped")
    found = job.fetch()
    assert found is not None
    assert found.begun
    assert app.status(job.id).state in {"begun", "running"}

    dead(app, job)
    with pytest.raises(TaskFailed, match=r"no sign of life for 60 seconds; it is not run again"):
        job.result()
    found = job.fetch()
    assert found is not None
    assert interrupted(found)
    assert app.status(job.id).state == "interrupted"
    assert look(app).interrupted == 1
    assert len(lines(land.file())) == 1


def test_task_of_a_living_cluster_is_not_interrupted(land: Land) -> None:
    """However long it runs: its cluster keeps a flag, and is trusted with its own without one."""
    app, _ = land.both(**SETTINGS)
    gate = land.file("gate")
    job = once(app, tasks.hold_on).enqueue(str(land.file()), str(gate))
    until(lambda: app.status(job.id).state == "running")
    runtime = app.runtime
    with runtime.brokers.connection() as broker, runtime.stores.connection() as store:
        orphans = Orphans(runtime, Recovery(runtime, lambda: (broker, store)))
        with runtime.coordination_stores.connection() as shared:
            orphans.end(store, shared, b"")
            assert stored(app, job).begun

            # While another supervisor does it, this one leaves it alone.
            dead(app, job)
            assert shared.acquire("orphans", b"another", 1, 60.0) is None
            orphans.end(store, shared, b"")
            assert stored(app, job).begun
            shared.release([("orphans", b"another")])

            (record,) = store.group(BEGUN)
            begun = runtime.results.open(record.id, record.body).begun
            assert begun is not None
            orphans.end(store, shared, bytes.fromhex(begun.sign.partition(":")[2]))
            assert stored(app, job).begun

            orphans.end(store, shared, b"")
            assert stored(app, job).interrupted
            assert not store.group(BEGUN)
    # It was taken for dead and was not: what it did counts.
    gate.touch()
    until(lambda: stored(app, job).success)


def test_what_a_broker_refuses_holds_up_no_other_task(
    land: Land, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A callback that it does not take is logged, and every task of the dead cluster is ended."""
    app = land.app(**SETTINGS)
    runtime = app.runtime
    head = Head("tests.integration.tasks.add", hook="tests.integration.flow_tasks.hook")
    begun, outcome = (
        Begun(encode_head(head), b"", sign_of(bytes(8))),
        Outcome.unrun(Kind.INTERRUPTED, "begun"),
    )
    records = [
        runtime.results.begun(
            runtime.results.seal(
                bytes([number] * 16), head, State.RETRYING, outcome, b"", created=1, attempts=0, crashes=0
            ),
            begun,
        )
        for number in (1, 2)
    ]
    with (
        runtime.brokers.connection() as broker,
        runtime.stores.connection() as store,
        runtime.coordination_stores.connection() as shared,
    ):
        store.save([msgspec.structs.replace(one, group=BEGUN) for one in records])

        def refuse(*_: object) -> None:
            raise BackendRejected("too large for this one")

        monkeypatch.setattr(broker, "commit_and_lease", refuse)
        Orphans(runtime, Recovery(runtime, lambda: (broker, store))).end(store, shared, b"")

        found = store.get([one.id for one in records])
    assert [one is not None and runtime.results.read(one).interrupted for one in found] == [True, True]
    assert caplog.text.count("is refused: too large for this one") == 2


def test_batch_runs_each_once_and_kills_only_its_own(land: Land) -> None:
    """In a row of tasks of both kinds the neighbours of the one that kills its worker run."""
    app = land.app(**SETTINGS)
    add, step = app.task(tasks.add), once(app, flow_tasks.step)
    path = str(land.file())
    calls: list[Any] = []
    for number in range(30):
        calls += [add.bind(number, 0), step.bind(path, f"{number}")]
        if number % 10 == 5:
            calls.append(once(app, flow_tasks.fall).bind(str(land.file("fallen"))))
    jobs = app.enqueue_many(calls)

    land.cluster(**SETTINGS, workers=1)
    results = [final(job) for job in jobs]

    assert sorted(map(int, lines(land.file()))) == list(range(30))
    assert len(lines(land.file("fallen"))) == 3
    assert [one.kind for one in results if not one.success] == ["interrupted"] * 3
    until(lambda: app.queue.size() == EMPTY)


def test_failure_is_final_and_not_a_dead_letter(land: Land) -> None:
    """It is acknowledged already, so nobody can requeue it."""
    app, _ = land.both(**SETTINGS)

    job = once(app, tasks.fail).enqueue("no", str(land.file()))

    with pytest.raises(TaskFailed, match="no"):
        job.result(wait=100)
    assert app.queue.size() == EMPTY
    assert len(lines(land.file())) == 1


@pytest.mark.parametrize("how", ["timeout", "cancel", "stop"])
def test_every_end_by_the_supervisor_is_final(land: Land, how: str) -> None:
    """Late, cancelled or stopped: it ends, and does not come back."""
    app, cluster = land.both(**SETTINGS, retry=30, shutdown_timeout=0.1)
    timeout = 0.3 if how == "timeout" else None
    job = once(app, flow_tasks.hang, timeout=timeout).enqueue(str(land.file()))
    until(lambda: lines(land.file()))

    if how == "cancel":
        assert job.cancel()
    if how == "stop":
        cluster.stop()
        cluster = land.cluster(**SETTINGS)

    assert final(job).kind == {"timeout": "timeout", "cancel": "cancelled", "stop": "interrupted"}[how]
    assert len(lines(land.file())) == 1
    assert app.queue.size() == EMPTY


def test_declaration_holds_for_whoever_enqueues_by_name(land: Land) -> None:
    """Who knows only the dotted name cannot make it run twice."""
    app, _ = land.both(**SETTINGS)

    job = app.enqueue("tests.integration.tasks.pay", str(land.file()))

    assert interrupted(final(job))
    assert len(lines(land.file())) == 1


def test_configuration_holds_for_every_task(land: Land) -> None:
    """A task may say otherwise."""
    app, _ = land.both(**SETTINGS, at_most_once=True, max_crashes=2)

    one = app.enqueue(flow_tasks.fall, str(land.file("one")))
    two = app.task(flow_tasks.fall).using(at_most_once=False).enqueue(str(land.file("two")))

    assert interrupted(final(one))
    assert final(two).kind == "crash"
    assert (1, 2) == (len(lines(land.file("one"))), len(lines(land.file("two"))))


def test_configuration_refuses_a_task_that_asks_for_a_second_run(land: Land) -> None:
    """Enqueued, or as a link: nothing is dropped without a word."""
    app = land.app(**SETTINGS, at_most_once=True)
    again = app.task(tasks.fail).using(retry=Retry(max_attempts=3))

    message = r"retry=Retry\(max_attempts=3.* asks for one; the configuration sets it for all tasks"
    with pytest.raises(ValueError, match=message):
        again.enqueue("no")
    with pytest.raises(ValueError, match=message):
        app.chain([again.bind("no"), again.bind("no")])
    assert app.queue.size() == EMPTY
    again.using(at_most_once=False).enqueue("no")
    assert app.queue.size().ready == 1


def test_configuration_names_the_policy_that_it_excludes(
    land: Land, capfd: pytest.CaptureFixture[str]
) -> None:
    """Whoever enqueues by a dotted name does not know the policy; the worker's log names it."""
    app, _ = land.both(**SETTINGS, at_most_once=True)

    job = app.enqueue("tests.integration.tasks.choosy", "OSError", str(land.file()))

    assert final(job).kind == "failure"
    assert "at_most_once of the configuration excludes its Retry(max_attempts=3" in capfd.readouterr().err


@pytest.mark.parametrize(("name", "runs"), [("crash_once", 1), ("crash_four", 4)])
def test_declared_crashes_hold_for_whoever_enqueues_by_name(land: Land, name: str, runs: int) -> None:
    """Fewer and more than the configuration allows."""
    app, _ = land.both(**SETTINGS, max_crashes=2)

    job = app.enqueue(f"tests.integration.flow_tasks.{name}", str(land.file()))

    until(lambda: app.status(job.id).state == "failed")
    assert final(job).crashes == runs
    assert len(lines(land.file())) == runs


def test_success_that_is_not_stored_is_known_for_an_hour(land: Land) -> None:
    """What says that it has begun is replaced by its end in each case."""
    app, _ = land.both(**SETTINGS)

    job = once(app, tasks.add, save=False).enqueue(1, 2)

    assert job.result(wait=100) == 3
    with app.runtime.stores.connection() as store:
        (record,) = store.get([bytes.fromhex(job.id)])
    assert record is not None
    assert record.expires > time.time()


# -- flows --------------------------------------------------------------------------------------


def test_interrupted_member_of_a_group_has_failed(land: Land) -> None:
    """The callback of the group is called, as after any other failure."""
    app, _ = land.both(**SETTINGS)
    fall = once(app, flow_tasks.fall)
    add = app.task(tasks.add)

    told = str(land.file("told"))
    note = app.task(flow_tasks.after).using(hook=flow_tasks.hook, label=told)
    app.group([add.bind(1, 2), fall.bind(str(land.file()))]).then(note.bind("", ""))  # type: ignore[call-arg]  # the first is passed on

    until(lambda: lines(land.file("told")))
    assert lines(land.file("told"))[0].startswith("skipped None")
    assert len(lines(land.file())) == 1


def test_header_that_could_be_lost_is_refused(land: Land) -> None:
    """What follows such a task must have room in the journal, or it would be lost with the worker."""
    app, _ = land.both(**SETTINGS)
    large = "x" * (600 << 10)
    path = str(land.file())
    step = once(app, flow_tasks.step)
    plain = app.task(flow_tasks.step)

    with pytest.raises(PayloadTooLarge, match=r"step runs at most once, and what follows it takes 61"):
        app.chain([step.bind(path, "a"), plain.bind(path, large)])
    assert app.queue.size() == EMPTY
    # The large one itself may run once: nothing follows it.
    assert app.chain([plain.bind(path, "a"), step.bind(path, large)]).result(wait=100) == large


def test_header_that_has_no_room_fails_before_it_begins(land: Land) -> None:
    """Where only the worker knows that it may run once; what follows learns of the failure."""
    app, _ = land.both(**SETTINGS)
    large = "x" * (1200 << 10)

    chain = app.chain([("tests.integration.tasks.pay", (str(land.file()),)), (tasks.echo, (large,))])

    with pytest.raises(TaskFailed, match=r"stopped at link 1 of 2 .*pay runs at most once, and what follows"):
        chain.result(wait=100)
    assert lines(land.file()) == []


def test_large_value_that_is_passed_to_it_is_no_part_of_what_follows(land: Land) -> None:
    """Its message carries the value, and its header in the journal does not."""
    app, _ = land.both(**SETTINGS)
    size = bind(flow_tasks.size, (), {}, Options(at_most_once=True))

    chain = app.chain([(flow_tasks.large, (1200 << 10,)), size, tasks.echo], pipe_result=True)

    assert chain.result(wait=100) == 1200 << 10


def test_chain_ends_with_its_interrupted_link(land: Land) -> None:
    """The links behind it are told why they do not run."""
    app, _ = land.both(**SETTINGS)
    told = str(land.file("told"))
    fall, step = once(app, flow_tasks.fall), app.task(flow_tasks.step)

    app.chain(
        [
            fall.bind(str(land.file())),
            step.using(hook=flow_tasks.hook, label=told).bind(str(land.file("after")), "x"),
        ]
    )

    until(lambda: lines(land.file("told")))
    assert lines(land.file("told"))[0].startswith("skipped None")
    assert not lines(land.file("after"))
    assert len(lines(land.file())) == 1


def test_chain_goes_on_after_a_link_that_may_run_once(land: Land) -> None:
    """The link behind it is enqueued with its result, once."""
    app, _ = land.both(**SETTINGS)
    step = once(app, flow_tasks.step)

    app.chain([step.bind(str(land.file()), "a"), step.bind(str(land.file()), "b")])

    until(lambda: len(lines(land.file())) == 2)
    until(lambda: app.queue.size() == EMPTY)
    assert lines(land.file()) == ["a", "b"]


# -- what may go wrong between acknowledgement and beginning --------------------------------------


@pytest.mark.parametrize("stopped", [False, True])
def test_it_does_not_begin_before_its_acknowledgement_is_confirmed(
    land: Land, monkeypatch: pytest.MonkeyPatch, stopped: bool
) -> None:
    """An unknown answer is asked for again; a worker that is stopped meanwhile has not run it."""
    muted = land.file("muted")
    muted.touch()
    monkeypatch.setenv("TEST_QCORE_MUTED", str(muted))
    settings = SETTINGS | {"broker_class": "tests.integration.strange_brokers.LosesAnswers", "workers": 1}
    app, cluster = land.both(**settings)

    job = once(app, flow_tasks.step).enqueue(str(land.file()), "ran")
    until(lambda: len(lines(land.file("lost"))) >= 2, "two answers to be lost")
    assert not lines(land.file())
    if stopped:
        cluster.stop()
        assert interrupted(final(job))
        land.cluster(**SETTINGS)
    muted.unlink()

    assert final(job).success is not stopped
    until(lambda: app.queue.size() == EMPTY)
    assert lines(land.file()) == [] if stopped else ["ran"]


def test_copy_of_its_message_does_not_run(land: Land) -> None:
    """A broker that hands out the same message to two workers makes one of them do nothing."""
    app = land.app(**SETTINGS)
    job = once(app, tasks.hold_on).enqueue(str(land.file()), str(land.file("gate")))
    with app.runtime.brokers.connection() as broker:
        (body,) = broker.remove_messages([bytes.fromhex(job.id)])
        broker.enqueue([Outgoing(bytes.fromhex(job.id), body)])
        broker.enqueue([Outgoing(bytes(16), body)])
    assert app.queue.size().ready == 2

    land.cluster(**SETTINGS)
    until(lambda: app.queue.size() == EMPTY)
    land.file("gate").touch()

    assert final(job).success
    assert len(lines(land.file())) == 1


def test_broker_without_receipts_is_no_different(land: Land) -> None:
    """Its message is gone anyway; the supervisor writes the end and what follows from it."""
    settings = SETTINGS | {"broker_class": "tests.integration.strange_brokers.NoReceipts"}
    app, _ = land.both(**settings, max_crashes=0)
    told = str(land.file("told"))

    job = once(app, flow_tasks.fall, hook=flow_tasks.hook, label=told).enqueue(str(land.file()))
    app.chain([once(app, flow_tasks.step).bind(told, "a"), once(app, flow_tasks.step).bind(told, "b")])

    assert interrupted(final(job))
    until(lambda: len(lines(land.file("told"))) == 3)
    assert sorted(lines(land.file("told"))) == ["a", "b", "interrupted None Interrupted"]
    assert lines(land.file()) == ["fell"]


def test_slot_of_a_schedule_runs_once(land: Land) -> None:
    """The option travels with the schedule."""
    app, _ = land.both(**SETTINGS)

    fall = once(app, flow_tasks.fall)
    app.schedules.create(fall, str(land.file()), name="fall", every=3600.0, next_run=time.time())
    until(lambda: lines(land.file()))

    with app.runtime.stores.connection() as store:
        (record,) = until(lambda: store.recent(State.FAILED))
    assert interrupted(app.runtime.results.read(record))
    assert lines(land.file()) == ["fell"]
