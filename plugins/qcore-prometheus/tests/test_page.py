"""What a scrape gets, beside what Prometheus's own client makes of the same."""

from __future__ import annotations

import gzip
import sys
import time
from typing import TYPE_CHECKING, Any, Final
from wsgiref.util import setup_testing_defaults

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest, make_wsgi_app
from prometheus_client.openmetrics import exposition
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from qcore.model import QueueSize
from qcore.status import TIME_BOUNDS, ClusterStatus, Counts, Durations, TaskCounts, WorkerStatus
from qcore_prometheus import ClusterCollector
from qcore_prometheus.families import families
from qcore_prometheus.page import Writer
from qcore_prometheus.queue_figures import OneQueue, QueueFigures
from qcore_prometheus.scrapes import Scrapes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from prometheus_client.core import Metric

    from qcore_prometheus.families import Family

_NOW: Final = time.time()


# -- clusters of any kind ---------------------------------------------------------------------

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.sampled_from(
    ["%", "%s%%", '"\n\\', "{}", "\r", "a=b,c"]
)
#: the client makes each a float
numbers = st.integers(0, 2**40)
seconds = st.floats(0, 1e18)
places = st.lists(numbers, max_size=len(TIME_BOUNDS) + 1).map(tuple)
tasks = st.builds(
    TaskCounts,
    runs=st.dictionaries(texts, numbers, max_size=2),
    left=numbers,
    seconds=seconds,
    waited_seconds=seconds,
    success_times=places,
    failed_times=places,
    wait_times=places,
)


@st.composite
def durations(draw: st.DrawFn) -> Durations:
    """Return times of any bounds, which grow."""
    bounds = tuple(sorted(draw(st.sets(st.floats(1e-6, 1e5) | st.sampled_from(TIME_BOUNDS), max_size=5))))
    counts = draw(st.lists(numbers, min_size=len(bounds), max_size=len(bounds)))
    return Durations(bounds=bounds, counts=tuple(counts), total=draw(seconds))


clusters = st.builds(
    ClusterStatus,
    id=st.just("1" * 32),
    name=texts,
    label=texts,
    host=st.sampled_from(["a", "b"]),
    pid=st.just(1),
    state=st.just("working"),
    workers=st.lists(
        st.builds(WorkerStatus, slot=st.just(0), pid=st.just(2), state=texts, pss=numbers), max_size=2
    ).map(tuple),
    reincarnations=st.dictionaries(texts, numbers, max_size=2),
    uptime=seconds,
    # Its age is of the time at which a page is made.
    published=st.just(2 * _NOW),
    paused=st.booleans(),
    counts=st.builds(
        Counts,
        tasks=st.dictionaries(texts, tasks, max_size=3),
        started=numbers,
        run_times=durations(),
        wait_times=durations(),
    ),
)
figures = st.builds(
    QueueFigures,
    up=st.booleans(),
    queues=st.lists(
        st.builds(
            OneQueue,
            name=texts,
            size=st.builds(QueueSize, ready=numbers, leased=st.none() | numbers, delayed=st.none() | numbers),
            paused=st.booleans(),
            oldest=st.none() | st.just(2 * _NOW),
        ),
        max_size=3,
        unique_by=lambda one: one.name,
    ),
    dead_letters=st.none() | numbers,
    knows_age=st.booleans(),
    overdue=st.none() | numbers,
)


def registry(some: Sequence[ClusterStatus], queues: QueueFigures) -> CollectorRegistry:
    """Return a registry of Prometheus's client."""
    made = CollectorRegistry()
    made.register(ClusterCollector("shop", lambda: some, lambda: queues))
    return made


def series(page: bytes) -> list[str]:
    """Return the lines of a page without their numbers, which may be written in several ways."""
    lines = page.decode().split("\n")
    return [line if line.startswith("#") else line.rpartition(" ")[0] for line in lines]


def samples(found: Any) -> list[tuple[str, str, dict[str, str], float]]:
    """Return what a parser has found."""
    read: list[Metric] = list(found)
    return [(one.type, sample.name, sample.labels, sample.value) for one in read for sample in one.samples]


