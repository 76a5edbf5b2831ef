"""What the tests of a coordination store do over and over."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Protocol

from qcore_testing.contract import Contract, skip_unless

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qcore.coordination import CoordinationStore


class MakeCoordination(Protocol):
    """The fixture `make` of `CoordinationStoreContract`."""

    def __call__(self, *, name: str = ...) -> CoordinationStore:
        """Return a new store of the same state."""


class CoordinationTests(Contract):
    """Short words for tests of `qcore.coordination.CoordinationStore`."""

    def in_processes(
        self,
        new: MakeCoordination,
        count: int,
        work: Callable[[CoordinationStore, int], Sequence[str]],
    ) -> list[str]:
        """Let processes do the same at once; return what they send, in no order."""
        skip_unless(new().cross_process, "is not seen by other processes")

        def one(number: int) -> Callable[[Callable[[str], None]], None]:
            def run(send: Callable[[str], None]) -> None:
                store = new()
                send("ready")
                while list(store.get_flags(["start"])) == [None]:
                    self.let_pass(0.005)
                for line in work(store, number):
                    send(line)

            return run

        texts = []
        with ExitStack() as stack:
            children = [stack.enter_context(self.child(one(number))) for number in range(count)]
            assert [child.line() for child in children] == ["ready"] * count
            new().set_flag("start", b"go", 600.0)
            for child in children:
                texts += child.lines()
                assert child.join() == 0
        return texts
