"""Plugins that raise what they should not: no worker ends by it."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from qcore import State
from qcore.errors import BackendRejected
from tests.integration import tasks
from tests.integration.land import final, until, worker_pids

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from qcore import App
    from tests.integration.land import Land

SOURCE = """
import asyncio
import os
from qcore.errors import BackendRejected
from qcore_values.msgpack_serializer import MsgpackSerializer
from qcore.hookspecs import hookimpl
from qcore_sqlite import SqliteBroker, SqliteCoordination, SqliteResults
from qcore_sqlite.database import Database

def throw(error):
    raise error

ERRORS = {{
    "surrogate": lambda: "\\ud800".encode(),
    "recursion": lambda: throw(RecursionError("too deep")),
    "memory": lambda: throw(MemoryError()),
    "key": lambda: {{}}["a key"],
    "exit": lambda: throw(SystemExit(3)),
    "cancelled": lambda: throw(asyncio.CancelledError()),
}}

def maybe(place):
    # a file names the place that fails now, and how
    try:
        with open({folder!r} + "/" + place) as file:
            error = file.read()
    except FileNotFoundError:
        return
    if error:
        ERRORS[error]()

class Text(MsgpackSerializer):
    code = 201
    def dumps(self, value):
        if isinstance(value, dict) and "raise" in value:
            ERRORS[value["raise"]]()
        return super().dumps(value)

class Broker(SqliteBroker):
    def lease(self, limit, wait):
        maybe("lease")
        return super().lease(limit, min(wait, 0.1))
    def settle(self, settlements):
        maybe("settle")
        super().settle(settlements)
    def commit_and_lease(self, *args):
        maybe("commit")
        return super().commit_and_lease(*args)

class Rejecting(Broker):
    def ping(self):
        raise BackendRejected("there is no such queue, and none is made")
    def lease(self, limit, wait):
        raise BackendRejected("there is no such queue")

class Gone(Broker):
    def after_fork(self, owner):
        if os.path.exists({folder!r} + "/away"):
            raise BackendRejected("it is away")
        return super().after_fork(owner)
    def lease(self, limit, wait):
        if os.path.exists({folder!r} + "/gone"):
            raise BackendRejected("there is no such queue any more")
        return super().lease(limit, min(wait, 0.1))

class Results(SqliteResults):
    def __init__(self, settings):
        super().__init__(settings)
        self.transaction_domain = None
    def save(self, results):
        if any(one.group == "poison" for one in results):
            maybe("save")
        super().save(results)
    def get(self, ids):
        maybe("get")
        return super().get(ids)

class Coordination(SqliteCoordination):
    def acquire(self, key, *rest):
        maybe("acquire")
        return super().acquire(key, *rest)
    def release(self, places):
        maybe("release")
        super().release(places)
    def barrier_members(self, key):
        maybe("members")
        return super().barrier_members(key)

