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

if TYPE_CHECKING:
    from collections.abc import Iterator

_ROOT: Final = Path(__file__).resolve().parents[3]
#: failing tasks a second
_FAILURES: Final = 100
#: nobody listens there
_DEAD: Final = "127.0.0.1:9"
_SAMPLED: Final = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.01"}


@attrs.frozen
class Variant:
    """One way to run the same tasks."""

    title: str
    #: what is set beside what all have
    keys: dict[str, Any] = attrs.field(factory=dict)
    env: dict[str, str] = attrs.field(factory=dict)


#: what runs no failing tasks
CALM: Final = (
    Variant("OpenTelemetry, 1 %", {"error_reporter": {"otel": {}}}, _SAMPLED),
    Variant(
        "OpenTelemetry, 1 %, producer too",
        {"error_reporter": {"otel": {}}},
        {**_SAMPLED, "BENCH_TRACE": "1"},
    ),
    Variant("Prometheus, a scrape a second", {}, {"BENCH_SCRAPE": "1"}),
)
#: what runs a hundred failing tasks a second, and has an endpoint that is dead
FAILING: Final = (
    Variant("Sentry", {"error_reporter": {"sentry": {"dsn": f"http://key@{_DEAD}/1"}}}),
    Variant(
        "Rollbar",
        {"error_reporter": {"rollbar": {"access_token": "token", "endpoint": f"http://{_DEAD}/"}}},
    ),
    Variant("OpenTelemetry", {"error_reporter": {"otel": {}}}, _SAMPLED),
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


def measure(variant: Variant, count: int, fail_every: int) -> dict[str, float]:
    """Take one measurement in a folder and with a server of its own."""
    with tempfile.TemporaryDirectory(prefix="qcore-bench-") as folder, redis(folder) as keys, sink() as alive:
        service = _DEAD if fail_every else alive
        # The example has hooks of its own, for each run.
        env = {**os.environ, "QCORE_DISABLE_PLUGINS": "example"}
        env |= {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{service}", **variant.env}
        if "BENCH_SCRAPE" in env:
            port = free_port()
            env["BENCH_SCRAPE"] = str(port)
            keys["prometheus"] = {"address": f"127.0.0.1:{port}"}
        env |= {"PYTHONPATH": str(_ROOT), "BENCH_KEYS": json.dumps({**keys, **variant.keys})}
        ran = subprocess.run(
            [sys.executable, "-m", "tests.benchmarks.reporters.work", str(count), str(fail_every)],
            cwd=folder,
            env=env,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    found: dict[str, float] = json.loads(ran.stdout.splitlines()[-1])
    return found


def compare(variants: tuple[Variant, ...], count: int, rounds: int, fail_every: int) -> None:
    """Run each variant and the same without it in turn; print how they compare."""
    without = Variant("without")
    taken: dict[str, list[dict[str, float]]] = {}
    for _ in range(rounds):
        for one in (without, *variants):
            taken.setdefault(one.title, []).append(measure(one, count, fail_every))
    what = "tasks that do nothing" if not fail_every else f"such tasks, one of {fail_every} fails"
    print(f"{count} {what}; medians of {rounds} rounds, and (least to greatest) of a round")
    base = taken["without"]
    for title, found in taken.items():
        median = {name: statistics.median(one[name] for one in found) for name in found[0]}
        line = f"  {title:34} {median['rate']:9.0f} tasks/s {median['cpu']:7.2f} us"
        if title != "without":
            line += _ratio(base, found, "cpu", "cpu") + _ratio(found, base, "rate", "rate")
        line += f"  enqueue {median['enqueue']:6.2f} us"
        if fail_every:
            failing = median["rate"] / fail_every
            line += f"  {failing:.0f} failures/s, {median['made']:.0f} reports, {median['lost']:.0f} lost"
        if median["scrapes"]:
            line += f"  {sum(one['scrapes'] for one in found):.0f} scrapes"
        print(line, flush=True)


def _ratio(above: list[dict[str, float]], below: list[dict[str, float]], name: str, title: str) -> str:
    ratios = sorted(one[name] / other[name] for one, other in zip(above, below, strict=True))
    return f"  {title} {statistics.median(ratios):.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f})"


def main() -> None:
    """Print two tables; each ratio is 1 if a variant costs nothing, and less if it does.

    `cpu` is the processor time without it by that with it, `rate` the rate with it by that without.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few tasks, one round: does it run?")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tasks", type=int, default=100_000)
    parser.add_argument("--only", default="", help="variants whose title has this text")
    asked = parser.parse_args()
    count, rounds = (300, 1) if asked.quick else (asked.tasks, asked.rounds)
    calm = tuple(one for one in CALM if asked.only in one.title)
    failing = tuple(one for one in FAILING if asked.only in one.title)
    if calm:
        compare(calm, count, rounds, 0)
    if failing:
        rate = measure(Variant("without"), min(count, 50_000), 0)["rate"]
        compare(failing, count, rounds, max(2, round(rate / _FAILURES)))


if __name__ == "__main__":
    main()
