"""A batch is verified, recorded and settled without losing a message."""

from __future__ import annotations

import base64
import logging
import time
from typing import TYPE_CHECKING, Any, Final

import attrs
import pytest

from qcore import App, Config
from qcore.errors import BackendRejected, BackendUnavailable
from qcore.flows.completion import completions_of
from qcore.journal.memory import Journal
from qcore.journal.pages import PAGE
from qcore.messages.workflow import PreviousResult, read_workflow
from qcore.model import Action, Kind, Outcome, Outgoing, QueueSize, Settlement, State, StoredResult
from qcore.runtime import Runtime
from qcore.tasks.call import Call, Options
from qcore.tasks.plan import Planner
from qcore.workers.batch import Batch
from tests.integration.strange_brokers import NoDeadLetters, NothingComesAgain

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from qcore.interfaces import Broker, ResultStore
    from qcore.workers.leased import LeasedMessage
    from qcore_sqlite import SqliteBroker

SECRET: Final = "the key of the tests of batches, nobody else's"
DONE: Final = Outcome(Kind.SUCCESS, 1)
EXPIRING: Final = Options(expires=0.001)


class Bench:
    """One queue, one page, one batch."""

    def __init__(self, folder: Path) -> None:
        self.config = Config.from_dict(
            {"name": "batch", "workers": 1, "secret_key": SECRET, "sqlite": {"path": str(folder / "q.db")}}
        )
        self.app = App(self.config)
        self.runtime = Runtime(self.config)
        self.broker = self.runtime.make_broker()
        self.store = self.runtime.make_store()
        self.journal = Journal.create(1)
        self.page = self.journal.page(0)
        self.batch = self.batch_with(self.broker, self.store)

    def batch_with(self, broker: Broker, store: ResultStore) -> Batch:
        """Return a batch on another broker or store."""
        planner = Planner(self.runtime.rules(), timeout=None, save=True, allowed=None)
        return Batch(self.runtime, broker, store, planner, self.page)

    def take(self, count: int, *, name: str = "builtins.print", **options: Any) -> Sequence[LeasedMessage]:
        """Enqueue so many tasks and take them."""
        for number in range(count):
            self.app.async_task(name, number, **options)
        return self.batch.accept(self.broker.lease(count, 0))

    def state(self, entry: LeasedMessage) -> State | None:
        """Return how far a task has come."""
        (found,) = self.store.get([entry.opened.id])
        return None if found is None else found.state

    def close(self) -> None:
        """Let go."""
        self.app.close()
        self.broker.close()
        self.store.close()
        self.journal.close()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """Yield a queue of this test's own."""
    bench = Bench(tmp_path)
    yield bench
    bench.close()


def empty(**others: int) -> QueueSize:
    """Return the size of a queue with nothing in it but this."""
    return QueueSize(**{"ready": 0, "leased": 0, "delayed": 0, "dead_letters": 0} | others)


def test_finished_messages_are_saved_and_acknowledged(bench: Bench) -> None:
    """One exchange does this and leases the next messages."""
    one, _ = bench.take(2)
    bench.batch.finish(0, one, DONE)
    bench.batch.release_unstarted()

    deliveries = bench.batch.settle(5)

    assert (State.SUCCESS, 1) == (bench.state(one), len(deliveries))
    assert bench.page.snapshot().settled == 1


def test_unstarted_messages_are_released_uncounted(bench: Bench) -> None:
    """Their next delivery is the first again."""
    bench.take(3)
    bench.batch.release_unstarted()
    bench.batch.settle(0)

    assert [1, 1, 1] == [delivery.deliveries for delivery in bench.broker.lease(5, 0)]


def test_a_malformed_message_is_dead_lettered_with_its_reason_and_the_others_run(bench: Bench) -> None:
    """Nothing of it is decoded, and nothing is lost."""
    body = bytearray(bench.app.runtime.envelope.seal(bytes(16), b"", b"", 1, 0))
    body[60] ^= 1
    bench.broker.enqueue([Outgoing(bytes(16), bytes(body)), Outgoing(bytes(16), b"no envelope")])
    bench.app.async_task("builtins.print")

    entries = bench.batch.accept(bench.broker.lease(5, 0))
    bench.batch.release_unstarted()
    bench.batch.settle(0)

    assert len(entries) == 1
    assert ["BadSignature", "MalformedMessage"] == [
        one.reason.partition(":")[0] for one in bench.broker.dead_letters()
    ]


