"""A page is read whole, however its worker ends."""

from __future__ import annotations

import os
import resource
import time
from typing import TYPE_CHECKING, Final

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcore.errors import StartFailed
from qcore.journal.memory import Journal
from qcore.journal.pages import _SNAPSHOT, PAGE, Page
from qcore.journal.records import ExitReason, FinishedMessage, HeldMessage, PageSnapshot, WorkerState
from qcore.model import Action, Settlement, State, StoredResult
from qcore_counts.metrics import METRICS_END
from qcore_counts.tallies import TALLIES
from qcore_testing.processes import Child

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: seconds of hammering; the writer manages some ten thousand batches in each
HAMMER: Final = 0.7


@pytest.fixture
def journal() -> Iterator[Journal]:
    """Yield the memory of two workers."""
    journal = Journal.create(2)
    yield journal
    journal.close()


def held(number: int, *, head: bytes = b"head") -> HeldMessage:
    """Return a message whose fields all tell its number."""
    return HeldMessage(b"%d" % number, number.to_bytes(16, "big"), head, number, number, number, number)


def ended(index: int, number: int, *, size: int = 0) -> FinishedMessage:
    """Return an outcome whose fields all tell its number."""
    record = StoredResult(number.to_bytes(16, "big"), State.FAILED, b"r" * size, str(number), finished=number)
    return FinishedMessage(
        index, Settlement(b"%d" % number, Action.DEAD_LETTER, number, str(number), number, number), record
    )


# -- one process ------------------------------------------------------------------------------


def test_a_page_is_attached_to_by_an_object_that_is_older(journal: Journal) -> None:
    """The worker of a slot is made once, and forked each time that the one before has ended."""
    later, page = journal.page(0), journal.page(0)
    page.write_batch([held(1)], 1)
    page.reset()

    later.attach()

    assert later.seq == journal.page(0).seq == page.seq + 1
    assert later.write_batch([held(2)], 2)
    assert later.snapshot().seq == page.seq + 2


def test_the_next_worker_is_told_once_how_large_batches_were(journal: Journal) -> None:
    """One that crashes leaves nothing to the next."""
    page = journal.page(0)
    page.commands.hand_on(64)
    page.reset()

    assert journal.page(0).commands.take_over() == 64
    page.reset()
    assert journal.page(0).commands.take_over() == 0


def test_an_untouched_page_holds_nothing(journal: Journal) -> None:
    """A worker that died before its first lease leaves nothing to settle."""
    page = journal.page(1)

    assert ([], []) == page.read(page.snapshot())
    assert (0, -1) == (page.snapshot().count, page.snapshot().running)


@given(numbers=st.lists(st.integers(0, 10**9), max_size=20), done=st.integers(0, 20), data=st.data())
def test_leased_and_finished_messages_are_read_as_written(
    numbers: list[int], done: int, data: st.DataObject
) -> None:
    """Messages and records come back in their order."""
    journal = Journal.create(1)
    page = journal.page(0)
    batch = [held(number) for number in numbers]
    outcomes = [ended(index, number) for index, number in enumerate(numbers[:done])]
    noted = [one for one in outcomes if data.draw(st.booleans())]

    assert page.write_batch(batch, 1)
    for one in noted:
        assert page.add_finished(one)

    assert (batch, noted if batch else []) == journal.page(0).read(page.snapshot())
    journal.close()


def test_at_most_one_message_is_running(journal: Journal) -> None:
    """The supervisor knows which one, and until when."""
    page = journal.page(0)
    page.write_batch([held(1), held(2)], 5)

    seen = [page.snapshot()]
    page.begin(0, 100, 200)
    seen.append(page.snapshot())
    page.begin(1, 300, 0)
    seen.append(page.snapshot())
    page.end(2, 7)
    seen.append(page.snapshot())

    assert [(-1, 0, 0), (0, 100, 200), (1, 300, 0), (-1, 0, 0)] == [
        (one.running, one.started, one.deadline) for one in seen
    ]
    assert (2, 7, 5) == (seen[-1].ended, seen[-1].total, seen[-1].leased)


