"""How often this process was forked."""

from __future__ import annotations

import os
from typing import Final


class _Forks:
    """Counts the forks that lead to this process; asking the kernel for its pid takes longer."""

    def __init__(self) -> None:
        self.count = 0
        os.register_at_fork(after_in_child=self._add)

    def _add(self) -> None:
        self.count += 1


FORKS: Final = _Forks()
