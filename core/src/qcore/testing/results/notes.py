"""What the tests of notes do over and over."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from qcore.testing.contract import Contract, needs

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qcore.notes import Notes
    from qcore.testing.results.bench import MakeStore


class NotesBench(Contract):
    """Short words for tests of `qcore.notes.Notes`."""

    def notes(self, new: MakeStore) -> Notes:
        """Return the notes of a new store, or skip the test if it has none."""
        notes = new().notes
        needs(notes is not None, "keeps no notes")
        assert notes is not None
        return notes

    def crowd(self, new: MakeStore, count: int, work: Callable[[Notes, int], Sequence[str]]) -> list[str]:
        """Let processes do the same at once; return what they tell, in no order."""
        self.notes(new)
        needs(new().processes, "is not seen by other processes")

        def one(number: int) -> Callable[[Callable[[str], None]], None]:
            def run(tell: Callable[[str], None]) -> None:
                notes = self.notes(new)
                tell("ready")
                while list(notes.look(["start"])) == [None]:
                    self.let_pass(0.001)
                for line in work(notes, number):
                    tell(line)

            return run

        told = []
        with ExitStack() as stack:
            children = [stack.enter_context(self.child(one(number))) for number in range(count)]
            assert [child.line() for child in children] == ["ready"] * count
            self.notes(new).put("start", b"go", 600.0)
            for child in children:
                told += child.lines()
                assert child.join() == 0
        return told
