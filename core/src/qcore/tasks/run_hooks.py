"""Decides which hooks are called for a run."""

from __future__ import annotations

import logging
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from qcore.errors import INTERRUPTS
from qcore.interfaces import ErrorReporter
from qcore.plugins import BoundHook

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from qcore.hookspecs import Hook
    from qcore.runtime import Runtime

_log = logging.getLogger("qcore.plugins")

PRE: Final = "qcore_pre_execute"
POST: Final = "qcore_post_execute"
_NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})


class _Choosing:
    """The hooks of a reporter that is asked before each run whether they are to be called."""

    __slots__ = ("post", "pre", "title", "wants_run")

    def __init__(self, reporter: ErrorReporter) -> None:
        self.wants_run = reporter.wants_run
        self.title = type(reporter).__name__
        self.pre, self.post = _bound(reporter, PRE), _bound(reporter, POST)


class RunHooks:
    """The hooks that are called before and after runs."""

    def __init__(
        self, pre: Sequence[Hook], post: Sequence[Hook] = (), choosing: Sequence[_Choosing] = ()
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
                choosing.append(_Choosing(reporter))
            else:
                pre += _bound(reporter, PRE)
                post += _bound(reporter, POST)
        return cls(pre, post, choosing)

    @property
    def chooses(self) -> bool:
        """Whether `of_run` has to be asked: else `pre` and `post` are all there are."""
        return bool(self._choosing)

    def of_run(self, headers: Mapping[str, str] | None) -> tuple[Sequence[Hook], Sequence[Hook]]:
        """Return the hooks before and after the run of a message with these headers."""
        headers = headers or _NO_HEADERS
        pre, post = self.pre, self.post
        for one in self._choosing:
            try:
                wanted = one.wants_run(headers)
            except INTERRUPTS:
                raise
            except BaseException:  # noqa: BLE001 - logged; a reporter hurts no task
                _log.exception("wants_run of error reporter %s failed; its hooks are called", one.title)
                wanted = True
            if wanted:
                pre, post = (*pre, *one.pre), (*post, *one.post)
        return pre, post


def _bound(reporter: ErrorReporter, name: str) -> Sequence[BoundHook]:
    method = getattr(reporter, name, None)
    return () if method is None else (BoundHook(type(reporter).__name__, name, method),)
