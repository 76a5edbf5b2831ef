"""What the tests of notes do over and over."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from qcore_testing.contract import Contract, skip_unless

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qcore.coordination import CoordinationStore
    from qcore_testing.results.base import MakeStore


class CoordinationTests(Contract):
    """Short words for tests of `qcore.coordination.CoordinationStore`."""

    def notes(self, new: MakeStore) -> CoordinationStore:
        """Return the notes of a new store, or skip the test if it has none."""
        notes = new().notes
        skip_unless(notes is not None, "keeps no notes")
        assert notes is not None
        return notes

    def crowd(
        self, new: MakeStore, count: int, work: Callable[[CoordinationStore, int], Sequence[str]]
    ) -> list[str]:
        """Let processes do the same at once; return what they tell, in no order."""
        self.notes(new)
        skip_unless(new().processes, "is not seen by other processes")

        def one(number: int) -> Callable[[Callable[[str], None]], None]:
            def run(tell: Callable[[str], None]) -> None:
                notes = self.notes(new)
                tell("ready")
                while list(notes.get_flags(["start"])) == [None]:
                    self.let_pass(0.001)
                for line in work(notes, number):
                    tell(line)

            return run

        told = []
        with ExitStack() as stack:
            children = [stack.enter_context(self.child(one(number))) for number in range(count)]
            assert [child.line() for child in children] == ["ready"] * count
            self.notes(new).set_flag("start", b"go", 600.0)
            for child in children:
                told += child.lines()
                assert child.join() == 0
        return told
