"""Decides whether the supervisor exports a span, or this process."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from qcore_otel.wire import Reader, Writer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from opentelemetry.sdk.trace import ReadableSpan

    from qcore_otel.runs import Parts

#: Seconds for which a failed export is remembered.
_REST: Final = 30.0
#: what takes note of lost spans: why, and how many
Lose = Callable[[str, int], None]


class WatchedExporter(SpanExporter):
    """Hands spans on, and takes note of those that could not be exported."""

    def __init__(self, inner: SpanExporter, lose: Lose) -> None:
        self._inner = inner
        self._lose = lose
        self._failed_at = -_REST
        #: spans that it was given, and those with which it is done
        self.given = self.done = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export, and take note of a failure."""
        self.given += len(spans)
        result = SpanExportResult.FAILURE
        try:
            result = self._inner.export(spans)
        finally:
            self.done += len(spans)
            if result is SpanExportResult.SUCCESS:
                self._failed_at = -_REST
            else:
                self._failed_at = time.monotonic()
                self._lose("the OTLP endpoint takes nothing", len(spans))
        return result

    def shutdown(self) -> None:
        """Close the connection."""
        self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Hand it on."""
        return self._inner.force_flush(timeout_millis)

    @property
    def fails(self) -> bool:
        """Whether the last export has failed, not long ago."""
        return time.monotonic() - self._failed_at < _REST


class Exporting(BatchSpanProcessor):
    """Exports spans in a thread, as the SDK does, and takes note of those that it drops."""

    def __init__(self, exporter: WatchedExporter, lose: Lose) -> None:
        super().__init__(exporter)
        self.exporter = exporter
        self._lose = lose
        self._room: int = BatchSpanProcessor._default_max_queue_size()  # type: ignore[no-untyped-call]  # noqa: SLF001 - of the SDK
        #: the number of the next span; no lock may be held while a task forks
        self._numbers = itertools.count()
        #: spans that it does not have any more, or never had
        self._away = 0

    def on_end(self, span: ReadableSpan) -> None:
        """Put a span into the queue."""
        if span.context and span.context.trace_flags.sampled:
            if next(self._numbers) - self._away - self.exporter.given >= self._room:
                self._away += 1
                self._lose("spans wait already, as many as OTEL_BSP_MAX_QUEUE_SIZE says", 1)
            else:
                super().on_end(span)

    def give_up(self) -> None:
        """Take note that what waits is lost, because this process ends."""
        left = next(self._numbers) - self._away - self.exporter.done
        self._away += left + 1
        if left > 0:
            self._lose("the process ended before its spans were sent", left)


class Handing(SpanProcessor):
    """Has the supervisor export the spans of a worker while it can.

    A worker of short tasks lives for some milliseconds, and it takes it as long to set up what exports
    the few spans that it has. One that lives longer needs no thread for them.
    """

    def __init__(self, hand_on: Callable[[bytes], bool], begin: Callable[[], Iterable[Exporting]]) -> None:
        self._hand_on = hand_on
        self._begin = begin
        self.writer = Writer()
        self._lock = threading.Lock()
        #: what exports here, once the supervisor takes no more
        self.own: Sequence[Exporting] = ()

    def on_end(self, span: ReadableSpan) -> None:
        """Hand a span on."""
        if not (span.context and span.context.trace_flags.sampled):
            return
        if self.own or not self._hand(span):
            self._export(span)

    def _export(self, span: ReadableSpan) -> None:
        if not self.own:
            with self._lock:
                self.own = self.own or [*self._begin()]
        for one in self.own:
            one.on_end(span)

    def _hand(self, span: ReadableSpan) -> bool:
        try:
            return self._hand_on(self.writer.write(span))
        except Exception:  # noqa: BLE001 - what cannot be written for the supervisor, an exporter may take
            return False

    @contextmanager
    def to_nobody(self) -> Iterator[None]:
        """Hand nothing on meanwhile."""
        hand_on, self._hand_on = self._hand_on, lambda _: True
        yield
        self._hand_on = hand_on

    def end_run(self, run: Parts, ended: int) -> None:
        """Hand the span of a run on, which the SDK has not seen."""
        data = self.writer.write_run(run, ended)
        if not self._hand_on(data):
            self._export(Reader().read(data))

    def shutdown(self) -> None:
        """Close what exports here."""
        for one in self.own:
            one.shutdown()  # type: ignore[no-untyped-call]  # of the SDK

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Send what waits here; what was handed on does not."""
        return all(one.force_flush(timeout_millis) for one in self.own)
