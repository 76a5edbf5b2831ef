"""The cells of a worker that runs several tasks at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from qcore.journal.records import FinishedMessage, HeldMessage
from qcore.status import Progress
from qcore_cells.cells import Cell, CellState, RawCells

if TYPE_CHECKING:
    from collections.abc import Iterator

_encode = msgspec.msgpack.Encoder().encode
_decode_held = msgspec.msgpack.Decoder(HeldMessage).decode
_decode_ended = msgspec.msgpack.Decoder(FinishedMessage).decode


class LeftCell(NamedTuple):
    """A cell of a worker that is dead."""

    cell: Cell
    message: HeldMessage
    #: how it ended, if there is a record
    ended: FinishedMessage | None
    progress: Progress | None


class Cells(RawCells):
    """Cells with messages and how they ended."""

    __slots__ = ()

    def hold(self, index: int, message: HeldMessage, leased: int) -> bool:
        """Record a leased message in a free cell, see `hold_data`."""
        return self.hold_data(index, _encode(message), leased)

    def end(self, index: int, ended: FinishedMessage) -> None:
        """Record how a message has ended, as far as there is room."""
        self.end_with(index, _encode(ended))

    def message(self, cell: Cell) -> HeldMessage | None:
        """Return the message of a cell; None if the cell has moved on."""
        try:
            found = _decode_held(self.data(cell.at))
        except (msgspec.MsgspecError, ValueError):
            if self.is_still(cell):
                raise
            return None
        return found if self.is_still(cell) else None

    def progress(self, index: int) -> Progress | None:
        """Return the progress of the task in a cell, None if it has reported none."""
        step = self.step(index)
        return None if step is None else Progress(done=step[0], total=step[1], note=step[2])

    def running(self) -> list[Cell]:
        """Return the cells whose tasks run."""
        return [one for one in self.in_use() if one.state == CellState.RUNNING]

    def left(self) -> Iterator[LeftCell]:
        """Yield the cells of a worker that is dead."""
        for cell in self.in_use():
            held = self.message(cell)
            if held is not None:
                recorded = cell.state == CellState.RECORDED
                ended = _decode_ended(self.record(cell.at)) if recorded else None
                yield LeftCell(cell, held, ended, self.progress(cell.at))