@hookimpl
def qcore_serializers(): return {{"odd": Text}}
@hookimpl
def qcore_result_stores(): return {{"odd": Results}}
@hookimpl
def qcore_coordination_stores(): return {{"odd": lambda settings: Coordination(Database(settings))}}
@hookimpl
def qcore_worker_start(event): maybe("start")
@hookimpl
def qcore_post_execute(event): maybe("after")
@hookimpl
def qcore_settled(event): maybe("settled")
"""

ERRORS = ["surrogate", "recursion", "memory", "key", "cancelled"]


class Odd:
    """A plugin whose calls raise what a test tells it to."""

    def __init__(self, land: Land, folder: Path) -> None:
        self._land = land
        self._folder = folder

    def fail(self, place: str, error: str) -> None:
        """Have a place raise an error from now on."""
        (self._folder / place).write_text(error)

    def mend(self, place: str) -> None:
        """Have it work again."""
        (self._folder / place).write_text("")

    def start(self, **settings: Any) -> tuple[App, Callable[[], None]]:
        """Start a cluster; return its App, and what checks that no worker of it has died."""
        app, cluster = self._land.both(
            workers=1,
            broker_class="odd_plugin.Broker",
            result_store="odd",
            coordination_store="odd",
            **settings,
        )
        pids = worker_pids(cluster)

        def check() -> None:
            assert app.enqueue(tasks.add, 1, 2).result(wait=100) == 3
            assert worker_pids(cluster) == pids
            assert not cluster.status().reincarnations.get("crashed", 0)

        return app, check


@pytest.fixture
def odd(land: Land, monkeypatch: pytest.MonkeyPatch) -> Iterator[Odd]:
    """Install a plugin that raises errors of every kind."""
    folder = land.folder / "fails"
    folder.mkdir()
    (land.folder / "odd_plugin.py").write_text(SOURCE.format(folder=str(folder)))
    info = land.folder / "odd-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: odd\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[qcore]\nodd = odd_plugin\n")
    monkeypatch.syspath_prepend(str(land.folder))
    yield Odd(land, folder)
    sys.modules.pop("odd_plugin", None)


def test_serializer_that_raises_another_error_fails_the_task(odd: Odd) -> None:
    """The result cannot be stored, and that is the task's outcome, told with the plugin's name."""
    app, check = odd.start(serializer="odd", accept_serializers=["odd"])

    for error in [*ERRORS, "exit"]:
        failed = final(app.enqueue(tasks.named, "raise", error))
        assert failed.error.startswith("the task returned, but its result cannot be stored: ")
        assert "the serializer 'odd' of the plugin odd (odd 1.0)" in failed.error

    check()


def test_result_store_that_raises_another_error_is_told_in_the_result(odd: Odd) -> None:
    """The result that it does not take is reduced to its end, and its neighbours are stored."""
    app, check = odd.start()

    for error in ERRORS:
        odd.fail("save", error)
        job = app.task(tasks.echo).using(group="poison").enqueue("value")
        failed = final(job)
        assert "the result store 'odd' of the plugin odd (odd 1.0) raised" in failed.error
        odd.mend("save")

    check()


def test_result_store_that_cannot_be_asked_fails_the_message_that_asks(odd: Odd) -> None:
    """A message that was delivered before asks for its result; it is retried like any failure."""
    app, check = odd.start(retry=1, timeout=0.5, max_attempts=2)
    path = odd._folder / "ran"

    job = app.enqueue(tasks.fail_first, 1, str(path))
    until(path.exists)
    odd.fail("get", "key")
    until(lambda: app.queue.size().dead_letters == 1)
    odd.mend("get")

    assert "the result store 'odd' of the plugin odd (odd 1.0) raised KeyError: 'a key'" in final(job).error
    check()


def test_coordination_store_that_raises_another_error_fails_the_limited_task(odd: Odd) -> None:
    """A task whose permit cannot be asked for has failed; one whose permit stays held has not."""
    app, check = odd.start(ack_failures=True)
    limited = app.task(concurrency=100)(tasks.add)

    for error in ERRORS:
        odd.fail("acquire", error)
        failed = final(limited.enqueue(1, 2))
        assert failed.state is State.FAILED
        assert "the coordination store 'odd' of the plugin odd (odd 1.0) raised" in failed.error
        odd.mend("acquire")
        odd.fail("release", error)
        assert limited.enqueue(1, 2).result(wait=100) == 3
        odd.mend("release")

    check()


@pytest.mark.parametrize("place", ["lease", "commit"])
def test_broker_that_raises_another_error_is_asked_again(
    odd: Odd, place: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """The worker waits, says once whose error it is, and goes on when it is gone."""
    app, check = odd.start()

    for error in ERRORS:
        odd.fail(place, error)
        job = app.enqueue(tasks.add, 2, 3)
        until(lambda: "broker_class 'odd_plugin.Broker' raised" in capfd.readouterr().err)
        odd.mend(place)
        assert job.result(wait=100) == 5

    check()


def test_broker_that_rejects_the_cluster_ends_its_start(land: Land, odd: Odd) -> None:
    """Neither `Cluster` nor `qcore run` starts workers that could only wait; the reason is told."""
    with pytest.raises(BackendRejected, match="there is no such queue, and none is made"):
        land.cluster(broker_class="odd_plugin.Rejecting")

    file = land.file("qcore.toml")
    file.write_text(
        f'name = "land"\nsecret_key = "{"k" * 40}"\nbroker_class = "odd_plugin.Rejecting"\n'
        f'sqlite.path = "{land.file("queue.db")}"\n'
    )
    environment = {**os.environ, "PYTHONPATH": str(land.folder)}
    command = [sys.executable, "-m", "qcore", "run", "--config", str(file)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=150, check=False, env=environment, cwd=land.folder
    )

    assert done.returncode == 1
    assert "there is no such queue, and none is made" in done.stderr
    assert len(done.stderr.splitlines()) < 5


def test_broker_that_rejects_later_is_asked_again(
    land: Land, odd: Odd, capfd: pytest.CaptureFixture[str]
) -> None:
    """No worker ends, each says it once, and they work again when the broker takes calls again."""
    app, cluster = land.both(workers=2, broker_class="odd_plugin.Gone")
    pids = worker_pids(cluster)
    told: list[str] = []

    def log() -> str:
        told.append(capfd.readouterr().err)
        return "".join(told)

    odd.fail("gone", "")
    until(lambda: log().count("there is no such queue any more") == 2)
    job = app.enqueue(tasks.add, 1, 2)
    assert not job.fetch(wait=2)
    (odd._folder / "gone").unlink()

    assert job.result(wait=100) == 3
    assert worker_pids(cluster) == pids
    assert log().count("there is no such queue any more") == 2


def test_a_worker_waits_after_its_fork(land: Land, odd: Odd, capfd: pytest.CaptureFixture[str]) -> None:
    """It is to connect with its next call, but one that does so at once ends no worker either."""
    app, _ = land.both(workers=1, broker_class="odd_plugin.Gone", recycle=1)
    assert app.enqueue(tasks.add, 1, 1).result(wait=100) == 2
    odd.fail("away", "")
    jobs = [app.enqueue(tasks.add, 1, 2) for _ in range(2)]
    until(lambda: "s: it is away" in capfd.readouterr().err)
    (odd._folder / "away").unlink()

    assert [job.result(wait=100) for job in jobs] == [3, 3]


def test_hook_that_exits_ends_no_worker(odd: Odd) -> None:
    """Whatever a hook raises is logged, and the task goes on."""
    app, check = odd.start()

    for place in ("after", "settled"):
        for error in [*ERRORS, "exit"]:
            odd.fail(place, error)
            assert app.enqueue(tasks.add, 1, 1).result(wait=100) == 2
        odd.mend(place)

    check()
