"""Measure what reporters cost: python -m tests.benchmarks.reporters [--quick]."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs

from tests.benchmarks import environments

if TYPE_CHECKING:
    from collections.abc import Iterator

_ROOT: Final = Path(__file__).resolve().parents[3]
#: failing tasks a second
_FAILURES: Final = 100
#: nobody listens there
_DEAD: Final = "127.0.0.1:9"
_SAMPLED: Final = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.01"}
_OTEL: Final = "plugins/qcore-otel"
#: what all have: a program with the packages that it needs, and no other
_ALL: Final = ("core", "plugins/qcore-redis")


@attrs.frozen(eq=False)
class Variant:
    """One way to run the same tasks."""

    title: str
    #: what is installed for it, in an environment of its own, beside what all have
    package: str | None = None
    #: what is set beside what all have
    keys: dict[str, Any] = attrs.field(factory=dict)
    env: dict[str, str] = attrs.field(factory=dict)


#: what runs no failing tasks
CALM: Final = (
    Variant("OpenTelemetry, 1 %, workers", _OTEL, {"error_reporter": {"otel": {}}}, _SAMPLED),
    Variant(
        "OpenTelemetry, 1 %, a traced producer",
        _OTEL,
        {"error_reporter": {"otel": {}}},
        {**_SAMPLED, "BENCH_TRACE": "1"},
    ),
    Variant("Prometheus, a scrape a second", "plugins/qcore-prometheus", env={"BENCH_SCRAPE": "1"}),
)
#: what runs a hundred failing tasks a second, and has an endpoint that is dead
FAILING: Final = (
    Variant(
        "Sentry",
        "plugins/qcore-sentry",
        {"error_reporter": {"sentry": {"dsn": f"http://key@{_DEAD}/1"}}},
    ),
    Variant(
        "Rollbar",
        "plugins/qcore-rollbar",
        {"error_reporter": {"rollbar": {"access_token": "token", "endpoint": f"http://{_DEAD}/"}}},
    ),
    Variant("OpenTelemetry", _OTEL, {"error_reporter": {"otel": {}}}, _SAMPLED),
)


@contextlib.contextmanager
def redis(folder: str) -> Iterator[dict[str, Any]]:
    """Run a private Redis; yield the settings that lead to it."""
    path = f"{folder}/r.sock"
    program = shutil.which("redis-server") or "redis-server"
    command = [program, "--port", "0", "--unixsocket", path, "--dir", folder, "--save", ""]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        while not Path(path).exists():
            time.sleep(0.01)
        yield {"redis": {"unix_socket_path": path}}
    finally:
        process.kill()
        process.wait(30)


class _Sink(BaseHTTPRequestHandler):
    """A service that takes whatever it gets."""

    def do_POST(self) -> None:
        """Read it, and say that it is fine."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def sink() -> Iterator[str]:
    """Run a service; yield its address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Sink) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


def free_port() -> int:
    """Return a port nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class Session:
    """A variant at work: a cluster with a folder and a server of its own, which lasts all rounds."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self._process = process
        self._log = log
        #: what has been measured
        self.found: list[dict[str, float]] = []

    def measure(self, count: int, fail_every: int) -> dict[str, float]:
        """Take one measurement.

        Raises:
            RuntimeError: it has ended, and why.

        """
        told, answers = self._process.stdin, self._process.stdout
        assert told is not None
        assert answers is not None
        told.write(f"{count} {fail_every}\n")
        told.flush()
        answer = answers.readline()
        if not answer:
            raise RuntimeError(self._log.read_text()[-4000:])
        found: dict[str, float] = json.loads(answer)
        return found


@contextlib.contextmanager
def session(variant: Variant, python: str, recycle: int, *, dead: bool) -> Iterator[Session]:
    """Start a variant.

    Args:
        variant: it.
        python: the interpreter with what it needs.
        recycle: tasks after which a worker is replaced.
        dead: nobody listens where reports go.

    """
    with tempfile.TemporaryDirectory(prefix="qcore-bench-") as folder, redis(folder) as keys, sink() as alive:
        # Where all is installed, the example has hooks of its own, for each run.
        env = {**os.environ, "QCORE_DISABLE_PLUGINS": "example", "BENCH_RECYCLE": str(recycle)}
        env |= {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{_DEAD if dead else alive}", **variant.env}
        if "BENCH_SCRAPE" in env:
            port = free_port()
            env["BENCH_SCRAPE"] = str(port)
            keys["prometheus"] = {"address": f"127.0.0.1:{port}"}
        env |= {"PYTHONPATH": str(_ROOT), "BENCH_KEYS": json.dumps({**keys, **variant.keys})}
        log = Path(folder, "log")
        with (
            log.open("w") as errors,
            subprocess.Popen(
                [python, "-m", "tests.benchmarks.reporters.work"],
                cwd=folder,
                env=env,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                # A line for each failed task, and what is dead.
                stderr=errors,
                text=True,
            ) as process,
        ):
            yield Session(process, log)


def pythons(variants: tuple[Variant, ...], *, here: bool) -> dict[Variant, str]:
    """Return the interpreter of each variant: this one, or one with what the variant needs."""
    return {one: sys.executable if here else _python(one) for one in (Variant("without"), *variants)}


def _python(variant: Variant) -> str:
    needed = _ALL if variant.package is None else (*_ALL, variant.package)
    return environments.interpreter(needed[-1].rpartition("/")[2], needed, environments.default_cache())


def compare(taking: dict[Variant, str], count: int, rounds: int, recycle: int, *, fails: bool) -> None:
    """Have each variant and the same without it measure in turn; print how they compare."""
    every = 0
    with contextlib.ExitStack() as stack:
        taken = {
            one.title: stack.enter_context(session(one, python, recycle, dead=fails))
            for one, python in taking.items()
        }
        for number in range(rounds + 1):
            for title, one in taken.items():
                found = one.measure(count, every)
                # The first round warms up.
                if number:
                    one.found.append(found)
                elif title == "without" and fails:
                    every = max(2, round(found["rate"] / _FAILURES))
    what = f"tasks that do nothing, recycle = {recycle}"
    if fails:
        what += f", one of {every} fails"
    print(f"{count} {what}; medians of {rounds} rounds, and (quartiles) of a round's ratio")
    base = taken["without"].found
    for title, session_ in taken.items():
        found_ = session_.found
        median = {name: statistics.median(one[name] for one in found_) for name in found_[0]}
        line = f"  {title:34} {median['rate']:7.0f} tasks/s {median['cpu']:6.2f} us"
        if title != "without":
            line += _ratio(base, found_, "cpu", "cpu") + _ratio(found_, base, "rate", "rate")
        line += f"  enqueue {median['enqueue']:6.2f} us  p50 {median['latency']:.2f} ms"
        if fails:
            failing = median["rate"] / every
            line += f"  {failing:.0f} failures/s, {median['made']:.0f} reports, {median['lost']:.0f} lost"
        for name in ("scrapes", "replaced"):
            if number := round(sum(one[name] for one in found_)):
                line += f"  {number} {name}"
        print(line, flush=True)


def _ratio(above: list[dict[str, float]], below: list[dict[str, float]], name: str, title: str) -> str:
    ratios = [one[name] / other[name] for one, other in zip(above, below, strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
    return f"  {title} {middle:.3f} ({low:.3f} to {high:.3f})"


def main() -> None:
    """Print tables; each ratio is 1 if a variant costs nothing, and less if it does.

    `cpu` is the processor time without it by that with it, `rate` the rate with it by that without.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few tasks, one round: does it run?")
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--tasks", type=int, default=20_000, help="of each round")
    parser.add_argument("--only", default="", help="variants whose title has this text")
    parser.add_argument("--recycle", type=int, nargs="+", default=[0, 500], help="a table for each")
    parser.add_argument("--here", action="store_true", help="measure what is installed here, by this Python")
    asked = parser.parse_args()
    here = asked.quick or asked.here
    count, rounds = (300, 1) if asked.quick else (asked.tasks, asked.rounds)
    for recycle in asked.recycle:
        for variants in (CALM, FAILING):
            wanted = tuple(one for one in variants if asked.only in one.title)
            if wanted:
                compare(pythons(wanted, here=here), count, rounds, recycle, fails=variants is FAILING)


if __name__ == "__main__":
    main()
