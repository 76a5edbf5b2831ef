"""Count qcore's requests to services: python -m tests.benchmarks.services [--quick] [KIND]."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.benchmarks.counter import VARIABLE

if TYPE_CHECKING:
    from collections.abc import Iterator

_ROOT: Final = Path(__file__).resolve().parents[3]
#: what stands for them here: moto, and stand-ins for what nobody can install; their rates say
#: nothing of the services
_SERVERS: Final = {
    "sqs": "plugins/qcore-sqs/tests/server.py",
    "ironmq": "plugins/qcore-ironmq/tests/standin/ironmq.py",
    "disque": "plugins/qcore-disque/tests/standin/disque.py",
}


@contextlib.contextmanager
def on(kind: str) -> Iterator[int]:
    """Run what stands for a service; yield its port."""
    command = [sys.executable, "-W", "ignore", str(_ROOT / _SERVERS[kind])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            yield int(server.stdout.readline())
        finally:
            server.kill()


def keys(kind: str, port: int) -> dict[str, Any]:
    """Return the configuration keys that lead to it."""
    if kind == "sqs":
        url = f"http://127.0.0.1:{port}"
        told = {"aws_access_key_id": "id", "aws_secret_access_key": "secret", "endpoint_url": url}
        return {"sqs": {"aws_region": "eu-west-1", **told}}
    if kind == "disque":
        return {"disque_nodes": [f"127.0.0.1:{port}"]}
    place = {"host": "127.0.0.1", "port": port, "protocol": "http"}
    return {"iron_mq": {**place, "token": "token-of-the-tests", "project_id": "5000000000000000000000aa"}}


def measure(kind: str, count: int) -> dict[str, float]:
    """Return the figures of one round on a server of its own."""
    with on(kind) as port, tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {
            "BENCHMARK_KEYS": json.dumps(keys(kind, port)),
            "BENCHMARK_PORT": str(port),
            "XDG_STATE_HOME": folder,
            "PYTHONPATH": str(_ROOT),
            VARIABLE: f"{folder}/hits",
        }
        command = [sys.executable, "-m", "tests.benchmarks.services.work", str(count)]
        ran = subprocess.run(
            command, env=environment, cwd=_ROOT, check=True, stdout=subprocess.PIPE, text=True
        )
        found: dict[str, float] = json.loads(ran.stdout.splitlines()[-1])
        return found


def main() -> int:
    """Measure in rounds and print medians."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.services", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one small round")
    parser.add_argument("--json", action="store_true", help="every round's figures")
    parser.add_argument("kinds", nargs="*", metavar="KIND", help="sqs, ironmq, disque; all without any")
    asked = parser.parse_args()
    found = {
        kind: [measure(kind, 300)] if asked.quick else [measure(kind, 1000) for _ in range(3)]
        for kind in asked.kinds or _SERVERS
    }
    if asked.json:
        print(json.dumps(found))
        return 0
    for kind, rounds in found.items():
        for name in rounds[0]:
            print(f"{kind:8}{name:40}{statistics.median(one[name] for one in rounds):10.3f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