@pytest.mark.parametrize("kind", [NoDeadLetters, NothingComesAgain])
@pytest.mark.parametrize("size", [40, 50_000])
def test_an_unreadable_message_that_nobody_keeps_is_in_the_log(
    bench: Bench, caplog: pytest.LogCaptureFixture, kind: type[SqliteBroker], size: int
) -> None:
    """A broker without dead letters removes it; its bytes are logged, so that it is not lost unseen."""
    broker, body = kind(bench.config.settings()), bytes(range(250)) * (size // 250) + b"\xff" * (size % 250)
    batch = bench.batch_with(broker, bench.store)
    broker.enqueue([Outgoing(bytes(16), body)])

    batch.accept(broker.lease(1, 0))
    batch.settle(0)

    assert broker.size() == empty()
    (text,) = [one.getMessage() for one in caplog.records if "base64" in one.message]
    kept = base64.b64decode(text.rpartition(" ")[2])
    assert kept == body[: 48 * 1024]
    assert f"a message of {size} bytes is removed unread, its broker keeps none: MalformedMessage: " in text
    assert ("all of it in base64" in text) is (len(kept) == size)


def test_a_message_that_comes_again_is_not_logged_whole(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """One signed with an unknown key is delivered again after a while: its bytes are in the queue."""
    other = attrs.evolve(bench.config, secret_key=("another key, of a cluster that is newer",))
    broker = NoDeadLetters(bench.config.settings())
    batch = bench.batch_with(broker, bench.store)
    broker.enqueue([Outgoing(bytes(16), Runtime(other).envelope.seal(bytes(16), b"", b"", 1, 0))])

    batch.accept(broker.lease(1, 0))
    batch.settle(0)

    assert broker.size() == empty(delayed=1)
    assert "base64" not in caplog.text


def test_an_expired_message_is_not_run(bench: Bench) -> None:
    """Its result says why."""
    bench.app.task(name="time.sleep")(time.sleep).using(expires=0.001).enqueue(1)
    (delivery,) = bench.broker.lease(1, 0)
    opened = bench.runtime.envelope.open(delivery.body)
    end = time.monotonic() + 5
    while time.time() * 1000 <= opened.expires + 1 and time.monotonic() < end:
        pass

    assert [] == list(bench.batch.accept([delivery]))
    bench.batch.settle(0)

    (found,) = bench.store.get([opened.id])
    assert found is not None
    assert (State.FAILED, empty()) == (found.state, bench.broker.size())
    assert "expired" in bench.runtime.results.read(found).error


def test_many_messages_that_are_not_run_are_one_line(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """As the members of a large group that was cancelled; the count comes with the next line."""
    bench.app.enqueue_many([Call("time.sleep", (1,), {}, EXPIRING, EXPIRING.head("time.sleep"))] * 200)
    deliveries = bench.broker.lease(200, 0)
    opened = bench.runtime.envelope.open(deliveries[-1].body)
    end = time.monotonic() + 5
    while time.time() * 1000 <= opened.expires + 1 and time.monotonic() < end:
        pass

    assert [] == list(bench.batch.accept(deliveries))
    bench.batch.rejections.flush()

    lines = [line for line in caplog.messages if "is not run: it expired" in line]
    assert len(lines) == 2
    assert lines[1].endswith("(and 198 more like it since the last line)")


def test_a_result_too_large_for_the_journal_is_settled_at_once_and_recorded_without_it(bench: Bench) -> None:
    """If the worker dies over it, the supervisor has the message redelivered and counts a crash."""
    one, _ = bench.take(2)

    roomy = bench.batch.finish(0, one, Outcome(Kind.SUCCESS, bytes(PAGE)))

    _, ended = bench.page.read(bench.page.snapshot()) or ([], [])
    assert not roomy
    assert [(0, Action.RETRY, 1, None)] == [
        (note.index, note.settlement.action, note.settlement.crashes, note.result) for note in ended
    ]
    bench.batch.settle(0)
    assert State.SUCCESS is bench.state(one)


def test_a_batch_whose_heads_do_not_fit_the_page_is_accepted_in_part(bench: Bench) -> None:
    """The other messages are released uncounted."""
    entries = bench.take(100, task_name="x" * 8000)

    assert 0 < len(entries) < 100
    bench.batch.release_unstarted()
    bench.batch.settle(0)
    assert {1} == {delivery.deliveries for delivery in bench.broker.lease(100, 0)}


def test_a_task_that_has_ended_before_is_not_run_again(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """A lost acknowledgement costs only another one, and nobody is warned of it."""
    caplog.set_level(logging.DEBUG, "qcore.worker")
    (one,) = bench.take(1)
    bench.batch.finish(0, one, DONE)
    bench.store.save(results_of(bench.batch))
    bench.broker.settle([_again(one)])

    assert [] == list(bench.batch_with(bench.broker, bench.store).accept(bench.broker.lease(1, 0)))
    levels = [record.levelno for record in caplog.records if "already succeeded" in record.getMessage()]
    assert levels == [logging.DEBUG]


def results_of(batch: Batch) -> list[StoredResult]:
    """Return the results that a batch has yet to save."""
    return [one.result for one in completions_of(batch._finished) if one.result is not None]


def _again(entry: LeasedMessage) -> Settlement:
    return Settlement(entry.receipt, Action.RETRY)


class Moody:
    """A broker or store that fails in a given call, before it does anything."""

    def __init__(self, inner: Any, call: str, errors: list[Exception]) -> None:
        self._inner = inner
        self._call = call
        self._errors = errors

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name != self._call:
            return found

        def fail(*args: Any, **kwargs: Any) -> Any:
            if self._errors:
                raise self._errors.pop(0)
            return found(*args, **kwargs)

        return fail


@pytest.mark.parametrize("spoil", ["broker", "store"])
def test_an_outage_while_settling_forgets_nothing(bench: Bench, spoil: str) -> None:
    """The same call made again makes everything durable."""
    errors: list[Exception] = [BackendUnavailable(), BackendUnavailable()]
    broker: Any = Moody(bench.broker, "commit_and_lease", errors) if spoil == "broker" else bench.broker
    store: Any = bench.store
    if spoil == "store":
        store = Moody(bench.store, "save", errors)
        store.transaction_domain = "another"
    one, two = bench.take(2)
    bench.batch = batch = bench.batch_with(broker, store)
    batch.accept([])
    batch.finish(0, one, DONE)
    batch.finish(1, two, Outcome(Kind.RESULT_NOT_STORABLE, error="no"))

    for _ in range(2):
        with pytest.raises(BackendUnavailable):
            batch.settle(0)
    batch.settle(0)

    assert (State.SUCCESS, State.FAILED) == (bench.state(one), bench.state(two))
    assert empty() == bench.broker.size()


def test_a_batch_can_be_accepted_again_after_an_outage_of_the_store(bench: Bench) -> None:
    """Nothing is recorded, settled or counted before the store has answered."""
    bench.take(1)
    bench.batch.release_unstarted()
    bench.broker.settle([_again(one) for one in bench.batch._messages])
    store: Any = Moody(bench.store, "get", [BackendUnavailable()])
    batch = bench.batch_with(bench.broker, store)
    deliveries = bench.broker.lease(1, 0)

    with pytest.raises(BackendUnavailable):
        batch.accept(deliveries)
    entries = batch.accept(deliveries)

    assert 2 == entries[0].deliveries
    batch.release(deliveries)
    batch.settle(0)
    assert [2] == [delivery.deliveries for delivery in bench.broker.lease(1, 0)]


def test_a_record_the_store_refuses_does_not_hold_up_its_neighbours(bench: Bench) -> None:
    """The others are saved."""
    one, two = bench.take(2)
    store: Any = Moody(bench.store, "save", [BackendRejected()])
    store.transaction_domain = "another"
    batch = bench.batch_with(bench.broker, store)
    batch.accept([])
    batch.finish(0, one, DONE)
    batch.finish(1, two, DONE)

    batch.settle(0)

    assert (State.SUCCESS, State.SUCCESS) == (bench.state(one), bench.state(two))


class Choosy:
    """A store that never takes records of more bytes than so many."""

    def __init__(self, inner: ResultStore, most: int) -> None:
        self._inner = inner
        self._most = most
        self.transaction_domain = "another"

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def save(self, results: Sequence[StoredResult]) -> None:
        """Save records unless one is too large."""
        if any(len(one.body) > self._most for one in results):
            raise BackendRejected("document too large")
        self._inner.save(results)


def test_a_record_that_the_store_always_refuses_is_saved_in_a_reduced_form(bench: Bench) -> None:
    """The task ran: without a record it would run again, and its worker would die over it each time."""
    one, two = bench.take(2)
    batch = bench.batch_with(bench.broker, Choosy(bench.store, 2000))  # type: ignore[arg-type]  # as a store
    batch.accept([])
    batch.finish(0, one, Outcome(Kind.SUCCESS, "x" * 5000))
    batch.finish(1, two, Outcome(Kind.FAILURE, error="ValueError: it " + "y" * 5000, retryable=False))

    batch.settle(0)

    first, second = (bench.app.results.fetch(entry.opened.id.hex()) for entry in (one, two))
    assert first is not None
    assert second is not None
    assert (State.FAILED, "unsavable") == (first.state, first.kind)
    assert "the task returned, but its result cannot be stored: document too large" == first.error
    assert (State.FAILED, "failure") == (second.state, second.kind)
    assert second.error.startswith("ValueError: it yyy")
    assert 0 == bench.broker.size().leased


def test_a_settlement_that_the_broker_refuses_lets_its_message_come_back(bench: Bench) -> None:
    """The worker forgets it and continues; the supervisor does not settle it either."""
    (one,) = bench.take(1)
    bench.batch.finish(0, one, DONE)
    bench.batch._committer._broker = Refusing(bench.broker, one.receipt)  # type: ignore[assignment]  # as a broker

    assert () == tuple(bench.batch.settle(0))
    assert () == tuple(bench.batch.settle(0))
    assert 1 == bench.broker.size().leased
    assert bench.page.snapshot().settled == 1


class Refusing:
    """A broker that never takes the settlement of one receipt."""

    def __init__(self, inner: Broker, receipt: bytes) -> None:
        self._inner = inner
        self._receipt = receipt

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def commit_and_lease(self, store: Any, results: Any, settlements: Any, *others: Any) -> Any:
        """Do all of it, or nothing if that settlement is among the others."""
        if any(one.receipt == self._receipt for one in settlements):
            raise BackendRejected("no dead letters here")
        return self._inner.commit_and_lease(store, results, settlements, *others)


def test_a_refused_settlement_does_not_take_its_neighbours_along(bench: Bench) -> None:
    """The worker settles them one by one; only the refused message comes back when its lease ends."""
    entries = bench.take(5)
    batch = bench.batch_with(Refusing(bench.broker, entries[2].receipt), bench.store)  # type: ignore[arg-type]  # as a broker
    batch.accept([])
    for index, entry in enumerate(entries):
        batch.finish(index, entry, DONE)

    batch.settle(0)

    assert empty(leased=1) == bench.broker.size()
    assert [State.SUCCESS] * 5 == [bench.state(entry) for entry in entries]
    assert () == tuple(batch.settle(0))


def test_messages_that_the_supervisor_has_settled_are_not_settled_again(bench: Bench) -> None:
    """Another worker may have leased a message that the supervisor released."""
    one, two = bench.take(2)
    bench.batch.finish(0, one, DONE)
    bench.page.mark_flushed(bench.page.seq, 1)
    bench.batch.finish(1, two, DONE)
    heard = Listened(bench.broker)
    bench.batch._committer._broker = heard  # type: ignore[assignment]  # as a broker

    bench.batch.settle(0)

    assert [two.receipt] == [settlement.receipt for settlement in heard.settlements]


class Listened:
    """A broker that remembers what it was told to settle."""

    def __init__(self, inner: Broker) -> None:
        self._inner = inner
        self.settlements: list[Settlement] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def commit_and_lease(self, store: Any, results: Any, settlements: Any, limit: int, then: Any) -> Any:
        """Remember, and do it."""
        self.settlements += settlements
        return self._inner.commit_and_lease(store, results, settlements, limit, then)


# -- what follows -------------------------------------------------------------------------------


def follow(bench: Bench, **options: Any) -> LeasedMessage:
    """Take the first link of a chain of two."""
    first = bench.app.task(name="builtins.abs")(abs).using(**options)
    bench.app.chain([first.bind(-1), "builtins.repr"], pipe_result=True)
    (entry,) = bench.batch.accept(bench.broker.lease(1, 0))
    return entry


def waiting(bench: Bench) -> list[Any]:
    """Return what waits in the queue, opened."""
    return [bench.runtime.envelope.open(one.body) for one in bench.broker.lease(9, 0)]


def test_follow_up_messages_are_enqueued_with_the_acknowledgement(bench: Bench) -> None:
    """Their ids are derived from the task they follow."""
    entry = follow(bench)
    bench.batch.finish(0, entry, DONE)

    bench.batch.settle(0)

    (following,) = waiting(bench)
    assert (True, State.SUCCESS, 1) == (following.derived, bench.state(entry), bench.broker.size().leased)


def test_follow_up_messages_are_made_from_a_result_that_is_already_stored(bench: Bench) -> None:
    """The worker that stored it died before it could enqueue them."""
    entry = follow(bench)
    bench.batch.finish(0, entry, DONE)
    bench.store.save(results_of(bench.batch))
    bench.broker.settle([_again(entry)])
    batch = bench.batch_with(bench.broker, bench.store)

    assert [] == list(batch.accept(bench.broker.lease(1, 0)))
    batch.settle(0)

    (following,) = waiting(bench)
    assert PreviousResult(1, b"\x01") == read_workflow(following.tail).previous


def test_a_stored_result_with_a_wrong_signature_is_ignored(bench: Bench) -> None:
    """The task runs again, and no follow-up messages are made from a forged result."""
    entry = follow(bench)
    bench.store.save([StoredResult(entry.opened.id, State.SUCCESS, b"forged" * 20, "builtins.abs")])
    bench.broker.settle([_again(entry)])

    (again,) = bench.batch_with(bench.broker, bench.store).accept(bench.broker.lease(1, 0))

    assert entry.opened.id == again.opened.id


def test_a_duplicate_is_acknowledged_without_follow_up_messages(bench: Bench) -> None:
    """Whoever holds the other copy enqueues them."""
    entry = follow(bench)
    bench.batch.finish(0, entry, DONE)
    bench.batch.settle(0)
    (delivery,) = bench.broker.lease(1, 0)
    bench.broker.enqueue([Outgoing(bytes(16), delivery.body)])
    (second,) = bench.batch.accept([delivery])
    bench.batch.finish(0, second, DONE)
    bench.batch.settle(0)

    assert [] == list(bench.batch.accept(bench.broker.lease(1, 0)))
    bench.batch.settle(0)

    assert empty() == bench.broker.size()


@pytest.mark.parametrize("save", [True, False])
def test_follow_up_messages_that_may_have_been_enqueued_are_left_to_the_next_delivery(
    bench: Bench, save: bool
) -> None:
    """An exchange that was made and not answered must not be made again."""
    entry = follow(bench, save=save)
    batch = bench.batch = bench.batch_with(Unanswered(bench.broker), bench.store)  # type: ignore[arg-type]  # as a broker
    batch.accept([])
    batch.finish(0, entry, Outcome(Kind.SUCCESS, 1, finished=time.time()))

    with pytest.raises(BackendUnavailable):
        batch.settle(0)
    batch.settle(0)

    assert 1 == len(waiting(bench))
    assert State.SUCCESS is bench.state(entry)


class Unanswered:
    """A broker whose first exchange is made, and not answered."""

    def __init__(self, inner: Broker) -> None:
        self._inner = inner
        self._silent = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def commit_and_lease(self, *what: Any) -> Any:
        """Do it, and say nothing."""
        found = self._inner.commit_and_lease(*what)
        if self._silent:
            self._silent = False
            raise BackendUnavailable
        return found


def test_the_journal_records_that_there_are_follow_up_messages(bench: Bench) -> None:
    """It has the result of a success that is only stored until they are enqueued."""
    entry = follow(bench, save=False)
    bench.batch.finish(0, entry, DONE)

    held, ended = bench.page.read(bench.page.snapshot()) or ([], [])

    assert ([True], [(True, None)]) == (
        [one.has_follow_ups for one in held],
        [(one.has_follow_ups, one.follow_up) for one in ended],
    )
    record = ended[0].result
    assert record is not None
    assert 0 < record.expires - record.finished <= 3600


def test_without_redelivery_the_journal_holds_the_follow_up_messages(bench: Bench) -> None:
    """The supervisor enqueues them for a dead worker."""
    entry = follow(bench)
    broker: Any = Moody(bench.broker, "", [])
    broker.capabilities = attrs.evolve(bench.broker.capabilities, redelivers=False)
    batch = bench.batch_with(broker, bench.store)
    batch.finish(0, entry, DONE)

    _, ended = bench.page.read(bench.page.snapshot()) or ([], [])

    assert [1] == [len(one.follow_up.messages) for one in ended if one.follow_up is not None]


def test_more_follow_up_messages_than_the_broker_accepts_at_once(bench: Bench) -> None:
    """They are enqueued in parts, after the results."""
    broker: Any = Moody(bench.broker, "", [])
    broker.capabilities = attrs.evolve(bench.broker.capabilities, max_batch=3)
    for _ in range(8):
        bench.app.async_task("builtins.abs", 1, hook="builtins.print")
    batch = bench.batch_with(broker, bench.store)
    entries = batch.accept(bench.broker.lease(8, 0))
    for index, entry in enumerate(entries):
        batch.finish(index, entry, DONE)

    batch.settle(0)

    assert 8 == len(waiting(bench))
