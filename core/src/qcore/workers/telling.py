"""What hooks are told once a settlement is durable."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qcore.hookspecs import SettledEvent

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qcore.model import Action, Kind


class Telling:
    """Keeps what is to be told until it is true."""

    def __init__(self, hooks: Sequence[Callable[[SettledEvent], None]]) -> None:
        self._hooks = hooks
        #: whether anybody listens
        self.wanted = bool(hooks)
        self._kept: list[SettledEvent] = []

    def keep(self, id: bytes, name: str, action: Action, kind: Kind, reason: str = "") -> None:
        """Note what became of a message."""
        if self.wanted:
            self._kept.append(
                SettledEvent(
                    task_id=id.hex(), name=name, action=action.name.lower(), kind=kind.value, reason=reason
                )
            )

    def tell(self) -> None:
        """Tell what was noted."""
        kept, self._kept = self._kept, []
        for event in kept:
            for hook in self._hooks:
                hook(event)
