"""Who enqueues with a key that no cluster has is told, once."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import msgspec
import pytest

from qcore_queues.key_ids import accepted
from qcore_sqlite import SqliteBroker
from tests.integration import tasks
from tests.integration.land import SECRET, until

if TYPE_CHECKING:
    from qcore import App
    from tests.integration.land import Land

pytestmark = pytest.mark.portable

NEW = "a newer key than the one of the integration tests"


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what was logged of keys."""
    return [one.getMessage() for one in caplog.records if "is signed with key" in one.getMessage()]


def published(app: App) -> None:
    """Wait until the cluster of a queue has published its status."""

    def found() -> bool:
        with app.runtime.brokers.connection() as broker:
            return bool(broker.statuses())

    until(found, "a status")


@pytest.mark.parametrize("by", ["enqueue", "enqueue_many", "aenqueue"])
def test_a_producer_with_another_key_is_told_once(
    land: Land, caplog: pytest.LogCaptureFixture, by: str
) -> None:
    """With both keys, where its own comes from, and what becomes of its tasks."""
    app, _ = land.both(secret_key=SECRET, workers=1)
    published(app)
    other = land.app(secret_key=NEW)
    caplog.set_level(logging.ERROR)

    for _ in range(3):
        if by == "enqueue":
            other.enqueue(tasks.add, 1, 1)
        elif by == "enqueue_many":
            other.enqueue_many([other.task(tasks.add).bind(1, 1)])
        else:
            asyncio.run(other.aenqueue(tasks.add, 1, 1))

    (text,) = told(caplog)
    ours, theirs = (one.runtime.envelope.key_ids[0].hex() for one in (other, app))
    assert f"key {ours}, from" in text
    assert f"have {theirs}" in text
    assert "dead letters" in text


@pytest.mark.parametrize(
    ("producer", "cluster"), [([NEW], [SECRET, NEW]), ([NEW, SECRET], [SECRET, NEW]), ([SECRET], [SECRET])]
)
def test_one_of_the_keys_of_a_rotation_is_no_trouble(
    land: Land, caplog: pytest.LogCaptureFixture, producer: list[str], cluster: list[str]
) -> None:
    """Whichever of them signs: what counts is what clusters accept."""
    app, _ = land.both(secret_key=cluster, workers=1)
    published(app)
    caplog.set_level(logging.ERROR)

    assert land.app(secret_key=producer).enqueue(tasks.add, 1, 1).id

    assert told(caplog) == []


def test_what_cannot_be_looked_up_fails_no_enqueue(land: Land, monkeypatch: pytest.MonkeyPatch) -> None:
    """The task is accepted already: an error would have it enqueued once more."""

    def fail(self: SqliteBroker) -> list[bytes]:
        raise KeyError(self)

    monkeypatch.setattr(SqliteBroker, "statuses", fail)
    app = land.app(secret_key=NEW)

    assert app.enqueue(tasks.add, 1, 1).id
    assert app.queue.size().ready == 1


def test_without_a_cluster_nothing_is_told(land: Land, caplog: pytest.LogCaptureFixture) -> None:
    """The next one may have this very key."""
    caplog.set_level(logging.ERROR)

    land.app(secret_key=NEW).enqueue(tasks.add, 1, 1)

    assert told(caplog) == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff" * 99,
        bytes(36),
        bytes(36) + b"[" * 9000,
        bytes(36) + b'{"x":' + b"[" * 100_000,
        *(
            bytes(36) + msgspec.json.encode({"keys": keys})
            for keys in (["\N{SNOWMAN}"], [""], "x", {"a": 1}, ["zz", "00", 5])
        ),
    ],
)
def test_junk_among_the_statuses_tells_nothing(body: bytes) -> None:
    """Somebody may have written it."""
    assert accepted([body]) == frozenset()
