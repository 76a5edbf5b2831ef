"""A queue moved from a file to Redis and back, by kill -9 too."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from qcore import App, Cluster, Config
from tests.unit.command_line import typed

if TYPE_CHECKING:
    from pathlib import Path

#: moves what is in the first configuration to the second, and dies between the two writes of a batch
DEADLY = """
import json, os, signal, sys
from qcore import App, Config
from qcore.cli.drain import Mover

brokers = [App(Config.from_dict(json.loads(text))).runtime.make_broker(retry=0.5) for text in sys.argv[1:3]]
left, settle = int(sys.argv[3]), brokers[0].settle

def deadly(settlements):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    settle(settlements)

brokers[0].settle = deadly
for _ in Mover(*brokers).run():
    pass
"""


@pytest.mark.parametrize("back", [False, True])
def test_a_queue_is_moved_and_runs(
    shared: Any,
    tmp_path: Path,
    back: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Killed half-way three times, each task is there once in the end, signed as it was, and runs."""
    monkeypatch.chdir(tmp_path)
    name = f"moved{os.urandom(4).hex()}"
    common = {"name": name, "secret_key": "a key of the tests of moving", "workers": 2, "save_limit": 0}
    file = {**common, "sqlite": {"path": str(tmp_path / "q.db")}}
    redis = {**common, "redis": {"unix_socket_path": shared.path}}
    source, target = (redis, file) if back else (file, redis)
    here, there = App(Config.from_dict(source)), App(Config.from_dict(target))
    jobs = here.enqueue_many([here.task(pow).bind(number, 2) for number in range(900)])

    for batches in (1, 0, 2):
        command = [sys.executable, "-c", DEADLY, json.dumps(source), json.dumps(target), str(batches)]
        assert subprocess.run(command, check=False, timeout=60).returncode == -signal.SIGKILL
    while here.queue.size().ready or here.queue.size().leased:
        urls = (f"sqlite:{tmp_path}/q.db", f"unix://{shared.path}")
        from_, to = urls[::-1] if back else urls
        ran = typed(capsys, "move", "--from", from_, "--to", to, "--name", name, "--json")
        assert ran.code == 0, ran
        assert json.loads(ran.out)["refused"] == 0

    assert there.queue.size().ready == 900
    with Cluster(there.config):
        assert [there.results.get(job.id, wait=100) for job in jobs] == [number**2 for number in range(900)]
    here.close()
    there.close()
