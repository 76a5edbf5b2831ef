"""Decides which hooks are called for a run."""

from __future__ import annotations

import logging
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from qcore.errors import INTERRUPTS
from qcore.interfaces import ErrorReporter
from qcore.plugins import BoundHook

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from qcore.hookspecs import Hook
    from qcore.runtime import Runtime

    _Hooks = tuple[Sequence[Hook], Sequence[Hook]]
    _OfRun = Callable[[Mapping[str, str] | None], _Hooks]

_log = logging.getLogger("qcore.plugins")

PRE: Final = "qcore_pre_execute"
POST: Final = "qcore_post_execute"
_NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})


class RunHooks:
    """The hooks that are called before and after runs."""

    def __init__(
        self, pre: Sequence[Hook], post: Sequence[Hook] = (), choosing: Sequence[ErrorReporter] = ()
    ) -> None:
        #: called for each run
        self.pre, self.post = tuple(pre), tuple(post)
        self._choosing = choosing

    @classmethod
    def of(cls, runtime: Runtime) -> RunHooks:
        """Return those of plugins, then those of error reporters."""
        pre: list[Hook] = [*runtime.hooks(PRE)]
        post: list[Hook] = [*runtime.hooks(POST)]
        choosing = []
        for reporter in runtime.reporters:
            if type(reporter).wants_run is not ErrorReporter.wants_run:
                choosing.append(reporter)
            else:
                pre += _bound(reporter, PRE)
                post += _bound(reporter, POST)
        return cls(pre, post, choosing)

    @property
    def chooses(self) -> bool:
        """Whether `of_run` has to be asked: else `pre` and `post` are all there are."""
        return bool(self._choosing)

    @property
    def of_run(self) -> _OfRun:
        """What returns the hooks before and after the run of a message with these headers."""
        found: _OfRun | None = None
        for one in self._choosing:
            found = _asking(one, (self.pre, self.post), found)
        return found or (lambda _: (self.pre, self.post))


def _asking(one: ErrorReporter, none: _Hooks, before: _OfRun | None) -> _OfRun:
    """Return what adds the hooks of a reporter to those `before`; a function of its own costs least."""
    wants, ours = one.wants_run, (_bound(one, PRE), _bound(one, POST))
    every = (*none[0], *ours[0]), (*none[1], *ours[1])

    def of_run(headers: Mapping[str, str] | None) -> _Hooks:
        try:
            wanted = wants(headers or _NO_HEADERS)
        except INTERRUPTS:
            raise
        except BaseException:  # noqa: BLE001 - logged; a reporter hurts no task
            _log.exception("wants_run of error reporter %s failed; its hooks are called", type(one).__name__)
            wanted = True
        if before is None:
            return every if wanted else none
        pre, post = before(headers)
        return ((*pre, *ours[0]), (*post, *ours[1])) if wanted else (pre, post)

    return of_run


def _bound(reporter: ErrorReporter, name: str) -> Sequence[BoundHook]:
    method = getattr(reporter, name, None)
    return () if method is None else (BoundHook(type(reporter).__name__, name, method),)
