"""Decides which runs begin a trace, before anything is made for it."""

from __future__ import annotations

import sys
import threading
from copy import copy
from math import log
from random import getrandbits, random
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased, Sampler, TraceIdRatioBased

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

_LIMIT: Final = TraceIdRatioBased.TRACE_ID_LIMIT


def root_bound(sampler: Sampler | None) -> int | None:
    """Return below which number the lower half of a trace's id must be for it to be sampled.

    None for a sampler that decides by something else, and has to be asked.
    """
    if isinstance(sampler, ParentBased) and type(sampler).should_sample is ParentBased.should_sample:
        sampler = getattr(sampler, "_root", None)
    if sampler is ALWAYS_OFF:
        return 0
    if (
        isinstance(sampler, TraceIdRatioBased)
        and type(sampler).should_sample is TraceIdRatioBased.should_sample
    ):
        return int(sampler.bound)
    return None


def drops_below(sampler: Sampler | None) -> bool:
    """Return whether nothing is sampled below a span that is not."""
    if not isinstance(sampler, ParentBased) or type(sampler).should_sample is not ParentBased.should_sample:
        return False
    names = ("_remote_parent_not_sampled", "_local_parent_not_sampled")
    return all(getattr(sampler, name, None) is ALWAYS_OFF for name in names)


class Draw:
    """Draws the id of a trace where the sampler decides by that alone.

    The span that begins after a draw gets the id, so the sampler comes to the same decision.
    """

    def __init__(self, tracer: Tracer) -> None:
        self._bound = root_bound(getattr(tracer, "sampler", None))
        ids: Any = getattr(tracer, "id_generator", None)
        #: makes spans, with the id that was drawn
        self.tracer = tracer
        #: how many more runs are left out
        self._left = 0
        #: by which the logarithm of a random number becomes how many are left out; None = always the same
        self._scale: float | None = None
        # Ids of another generator may have a meaning.
        if type(ids) is not RandomIdGenerator:
            self._bound = None
        if self._bound is None:
            return
        missed = 1.0 - self._bound / (_LIMIT + 1)
        if missed >= 1.0:
            self._left = sys.maxsize
        elif missed > 0.0:
            self._scale = 1.0 / log(missed)
        self._drawn = _DrawnIds(ids)
        # Others may use the tracer of this name as well.
        self.tracer = copy(tracer)
        self.tracer.id_generator = self._drawn  # type: ignore[attr-defined]  # of the SDK
        self.begin()

    def take(self) -> int:
        """Return the id of a trace that was drawn in this thread, 0 if there is none."""
        drawn: int = getattr(self._drawn.next, "id", 0)
        self._drawn.next.id = 0
        return drawn

    def give(self, trace_id: int, span_id: int) -> None:
        """Have the span that begins next in this thread have these ids."""
        self._drawn.next.id, self._drawn.next.span_id = trace_id, span_id

    def begin(self) -> None:
        """Draw anew, in a process that was forked from the one that has made this."""
        self._skip()

    @property
    def decides(self) -> bool:
        """Whether it says for sure of a span without a parent that it is not sampled."""
        return self._bound is not None

    def wins(self) -> bool:
        """Return whether a run without a parent may be recorded."""
        if self._left > 0:
            self._left -= 1
            return False
        if self._bound is None:
            return True
        if not self._bound:
            return False
        self._skip()
        self._drawn.next.id = (getrandbits(64) or 1) << 64 | getrandbits(64) * self._bound >> 64
        return True

    def _skip(self) -> None:
        """Draw how many runs are left out before the next, which is cheaper than to draw for each."""
        if self._scale is not None:
            self._left = min(sys.maxsize, int(log(1.0 - random()) * self._scale))  # noqa: S311 - a sample


class _DrawnIds(IdGenerator):
    """Gives the id that was drawn in this thread, once, and other ids as another generator has them."""

    def __init__(self, inner: IdGenerator) -> None:
        self._inner = inner
        self.next = threading.local()

    def generate_span_id(self) -> int:
        """Return the id of a span."""
        drawn: int = getattr(self.next, "span_id", 0)
        self.next.span_id = 0
        return drawn or self._inner.generate_span_id()

    def generate_trace_id(self) -> int:
        """Return the id of a trace."""
        drawn: int = getattr(self.next, "id", 0)
        self.next.id = 0
        return drawn or self._inner.generate_trace_id()

    def is_trace_id_random(self) -> bool:
        """Whether the ids are random."""
        return self._inner.is_trace_id_random()