def test_settled_messages_free_the_room_of_their_records(journal: Journal) -> None:
    """That holds in the middle of a batch too."""
    page = journal.page(0)
    page.write_batch([held(1), held(2)], 0)
    page.add_finished(ended(0, 1))
    page.mark_settled(1)
    page.add_finished(ended(1, 2))

    seen = page.snapshot()
    assert (1, ([held(1), held(2)], [ended(1, 2)])) == (seen.settled, page.read(seen))


def test_a_batch_too_large_for_the_page_is_refused_and_changes_nothing(journal: Journal) -> None:
    """The worker then records half of it; the batch before stays readable."""
    page = journal.page(0)
    page.write_batch([held(1)], 0)
    before = page.snapshot()

    assert not page.write_batch([held(2, head=bytes(8192))] * 64, 0)
    assert (before, ([held(1)], [])) == (page.snapshot(), page.read(before))


def test_a_batch_that_just_fits_leaves_room_for_records(journal: Journal) -> None:
    """Half of the page is reserved for them."""
    page = journal.page(0)
    most = max(count for count in range(64) if page.write_batch([held(2, head=bytes(8192))] * count, 0))

    size = len(msgspec.msgpack.encode(held(2, head=bytes(8192))))
    assert most == (PAGE // 2 - METRICS_END - TALLIES) // size
    assert page.add_finished(ended(0, 1, size=PAGE // 4))


def test_a_record_too_large_is_refused_and_a_small_one_still_fits(journal: Journal) -> None:
    """There is always room to record that a message has ended."""
    page = journal.page(0)
    page.write_batch([held(1), held(2)], 0)
    size = PAGE // 4
    while page.add_finished(ended(0, 1, size=size)):
        pass
    while size:
        size //= 2
        while page.add_finished(ended(0, 1, size=size)):
            pass

    assert page.add_finished(FinishedMessage(1, Settlement(b"receipt", Action.RETRY, crashes=1)))
    assert (page.read(page.snapshot()) or ([], []))[1][-1].index == 1


def test_no_message_begins_beyond_the_limit(journal: Journal) -> None:
    """What the supervisor releases is not begun, and the page says so at once."""
    page, ours = journal.page(0), journal.page(0)
    page.write_batch([held(1), held(2), held(3)], 0)
    assert page.begin(0, 10, 0)

    ours.limit_batch(ours.snapshot().seq, 1)

    assert not page.begin(1, 20, 0)
    assert (1, 1, -1) == (page.snapshot().begun, page.snapshot().ended, page.snapshot().running)


def test_a_limit_for_an_earlier_batch_is_ignored(journal: Journal) -> None:
    """A late command for a settled batch holds up nobody."""
    page = journal.page(0)
    page.write_batch([held(1)], 0)
    page.limit_batch(page.snapshot().seq, 0)
    page.mark_flushed(page.snapshot().seq, 1)
    page.write_batch([held(2)], 0)

    assert page.begin(0, 0, 0)
    assert page.flushed() == 0


def test_a_worker_reads_how_many_messages_the_supervisor_settled(journal: Journal) -> None:
    """It need not settle them again."""
    page = journal.page(0)
    page.write_batch([held(1), held(2), held(3)], 0)

    journal.page(0).mark_flushed(page.seq, 2)

    assert page.flushed() == 2


def test_a_page_is_cleared_for_the_next_worker_and_batch_numbers_continue(journal: Journal) -> None:
    """A command for the worker before never fits a batch of the next one."""
    old = journal.page(0)
    old.write_batch([held(1)], 0)
    old.set_state(WorkerState.LEAVING, ExitReason.MEMORY)
    old.limit_batch(old.seq, 0)
    late = old.snapshot()

    old.reset()
    new = journal.page(0)
    new.write_batch([held(2)], 0)

    assert new.snapshot().seq > late.seq
    assert WorkerState.STARTING == new.snapshot().state
    assert old.read(late) is None
    new.limit_batch(late.seq, 0)
    assert new.begin(0, 0, 0)


def test_pages_do_not_overlap(journal: Journal) -> None:
    """One worker's batch is not another's."""
    journal.page(0).write_batch([held(1, head=bytes(8192))] * 50, 0)

    assert journal.page(1).snapshot() == Journal.create(1).page(0).snapshot()


# -- two processes ----------------------------------------------------------------------------


def _hammer(page: Page, tell: Callable[[str], None]) -> None:
    """Work through batches of all sizes as fast as can be; each field of a batch tells its number."""
    tell("ready")
    number = 0
    while True:
        number += 1
        size = number % 7
        page.write_batch([held(number)] * size, number)
        for index in range(size):
            if not page.begin(index, number, number):
                break
            page.add_finished(ended(index, number, size=number % 300))
            if index == 3:
                page.end(4, number)
                page.mark_settled(4)
        page.end(size, number)
        page.mark_settled(size)


def _torn(found: tuple[list[HeldMessage], list[FinishedMessage]], count: int) -> bool:
    """Return whether parts of different batches were read as one."""
    messages, outcomes = found
    numbers = {one.created for one in messages} | {int(one.settlement.receipt) for one in outcomes}
    whole = all(one == held(one.created) for one in messages) and all(
        one == ended(one.index, int(one.settlement.receipt), size=int(one.settlement.receipt) % 300)
        for one in outcomes
    )
    return not whole or len(numbers) > 1 or len(messages) != count


def test_a_reader_never_sees_parts_of_two_batches(journal: Journal) -> None:
    """Each reading of a page that is written at full speed is one whole batch, or none."""
    page = journal.page(0)
    good = 0
    with Child(lambda tell: _hammer(journal.page(0), tell)) as child:
        assert child.line() == "ready"
        end = time.monotonic() + HAMMER
        while time.monotonic() < end or not good:
            seen = page.snapshot()
            found = page.read(seen)
            if found is not None:
                good += 1
                assert not _torn(found, seen.count)


class _Stores:
    """The words of a page, which tell a reader of each store before the next one."""

    def __init__(self, page: Page, see: Callable[[], None]) -> None:
        self._words = page._words
        self._see = see

    def __getitem__(self, number: int) -> int:
        return self._words[number]

    def __setitem__(self, number: int, value: int) -> None:
        self._words[number] = value
        self._see()


def test_a_reading_that_spans_any_store_of_the_worker_is_whole_or_none(journal: Journal) -> None:
    """A reader may see each word before or after a store, and read the records at any moment after it."""
    writer, reader = journal.page(0), journal.page(0)
    before = bytes(reader._memory[: _SNAPSHOT.size])
    readings: dict[PageSnapshot, None] = {}
    whole = 0

    def see() -> None:
        nonlocal before, whole
        after = bytes(reader._memory[: _SNAPSHOT.size])
        for at in range(0, len(after), 8):
            for mixed in (before[:at] + after[at:], after[:at] + before[at:]):
                seen = PageSnapshot(*_SNAPSHOT.unpack_from(mixed))
                if seen.seq == reader.snapshot().seq and seen.count:
                    readings[seen] = None
        before = after
        for seen in readings:
            if (found := reader.read(seen)) is not None:
                whole += 1
                records = [ended(index, seen.seq, size=index * 99) for index in range(seen.count)]
                assert found[0] == [held(seen.seq)] * seen.count
                assert found[1] == records[seen.settled : seen.settled + len(found[1])], seen

    object.__setattr__(writer, "_words", _Stores(writer, see))
    for number in (1, 2):
        writer.write_batch([held(number)] * 4, number)
        for index in range(4):
            writer.begin(index, number, number)
            writer.add_finished(ended(index, number, size=index * 99))
            if index == 1:
                writer.end(2, number)
                writer.mark_settled(2)
        writer.end(4, number)
        writer.mark_settled(4)

    assert whole > 100


def test_a_running_message_is_never_seen_without_its_own_start(journal: Journal) -> None:
    """No reader finds a task that began long ago, or whose deadline was before its start."""
    page = journal.page(0)
    count = 250

    def work(tell: Callable[[str], None]) -> None:
        own = journal.page(0)
        own.write_batch([held(0)] * count, time.monotonic_ns())
        tell("ready")
        while True:
            for index in range(count):
                now = time.monotonic_ns()
                own.begin(index, now, now + 10**12)

    with Child(work) as child:
        assert child.line() == "ready"
        began = time.monotonic_ns()
        end, running = time.monotonic() + HAMMER, 0
        while time.monotonic() < end or running < 1000:
            seen = page.snapshot()
            if seen.running >= 0:
                running += 1
                assert 0 <= seen.ended <= seen.begun <= count
                assert began - 10**10 < seen.started, seen
                assert seen.deadline == 0 or seen.deadline > began, seen
        child.kill()


def test_a_released_message_is_never_begun(journal: Journal) -> None:
    """If a limit and a start happen at the same moment, one sees the other: no message runs twice."""
    page = journal.page(0)
    taken = 0

    def work(tell: Callable[[str], None]) -> None:
        own = journal.page(0)
        tell("ready")
        for number in range(1, 10**9):
            own.write_batch([held(number)] * 200, number)
            for index in range(200):
                if not own.begin(index, 0, 0):
                    # The batch is over once the supervisor has had its look.
                    while not own.flushed():
                        pass
                    break
                # tells that it really runs: a beginning is seen before it is removed
                own.mark_settled(index + 1)
            own.end(0, 0)

    with Child(work) as child:
        assert child.line() == "ready"
        end = time.monotonic() + HAMMER
        while time.monotonic() < end or taken < 10:
            seen = page.snapshot()
            page.limit_batch(seen.seq, seen.begun)
            # what the maintenance thread waits, made shorter: the writer has seen the limit by then
            until = time.monotonic_ns() + 300_000
            while time.monotonic_ns() < until:
                pass
            now = page.snapshot()
            while now.seq == seen.seq and now.begun and time.monotonic_ns() < until + 200_000:
                again = page.snapshot()
                assert again.settled <= now.begun or again.seq != now.seq
                taken += 0 < again.begun < 200
            page.mark_flushed(page.snapshot().seq, 1)


@pytest.mark.parametrize("seed", range(40))
def test_a_worker_killed_at_any_moment_leaves_a_readable_page(seed: int) -> None:
    """Whichever line it died in, the page has one batch or none, and the running message."""
    journal = Journal.create(1)
    page = journal.page(0)
    with Child(lambda tell: _hammer(journal.page(0), tell)) as child:
        assert child.line() == "ready"
        until = time.monotonic_ns() + seed * 37_717
        while time.monotonic_ns() < until:
            pass
        child.kill()

    seen = page.snapshot()
    found = page.read(seen)

    assert found is not None
    assert not _torn(found, seen.count)
    assert -1 <= seen.running < max(1, seen.count)
    assert not seen.count or seen.settled <= seen.count
    page.reset()
    assert page.snapshot().count == 0
    journal.close()


def test_the_memory_is_freed_with_its_last_process() -> None:
    """Nothing of the journal is left in the file system or among the open files."""
    before = set(os.listdir("/dev/fd"))
    journal = Journal.create(3)
    journal.page(0).write_batch([held(1)], 0)
    journal.close()
    del journal

    assert before == set(os.listdir("/dev/fd"))


def test_what_is_acknowledged_before_it_begins_is_known_until_the_next_batch(journal: Journal) -> None:
    """Its workflow header stays, whatever is settled or recorded meanwhile."""
    page = journal.page(0)
    assert page.write_batch([held(0), held(1)], 1)
    assert page.acknowledged(page.snapshot()) == (-1, b"")

    assert page.mark_acknowledged(1, b"tail" * 1000)
    page.mark_settled(1)
    while page.add_finished(ended(1, 1, size=10_000)):
        pass

    assert page.acknowledged(page.snapshot()) == (1, b"tail" * 1000)
    assert page.write_batch([held(2)], 1)
    assert page.acknowledged(page.snapshot()) == (-1, b"")
    assert not page.mark_acknowledged(0, b"x" * PAGE)
    assert page.mark_acknowledged(0, b"")
    assert page.acknowledged(page.snapshot()) == (0, b"")


def test_a_limit_of_file_sizes_is_named() -> None:
    """The system's limit is below the size of the journal."""

    def work(tell: Callable[[str], None]) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        try:
            Journal.create(2)
        except StartFailed as exc:
            tell(str(exc))

    child = Child(work)

    assert "raise the limit of file sizes (`ulimit -f`)" in (child.line() or "")
    child.kill()
