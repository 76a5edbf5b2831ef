"""A message that somebody pushes again does not run again."""

from __future__ import annotations

import itertools
import os
import struct
import time
from typing import TYPE_CHECKING, Any

import pytest

from qcore import App, Cluster, Config, QueueSize
from qcore.interfaces import Settings
from qcore.model import Action, Outgoing, Settlement
from qcore_redis import RedisBroker, RedisSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

TASKS = """
import os


def note(path, text, fail=False):
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(fd, f"{text}\\n".encode())
    os.close(fd)
    if fail and os.path.exists(path + ".fail"):
        raise ValueError("no")
"""


def until(condition: Callable[[], Any], what: str) -> Any:
    """Return what `condition` returns as soon as that is true in the sense of `if`."""
    end = time.monotonic() + 100
    while not (found := condition()):
        assert time.monotonic() < end, f"still waiting for {what}"
        time.sleep(0.01)
    return found


class Scene:
    """One queue, and what its tasks have written down."""

    def __init__(self, server: Any, folder: Path) -> None:
        self.path = folder / "witness"
        self._table = {
            "name": "again",
            "workers": 2,
            "secret_key": "the key of these tests, not of anybody else",
            "log_level": "CRITICAL",
            "shutdown_timeout": 5,
            "max_attempts": 1,
            "save_limit": -1,
            "replay_window": 3600,
            "redis": {"unix_socket_path": server.path},
        }
        self.app = App(Config.from_dict(self._table))
        self.clusters: list[Cluster] = []
        self.client = server.client()

    def cluster(self) -> Cluster:
        """Return a running cluster."""
        self.clusters.append(Cluster(Config.from_dict(self._table)))
        return self.clusters[-1].start()

    @property
    def runs(self) -> int:
        """How often the task ran."""
        return len(self.path.read_text().splitlines()) if self.path.exists() else 0

    def drained(self, dead_letters: int = 0) -> None:
        """Wait until nothing is left but dead letters."""
        wanted = QueueSize(ready=0, leased=0, delayed=0, dead_letters=dead_letters)
        until(lambda: self.app.queue.size() == wanted, "the queue to be empty")


