"""Measure qcore on SQS: python -m tests.benchmarks.onsqs [--quick] [--json]."""

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
from typing import TYPE_CHECKING, Final

from tests.benchmarks.counter import VARIABLE

if TYPE_CHECKING:
    from collections.abc import Iterator

_ROOT: Final = Path(__file__).resolve().parents[3]
#: moto behind a front that counts requests, see there
_SERVER: Final = _ROOT / "plugins" / "qcore-sqs" / "tests" / "server.py"


@contextlib.contextmanager
def on_moto() -> Iterator[str]:
    """Run a server; yield its URL."""
    command = [sys.executable, "-W", "ignore", str(_SERVER)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            yield f"http://127.0.0.1:{int(server.stdout.readline())}"
        finally:
            server.kill()


def measure(count: int) -> dict[str, float]:
    """Return the figures of one round on a server of its own."""
    with on_moto() as url, tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": "id",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "eu-west-1",
            "XDG_STATE_HOME": folder,
            "PYTHONPATH": str(_ROOT),
            VARIABLE: f"{folder}/hits",
        }
        command = [sys.executable, "-m", "tests.benchmarks.onsqs.work", str(count)]
        ran = subprocess.run(
            command, env=environment, cwd=_ROOT, check=True, stdout=subprocess.PIPE, text=True
        )
        found: dict[str, float] = json.loads(ran.stdout.splitlines()[-1])
        return found


def main() -> int:
    """Measure in rounds and print medians."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.onsqs", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one small round")
    parser.add_argument("--json", action="store_true", help="every round's figures")
    asked = parser.parse_args()
    rounds = [measure(200)] if asked.quick else [measure(1000) for _ in range(3)]
    if asked.json:
        print(json.dumps(rounds))
        return 0
    for name in rounds[0]:
        print(f"{name:40}{statistics.median(one[name] for one in rounds):10.3f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