@settings(max_examples=20, deadline=None)
@given(rounds=st.lists(st.tuples(st.lists(clusters, max_size=3), figures), min_size=1, max_size=2))
def test_a_page_is_that_of_the_client(rounds: list[tuple[list[ClusterStatus], QueueFigures]]) -> None:
    """In both formats, line by line; also the second by one writer, which has kept the text of the first."""
    writer = Writer()
    for some, queues in rounds:
        theirs = generate_latest(registry(some, queues))
        ours = writer.write(families("shop", some, queues))
        assert series(ours) == series(theirs)
        assert samples(read_text(ours.decode())) == samples(read_text(theirs.decode()))

        theirs = exposition.generate_latest(registry(some, queues))
        ours = writer.write(families("shop", some, queues), openmetrics=True)
        assert series(ours) == series(theirs)
        assert samples(read_openmetrics(ours.decode())) == samples(read_openmetrics(theirs.decode()))


def test_a_name_that_cannot_be_encoded_takes_no_page_along() -> None:
    """It is replaced."""
    one = ClusterStatus(id="", name="shop", label="\ud800", host="a", pid=1, state="idle")

    assert b'label="?"' in Writer().write(families("shop", [one], QueueFigures()))


# -- how it is served -------------------------------------------------------------------------

ONE: Final = ClusterStatus(
    id="",
    name="shop",
    label="blue",
    host="a",
    pid=1,
    state="idle",
    published=2 * _NOW,
    counts=Counts(
        tasks={
            f"shop.tasks.number_{n}": TaskCounts(
                runs={"success": n}, success_times=(n,) * 20, wait_times=(1,)
            )
            for n in range(64)
        }
    ),
)
PROMETHEUS_2: Final = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_3: Final = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)


def answer(app: Any, **environ: str) -> tuple[str, dict[str, str], bytes]:
    """Return status, headers and body of an answer."""
    setup_testing_defaults(environ)
    said: list[Any] = []
    body = b"".join(app(environ, lambda *given: said.extend(given)))
    status, headers = said
    return status, dict(headers), body


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"HTTP_ACCEPT": PROMETHEUS_2, "HTTP_ACCEPT_ENCODING": "gzip"},
        {"HTTP_ACCEPT": PROMETHEUS_3, "HTTP_ACCEPT_ENCODING": "gzip"},
        {"HTTP_ACCEPT": "application/openmetrics-text;version=2.0.0"},
        {"HTTP_ACCEPT": "text/plain;version=1.0.0;escaping=dots", "HTTP_ACCEPT_ENCODING": "br, gzip;q=0.5"},
        {"HTTP_ACCEPT": "*/*", "HTTP_ACCEPT_ENCODING": "identity"},
        {"QUERY_STRING": "name[]=qcore_tasks_started_total"},
        {"REQUEST_METHOD": "OPTIONS"},
        {"REQUEST_METHOD": "POST"},
        {"PATH_INFO": "/favicon.ico"},
    ],
    ids=str,
)
def test_a_scrape_is_answered_as_by_the_client(asked: dict[str, str]) -> None:
    """Status, format, compression and all samples."""
    client = make_wsgi_app(registry([ONE], QueueFigures()))
    ours = answer(Scrapes(lambda: families("shop", [ONE], QueueFigures()), client), **asked)
    theirs = answer(client, **asked)

    assert ours[:2] == theirs[:2]
    plain = [gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body for _, _, body in (ours, theirs)]
    assert series(plain[0]) == series(plain[1])


def test_a_usual_scrape_does_without_the_client() -> None:
    """Neither that of Prometheus nor that of `curl` asks it."""

    def never(*_: object) -> list[bytes]:
        raise AssertionError

    made: list[int] = []

    def found() -> list[Family]:
        made.append(1)
        return [*families("shop", [ONE], QueueFigures())]

    app = Scrapes(found, never)
    for asked in ("", "*/*", PROMETHEUS_2, PROMETHEUS_3):
        assert answer(app, HTTP_ACCEPT=asked)[0] == "200 OK"
    assert len(made) == 4


def calls(work: Callable[[], object]) -> int:
    """Return how many functions are called, which is the same however busy the machine is."""
    counted = 0

    def count(frame: object, event: str, what: object) -> None:
        nonlocal counted
        counted += event in {"call", "c_call"}

    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
    return counted


def test_a_page_takes_a_tenth_of_the_work_of_the_client() -> None:
    """With the most tasks: a scrape each second is not to be noticed."""
    client, writer = registry([ONE], QueueFigures()), Writer()
    writer.write(families("shop", [ONE], QueueFigures()))

    ours = calls(lambda: writer.write(families("shop", [ONE], QueueFigures())))
    assert ours * 10 < calls(lambda: generate_latest(client))