@pytest.fixture
def scene(tmp_path: Path, shared: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    """Yield a queue on the shared server."""
    (tmp_path / "replayed_tasks.py").write_text(TASKS)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    made = Scene(shared, tmp_path)
    made.client.flushall()
    yield made
    for cluster in made.clusters:
        cluster.stop(timeout=0)
    made.app.close()


def test_a_captured_message_does_not_run_again(scene: Scene) -> None:
    """In this cluster and in the next, as it was captured or with counters that say it came back."""
    scene.app.enqueue("replayed_tasks.note", str(scene.path), "ran")
    (item,) = scene.client.lrange("{qcore:again}:q", 0, -1)
    cluster = scene.cluster()
    until(lambda: scene.runs, "its run")
    scene.drained()

    came_back = b"\1" + struct.pack(">IIId", 3, 0, 0, 0.0) + item[1:]
    for copy in [item, came_back] * 10:
        scene.client.rpush("{qcore:again}:q", copy)
    scene.drained()
    cluster.stop()
    scene.client.rpush("{qcore:again}:q", *([item, came_back] * 10))
    scene.cluster()
    scene.drained()

    assert scene.runs == 1


def test_a_requeued_dead_letter_runs_again(scene: Scene) -> None:
    """It has not ended: the user decides that it runs again."""
    failing = scene.path.with_name("witness.fail")
    failing.touch()
    scene.app.enqueue("replayed_tasks.note", str(scene.path), "ran", fail=True)
    scene.cluster()
    scene.drained(dead_letters=1)
    failing.unlink()

    with scene.app.runtime.brokers.connection() as broker:
        broker.requeue([broker.dead_letters()[0].id])
    scene.drained()

    assert scene.runs == 2


def test_what_is_remembered_is_bounded(shared: Any) -> None:
    """The oldest are forgotten, and all of it ends with the window."""
    client = shared.client()
    client.flushall()
    section = RedisSettings(unix_socket_path=shared.path)
    table = Settings(
        name="bound", sections={"redis": section}, replay_window=600.0, replay_limit=50, owner=b"o"
    )
    broker = RedisBroker(table)
    ids = [(number << 14).to_bytes(6, "big") + bytes(10) for number in range(1, 301)]
    for id_ in ids:
        broker.enqueue([Outgoing(id_, b"x" * 100)])
        (one,) = broker.lease(1, 1)
        broker.settle([Settlement(one.receipt, Action.ACK, id=id_)])

    broker.enqueue([Outgoing(ids[0], b"x" * 100)])
    broker.lease(1, 1)

    assert set(broker.ended(ids[-50:])) == set(ids[-50:])
    assert broker.ended(ids[:200]) == set()
    kept = client.keys("{qcore:bound}:o*")
    assert len(kept) <= 60
    assert all(client.ttl(key) > 0 for key in kept if not key.endswith(b":on"))
    broker.close()


def test_ids_that_have_expired_do_not_stop_what_ends(shared: Any) -> None:
    """After a quiet time the server has removed them by itself."""
    section = RedisSettings(unix_socket_path=shared.path)
    broker = RedisBroker(
        Settings(name="quiet", sections={"redis": section}, replay_window=600.0, replay_limit=50)
    )
    ids = [(number << 14).to_bytes(6, "big") + bytes(10) for number in range(1, 12)]

    with shared.client() as client:
        for id_ in ids:
            for key in client.scan_iter("{qcore:quiet}:o:*"):
                client.delete(key)
            broker.enqueue([Outgoing(id_, b"body")])
            (one,) = broker.lease(1, 1)
            broker.settle([Settlement(one.receipt, Action.ACK, id=id_)])

    # a lease learns what the highest is
    broker.enqueue([Outgoing(ids[-1], b"body")])
    broker.lease(1, 1)
    assert set(broker.ended(ids)) == {ids[-1]}
    assert broker.size() == QueueSize(ready=0, leased=1, delayed=0, dead_letters=0)
    broker.close()


def spoil(client: Any, key: bytes, junk: object) -> None:
    """Put something that nobody of ours would write in place of a key."""
    client.delete(key)
    if isinstance(junk, bytes):
        client.set(key, junk)
    elif isinstance(junk, list):
        client.rpush(key, *junk)
    else:
        client.hset(key, "of", "another kind")


JUNK: tuple[object, ...] = (
    b"", b"-1", b"9" * 18, b"9223372036854775807", b"no number", b"\xff" * 7, b"1.5", b"f" * 32, b"zz",
    [b"", b"no bucket", b"\xff"], [b"0"], {},
)  # fmt: skip


@pytest.mark.parametrize("key", [b"o", b"on", b"oh", b"bucket"])
@pytest.mark.parametrize("junk", JUNK, ids=repr)
def test_garbage_among_the_ended_stops_nothing(shared: Any, key: bytes, junk: object) -> None:
    """Messages are acknowledged and leased beside it, and what ends from then on is remembered."""
    name = f"ended{os.urandom(4).hex()}"
    section = RedisSettings(unix_socket_path=shared.path)
    settings = Settings(name=name, sections={"redis": section}, replay_window=60.0, replay_limit=3)
    broker = RedisBroker(settings)
    prefix = b"{qcore:%s}:" % name.encode()
    spans = itertools.count(int(time.time() * 1000))

    def end_one() -> bytes:
        # of a bucket of its own: four seconds apart
        id_ = (next(spans) * 4096 + 0).to_bytes(8, "big")[2:] + os.urandom(10)
        broker.enqueue([Outgoing(id_, b"body")])
        (one,) = broker.lease(1, 5.0)
        broker.settle([Settlement(one.receipt, Action.ACK, id=id_)])
        return id_

    with shared.client() as client:
        ids = [end_one() for _ in range(2)]
        place = prefix + key if key != b"bucket" else next(client.scan_iter(prefix + b"o:*"))
        spoil(client, place, junk)
        set(broker.ended(ids))
        for _ in range(3):
            set(broker.ended([end_one()]))
        last = end_one()
    assert set(broker.ended([last])) <= {last}
    assert broker.size().leased == 0
    broker.close()
