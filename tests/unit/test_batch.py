"""A batch is verified, noted down and settled so that nothing falls between."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import pytest

from qcore import App, Config
from qcore.batch import Batch
from qcore.errors import BackendRefused, BackendUnavailable
from qcore.journal import PAGE, Journal
from qcore.model import Action, Kind, Outcome, Outgoing, QueueSize, Settlement, State
from qcore.plan import Planner
from qcore.runtime import Runtime

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from qcore.entry import Entry
    from qcore.interfaces import Broker, ResultStore

SECRET: Final = "the key of the tests of batches, nobody else's"
DONE: Final = Outcome(Kind.SUCCESS, 1)


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

    def take(self, count: int, *, name: str = "builtins.print", **options: Any) -> Sequence[Entry]:
        """Enqueue so many tasks and take them."""
        for number in range(count):
            self.app.async_task(name, number, **options)
        return self.batch.take(self.broker.lease(count, 0))

    def state(self, entry: Entry) -> State | None:
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
    return QueueSize(**{"ready": 0, "leased": 0, "delayed": 0, "buried": 0} | others)


def test_what_ends_is_saved_and_acknowledged(bench: Bench) -> None:
    """In one exchange that leases the next as well."""
    one, _ = bench.take(2)
    bench.batch.finish(0, one, DONE)
    bench.batch.give_back()

    deliveries = bench.batch.settle(5)

    assert (State.SUCCESS, 1) == (bench.state(one), len(deliveries))
    assert bench.page.look().settled == 1


def test_what_did_not_begin_is_given_back_uncounted(bench: Bench) -> None:
    """Its next delivery is its first again."""
    bench.take(3)
    bench.batch.give_back()
    bench.batch.settle(0)

    assert [1, 1, 1] == [delivery.deliveries for delivery in bench.broker.lease(5, 0)]


def test_a_message_that_is_none_is_buried_with_its_reason_and_the_others_run(bench: Bench) -> None:
    """Nothing of it is decoded, nothing is lost."""
    body = bytearray(bench.app.runtime.envelope.seal(bytes(16), b"", b"", 1, 0))
    body[60] ^= 1
    bench.broker.enqueue([Outgoing(bytes(16), bytes(body)), Outgoing(bytes(16), b"no envelope")])
    bench.app.async_task("builtins.print")

    entries = bench.batch.take(bench.broker.lease(5, 0))
    bench.batch.give_back()
    bench.batch.settle(0)

    assert len(entries) == 1
    assert ["BadSignature", "Undecodable"] == [one.reason.partition(":")[0] for one in bench.broker.buried()]


def test_an_expired_message_is_not_run(bench: Bench) -> None:
    """Its result says so."""
    bench.app.task(name="time.sleep")(time.sleep).using(expires=0.001).enqueue(1)
    (delivery,) = bench.broker.lease(1, 0)
    opened = bench.runtime.envelope.open(delivery.body)
    end = time.monotonic() + 5
    while time.time() * 1000 <= opened.expires + 1 and time.monotonic() < end:
        pass

    assert [] == list(bench.batch.take([delivery]))
    bench.batch.settle(0)

    (found,) = bench.store.get([opened.id])
    assert found is not None
    assert (State.FAILED, empty()) == (found.state, bench.broker.size())
    assert "expired" in bench.runtime.results.read(found).error


def test_a_result_too_large_for_the_journal_is_settled_at_once_and_noted_as_not_kept(bench: Bench) -> None:
    """Whoever settles for a worker that dies over it presents the message again, charged."""
    one, _ = bench.take(2)

    roomy = bench.batch.finish(0, one, Outcome(Kind.SUCCESS, bytes(PAGE)))

    _, ended = bench.page.read(bench.page.look()) or ([], [])
    assert not roomy
    assert [(0, Action.RETRY, 1, None)] == [
        (note.index, note.settlement.action, note.settlement.crashes, note.result) for note in ended
    ]
    bench.batch.settle(0)
    assert State.SUCCESS is bench.state(one)


def test_a_batch_whose_heads_do_not_fit_the_page_is_taken_in_part(bench: Bench) -> None:
    """The rest goes back uncounted."""
    entries = bench.take(100, task_name="x" * 8000)

    assert 0 < len(entries) < 100
    bench.batch.give_back()
    bench.batch.settle(0)
    assert {1} == {delivery.deliveries for delivery in bench.broker.lease(100, 0)}


def test_what_has_ended_before_is_not_run_again(bench: Bench) -> None:
    """A lost acknowledgement costs nothing but another."""
    (one,) = bench.take(1)
    bench.batch.finish(0, one, DONE)
    bench.store.save([bench.batch._results[0]])
    bench.broker.settle([_again(one)])

    assert [] == list(bench.batch_with(bench.broker, bench.store).take(bench.broker.lease(1, 0)))


def _again(entry: Entry) -> Settlement:
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
    """The same call again makes all of it durable."""
    errors: list[Exception] = [BackendUnavailable(), BackendUnavailable()]
    broker: Any = Moody(bench.broker, "exchange", errors) if spoil == "broker" else bench.broker
    store: Any = bench.store
    if spoil == "store":
        store = Moody(bench.store, "save", errors)
        store.backend = "another"
    one, two = bench.take(2)
    bench.batch = batch = bench.batch_with(broker, store)
    batch.take([])
    batch.finish(0, one, DONE)
    batch.finish(1, two, Outcome(Kind.UNSAVABLE, error="no"))

    for _ in range(2):
        with pytest.raises(BackendUnavailable):
            batch.settle(0)
    batch.settle(0)

    assert (State.SUCCESS, State.FAILED) == (bench.state(one), bench.state(two))
    assert empty() == bench.broker.size()


def test_an_outage_of_the_store_while_a_batch_is_taken_leaves_it_to_be_taken_again(bench: Bench) -> None:
    """Nothing is noted down, settled or charged before the store has answered."""
    bench.take(1)
    bench.batch.give_back()
    bench.broker.settle([_again(one) for one in bench.batch._entries])
    store: Any = Moody(bench.store, "get", [BackendUnavailable()])
    batch = bench.batch_with(bench.broker, store)
    deliveries = bench.broker.lease(1, 0)

    with pytest.raises(BackendUnavailable):
        batch.take(deliveries)
    entries = batch.take(deliveries)

    assert 2 == entries[0].deliveries
    batch.put_back(deliveries)
    batch.settle(0)
    assert [2] == [delivery.deliveries for delivery in bench.broker.lease(1, 0)]


def test_a_record_the_store_refuses_does_not_hold_up_its_neighbours(bench: Bench) -> None:
    """Those that can be kept are kept."""
    one, two = bench.take(2)
    store: Any = Moody(bench.store, "save", [BackendRefused()])
    store.backend = "another"
    batch = bench.batch_with(bench.broker, store)
    batch.take([])
    batch.finish(0, one, DONE)
    batch.finish(1, two, DONE)

    batch.settle(0)

    assert (State.SUCCESS, State.SUCCESS) == (bench.state(one), bench.state(two))


def test_what_the_supervisor_has_settled_is_not_settled_again(bench: Bench) -> None:
    """A message it has put back may already be somebody else's."""
    one, two = bench.take(2)
    bench.batch.finish(0, one, DONE)
    bench.page.mark_flushed(bench.page.seq, 1)
    bench.batch.finish(1, two, DONE)
    heard = Listened(bench.broker)
    bench.batch._writer._broker = heard  # type: ignore[assignment]  # as a broker

    bench.batch.settle(0)

    assert [two.receipt] == [settlement.receipt for settlement in heard.settlements]


class Listened:
    """A broker that remembers what it was told to settle."""

    def __init__(self, inner: Broker) -> None:
        self._inner = inner
        self.settlements: list[Settlement] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def exchange(self, store: Any, results: Any, settlements: Any, limit: int, then: Any) -> Any:
        """Remember, and do it."""
        self.settlements += settlements
        return self._inner.exchange(store, results, settlements, limit, then)
