"""Nothing runs that was not signed by us, and rotation loses nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from qcore.cli.check_result import CheckResult
from qcore.cli.session import Session
from qcore.cli.system_checks import seals
from qcore.cluster import check_backends
from qcore.errors import BadSignature, ConfigError
from qcore.model import Outgoing
from tests.integration import tasks
from tests.integration.land import SECRET, final, lines, until

if TYPE_CHECKING:
    from qcore import App
    from qcore.model import DeadLetter
    from tests.integration.land import Land

pytestmark = pytest.mark.portable

NEW = "a newer key than the one of the integration tests"


def letters(app: App) -> list[DeadLetter]:
    """Return the dead letters."""
    with app.runtime.brokers.connection() as broker:
        return list(broker.dead_letters())


def put(app: App, body: bytes) -> None:
    """Put raw bytes on the queue."""
    with app.runtime.brokers.connection() as broker:
        broker.enqueue([Outgoing(b"\1" * 16, body)])


def sealed(app: App, path: str) -> bytes:
    """Return the bytes of a message."""
    app.enqueue(tasks.pid, path)
    with app.runtime.brokers.connection() as broker:
        (delivery,) = broker.lease(1, 1)
        return bytes(delivery.body)


def test_rotation_loses_nothing_while_both_keys_are_known(land: Land) -> None:
    """The first key signs, all verify: old and new producers and readers work side by side."""
    old = land.app(secret_key=SECRET)
    waiting = old.enqueue(tasks.add, 1, 1)
    new = land.app(secret_key=[NEW, SECRET])

    land.cluster(secret_key=[NEW, SECRET])

    assert new.results.get(waiting.id, wait=100) == 2
    assert new.enqueue(tasks.add, 2, 2).result(wait=100) == 4
    late = old.enqueue(tasks.add, 3, 3)
    assert new.results.get(late.id, wait=100) == 6


def test_unknown_key_is_released_for_a_while_and_then_dead_lettered(land: Land) -> None:
    """A message of a newer key waits for a worker with it; one of an unknown key is dead-lettered unread."""
    stranger = land.app(secret_key=NEW)
    stranger.enqueue(tasks.pid, str(land.file()))
    app = land.app(retry=1)
    land.cluster(workers=1, retry=1)

    until(lambda: app.queue.size().delayed == 1, "it to be released")
    (letter,) = until(lambda: letters(app))

    assert letter.reason.startswith("UnknownKey: signed with key ")
    assert "add it to the list to accept it" in letter.reason
    assert lines(land.file()) == []


def test_unknown_key_runs_once_a_worker_knows_it(land: Land) -> None:
    """What was released is run by the first cluster that has the key."""
    job = land.app(secret_key=NEW).enqueue(tasks.add, 1, 1)
    cluster = land.cluster(workers=1, retry=1)
    until(lambda: land.app().queue.size().delayed == 1, "it to be released")
    cluster.stop()

    land.cluster(secret_key=[SECRET, NEW])

    result = final(type(job)(land.app(secret_key=[SECRET, NEW]), job.id))
    assert (result.value, result.attempts) == (2, 1)


@pytest.mark.parametrize("place", [2, 4, 20, 40, 80, -1], ids=lambda place: f"byte{place}")
def test_flipped_bit_is_dead_lettered_and_never_run(land: Land, place: int) -> None:
    """One bit anywhere, and the message is kept as a dead letter with the reason; good ones run on."""
    mint = land.app(sqlite={"path": str(land.file("mint.db"))})
    body = bytearray(sealed(mint, str(land.file())))
    app = land.app(retry=1)
    body[place] ^= 1
    put(app, bytes(body))
    land.cluster(workers=1, retry=1, name="land")

    good = app.enqueue(tasks.add, 1, 1)
    (letter,) = until(lambda: letters(app))

    assert letter.reason.split(":")[0] in {"BadSignature", "MalformedMessage", "UnknownKey"}
    assert good.result(wait=100) == 2
    assert lines(land.file()) == []


def test_message_for_another_queue_is_dead_lettered(land: Land) -> None:
    """Same key, other name: what was signed for one queue is not run in another."""
    other = land.app(name="other", sqlite={"path": str(land.file("other.db"))})
    body = sealed(other, str(land.file()))
    app, _ = land.both()

    put(app, body)

    (letter,) = until(lambda: letters(app))
    assert letter.reason.startswith("BadSignature")
    assert lines(land.file()) == []


@pytest.mark.parametrize("rubbish", [b"", b"\0", b"hello", b"\x80" * 300, b"Qc\1\1" + b"\0" * 200])
def test_rubbish_is_dead_lettered(land: Land, rubbish: bytes) -> None:
    """What is not a message of ours is dead-lettered, and the worker goes on."""
    app, cluster = land.both(workers=1, retry=1)

    put(app, rubbish)

    assert app.enqueue(tasks.add, 1, 1).result(wait=100) == 2
    (letter,) = until(lambda: letters(app))
    assert letter.body == rubbish
    assert dict(cluster.status().reincarnations) == {}


def test_result_forged_in_the_store_is_not_believed(land: Land) -> None:
    """A result of one task copied to another is refused by its reader."""
    app, _ = land.both()
    first, second = app.enqueue(tasks.add, 1, 1), app.enqueue(tasks.add, 2, 2)
    assert (final(first).value, final(second).value) == (2, 4)

    with app.runtime.stores.connection() as store:
        (stored,) = store.get([bytes.fromhex(first.id)])
        assert stored is not None
        store.delete([bytes.fromhex(second.id)])
        store.save([msgspec.structs.replace(stored, id=bytes.fromhex(second.id))])

    with pytest.raises(BadSignature):
        second.fetch()


def test_a_cluster_with_another_key_says_so_while_tasks_wait(
    land: Land, caplog: pytest.LogCaptureFixture
) -> None:
    """It will dead-letter all of them; the log says which key is missing, and from where ours is."""
    check_backends(land.app().config)
    land.app().enqueue(tasks.add, 1, 1)

    check_backends(land.app(secret_key=[NEW, SECRET]).config)
    assert not caplog.text
    check_backends(land.app(secret_key="a third key, which nobody has ever had before").config)

    (record,) = caplog.records
    assert record.levelname == "ERROR"
    assert "from secret_key, given in code, but the last one on the queue land had" in record.getMessage()
    assert "and 1 task that it cannot read will be dead letters soon" in record.getMessage()


def test_a_replaced_key_file_is_refused_while_tasks_wait(land: Land) -> None:
    """As a lost one is: without it each task that waits would become a dead letter."""
    app = land.app(secret_key=None)
    check_backends(app.config)
    app.enqueue(tasks.add, 1, 1)
    file = land.folder / "queue.key"
    before = file.read_text()
    file.write_text("the key of another queue, copied over this one\n")
    replaced = land.app(secret_key=None)
    replaced.enqueue(tasks.add, 2, 2)

    with pytest.raises(
        ConfigError, match="1 task that it cannot read would be dead letters: put the key"
    ) as error:
        check_backends(replaced.config)
    assert f"from the key file {file}, but the last one on the queue land had" in str(error.value)
    session = Session()
    session.app, session.config = replaced, replaced.config
    (told,) = [one.text for one in seals(session) if isinstance(one, CheckResult)]
    assert "messages 1; there is " in told
    assert f"from the key file {file}: add that key" in told

    replaced.queue.purge()
    check_backends(replaced.config)
    file.write_text(before)
    check_backends(land.app(secret_key=None).config)


def test_another_key_on_an_empty_queue_is_no_trouble(land: Land, caplog: pytest.LogCaptureFixture) -> None:
    """There is nothing that the cluster could not read, and the next one is compared with it."""
    check_backends(land.app().config)
    check_backends(land.app(secret_key=NEW).config)
    assert not caplog.text
    land.app(secret_key=NEW).enqueue(tasks.add, 1, 1)

    check_backends(land.app().config)

    assert "but the last one on the queue land had" in caplog.text


@pytest.mark.parametrize("flag", [b"x", b"1234", b"12345", b"x" * 4000])
def test_a_flag_that_somebody_else_has_set_keeps_no_cluster_from_starting(land: Land, flag: bytes) -> None:
    """Whoever can write to the store can set it."""
    app = land.app()
    app.enqueue(tasks.add, 1, 1)
    with app.runtime.coordination_stores.connection() as store:
        store.set_flag("keys", flag, 60.0)

    check_backends(app.config)
