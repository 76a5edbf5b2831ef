"""What only SQS does: batches, copies, limits, FIFO queues, errors."""

from __future__ import annotations

import functools
import gc
import logging
import os
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from qcore import App, Config
from qcore.errors import BackendRejected, BackendUnavailable, NotSupported, PayloadTooLarge
from qcore.model import Action, Outgoing, Settlement
from qcore_sqs import broker as broker_module
from qcore_sqs import client, codec, transfer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qcore.model import Delivery
    from qcore_sqs import SqsBroker

    New = Callable[..., SqsBroker]


def message(body: bytes = b"body", delay: float = 0.0) -> Outgoing:
    """Return a message of its own id."""
    return Outgoing(os.urandom(16), body, delay)


def numbered(count: int) -> list[Outgoing]:
    """Return messages with different bodies."""
    return [message(b"%05d" % number) for number in range(count)]


def acks(leased: Sequence[Delivery]) -> list[Settlement]:
    """Return settlements that acknowledge messages."""
    return [Settlement(one.receipt) for one in leased]


def one(broker: SqsBroker, wait: float = 60.0) -> Delivery:
    """Lease the one message that is expected."""
    (found,) = broker.lease(1, wait)
    return found


# -- batches ------------------------------------------------------------------------------------


def test_draining_takes_a_fifth_of_a_request_for_each_task(sqs: Any, new: New) -> None:
    """Ten messages are received in one request and removed in one request."""
    broker = new()
    broker.enqueue(numbered(200))
    assert sqs.asked()["SendMessageBatch"] == 20
    before = Counter(sqs.asked())

    seen: set[bytes] = set()
    while leased := broker.commit_and_lease(None, (), (), 10):
        seen |= {found.body for found in leased}
        broker.commit_and_lease(None, (), acks(leased), 0)
        if len(seen) == 200:
            break

    spent = Counter(sqs.asked()) - before
    assert spent == {"ReceiveMessage": 20, "DeleteMessageBatch": 20}


def test_a_batch_is_split_at_the_limit_of_sqs(sqs: Any, new: New) -> None:
    """All messages of one request have at most 1 MiB together."""
    broker = new()
    broker.enqueue([message(bytes([number]) * 300_000) for number in range(6)])

    assert sqs.asked()["SendMessageBatch"] == 3
    assert {one(broker).body[0] for _ in range(6)} == set(range(6))


def test_a_message_above_the_limit_is_refused_before_it_is_sent(sqs: Any, new: New) -> None:
    """The error names the size, and no message of the call is accepted."""
    broker = new()
    with pytest.raises(
        PayloadTooLarge, match=r"has 780289 bytes; SQS accepts 1048576 .* 780288 for the body"
    ):
        broker.enqueue([message(), message(bytes(codec.MAX_BYTES + 1))])
    assert "SendMessageBatch" not in sqs.asked()


def test_a_message_above_the_limit_of_the_queue_is_refused(new: New) -> None:
    """The attributes of a queue may set a lower limit than SQS's."""
    broker = new(attributes={"MaximumMessageSize": "1024"})
    with pytest.raises(PayloadTooLarge, match="raise MaximumMessageSize"):
        broker.enqueue([message(bytes(2000))])


def test_failed_entries_of_a_batch_are_repeated_one_by_one(sqs: Any, new: New) -> None:
    """Ten messages are sent, extended and removed although some entries fail at first."""
    broker, other = new(), new()
    batches = ("SendMessageBatch", "DeleteMessageBatch", "ChangeMessageVisibilityBatch")
    sqs.tell(partial=dict.fromkeys(batches, 1))

    broker.enqueue(numbered(10))
    leased = broker.lease(10, 0.0)
    broker.extend([found.receipt for found in leased], 120.0)
    broker.settle(acks(leased))

    asked = sqs.asked()
    assert len({found.body for found in leased}) == 10
    assert (asked["SendMessage"], asked["DeleteMessage"], asked["ChangeMessageVisibility"]) == (2, 2, 2)
    assert other.size().ready == other.size().leased == 0


def test_an_entry_that_fails_again_raises_an_error(sqs: Any, new: New) -> None:
    """Either all messages are accepted or an error is raised."""
    broker = new()
    sqs.tell(partial={"SendMessageBatch": 1}, fail={"SendMessage": ["InternalError", 500, 1]})
    with pytest.raises(BackendUnavailable, match="it has an internal error"):
        broker.enqueue(numbered(10))


# -- errors -------------------------------------------------------------------------------------


def test_throttled_requests_are_repeated(sqs: Any, new: New) -> None:
    """A throttled request is repeated after increasing pauses."""
    broker = new()
    broker.enqueue([message()])
    sqs.tell(throttle={"ReceiveMessage": 2, "DeleteMessageBatch": 2, "SendMessageBatch": 2})

    broker.settle(acks([one(broker)]))
    broker.enqueue([message()])

    assert not any(sqs.left()["throttle"].values())
    assert broker.size().ready == 1


def test_throttling_that_does_not_end_raises_an_error(
    sqs: Any, new: New, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After some attempts the error is raised to the caller."""
    monkeypatch.setattr(client, "_THROTTLE_RETRIES", (3, 0.01, 0.01))
    broker = new()
    broker.enqueue([message()])
    sqs.tell(throttle={"*": 1000})

    with pytest.raises(BackendUnavailable, match="throttles requests"):
        broker.lease(1, 0.0)
    assert sqs.left()["throttle"]["*"] == 997


@pytest.mark.parametrize(
    ("fault", "kind", "said"),
    [
        (("AccessDenied", 403), BackendRejected, "these credentials have no permission for this"),
        (("InvalidClientTokenId", 403), BackendRejected, "does not know this access key"),
        (("RequestExpired", 400), BackendRejected, "clock"),
        (("KmsDisabled", 400), BackendRejected, "the queue's key is disabled"),
        (("UnheardOf", 400), BackendRejected, "UnheardOf: told to fail"),
        (("ExpiredToken", 403), BackendUnavailable, "temporary credentials have expired"),
        (("OverLimit", 403), BackendUnavailable, "as many leased messages as SQS allows"),
        (("ServiceUnavailable", 503), BackendUnavailable, "it is unavailable"),
        (("UnheardOf", 500), BackendUnavailable, "it has an internal error"),
        (("QueueDeletedRecently", 400), BackendUnavailable, "within the last minute"),
    ],
)
def test_an_error_says_whether_to_try_again(
    sqs: Any, new: New, fault: tuple[str, int], kind: type[Exception], said: str
) -> None:
    """Errors that may pass are BackendUnavailable, others BackendRejected."""
    broker = new()
    broker.enqueue([message()])
    sqs.tell(fail={"ReceiveMessage": [*fault, 1]})

    with pytest.raises(kind, match=said):
        broker.lease(1, 0.0)
    assert one(broker)


def test_a_lost_answer_of_an_enqueue_raises_an_unknown_outcome(sqs: Any, new: New) -> None:
    """An enqueue is not repeated, because tasks might run twice; the error says what is not known."""
    broker = new()
    broker.ping()
    broker.enqueue([message(b"before")])
    sqs.tell(hangup={"SendMessageBatch": 1})

    with pytest.raises(BackendUnavailable, match="tasks may have been accepted"):
        broker.enqueue([message(b"once")])
    assert broker.size().ready == 2


def test_an_acknowledgement_is_repeated_when_its_answer_is_lost(sqs: Any, new: New) -> None:
    """Removing a message twice changes nothing."""
    broker = new()
    broker.enqueue([message()])
    leased = one(broker)
    sqs.tell(hangup={"DeleteMessageBatch": 2})

    broker.settle(acks([leased]))

    assert broker.size().leased == 0


@pytest.mark.parametrize("action", [Action.RETRY, Action.RELEASE])
def test_a_lost_answer_of_a_copy_duplicates_nothing(sqs: Any, new: New, action: Action) -> None:
    """The old message stays invisible until the copy, if there is one, is received."""
    broker = new()
    broker.enqueue(numbered(10))
    leased = broker.lease(10, 0.0)
    sqs.tell(hangup={"SendMessageBatch": 1})

    broker.settle([Settlement(found.receipt, action, failures=1) for found in leased])

    again = [found for _ in range(3) for found in broker.lease(10, 1.0)]
    assert sorted(found.body for found in again) == sorted(found.body for found in leased)


def test_a_settlement_that_fails_half_way_is_repeated_without_a_second_copy(sqs: Any, new: New) -> None:
    """Messages whose copies were sent are removed before the error is raised."""
    broker = new()
    broker.enqueue(numbered(20))
    leased = [*broker.lease(10, 0.0), *broker.lease(10, 0.0)]
    settlements = [Settlement(found.receipt, Action.RETRY, failures=1) for found in leased]
    sqs.tell(partial={"SendMessageBatch": 1}, fail={"SendMessage": ["InternalError", 500, 1]})

    with pytest.raises(BackendUnavailable, match="it has an internal error"):
        broker.settle(settlements)
    broker.settle(settlements)

    again = [found for _ in range(4) for found in broker.lease(10, 1.0)]
    assert sorted(found.body for found in again) == sorted(found.body for found in leased)


def test_the_limit_of_leased_messages_is_reported(sqs: Any, new: New) -> None:
    """At the limit a lease raises BackendUnavailable until a message is settled."""
    broker = new()
    broker.enqueue(numbered(4))
    sqs.tell(cap=2)
    leased = broker.lease(2, 0.0)

    with pytest.raises(BackendUnavailable, match="let the workers finish some"):
        broker.lease(1, 0.0)
    broker.settle(acks(leased))
    assert len(broker.lease(2, 0.0)) == 2


def test_a_message_delivered_twice_can_be_settled_twice(sqs: Any, new: New) -> None:
    """SQS may deliver a message twice; neither settlement raises an error."""
    first, second = new(), new()
    first.enqueue([message(b"twice")])
    sqs.tell(twice=1)

    leases = [*first.lease(1, 0.0), one(second)]
    assert [found.deliveries for found in leases] == [1, 2]
    first.settle(acks(leases[:1]))
    second.settle(acks(leases[1:]))

    assert first.size().ready == first.size().leased == 0


def test_all_messages_are_leased_in_any_order(sqs: Any, new: New) -> None:
    """A standard queue keeps no order, and the broker does not need one."""
    broker = new()
    sqs.tell(shuffle=True)
    broker.enqueue(numbered(40))

    found = [leased.body for _ in range(4) for leased in broker.lease(10, 0.0)]

    assert sorted(found) == [b"%05d" % number for number in range(40)]
    assert found != sorted(found)


@pytest.mark.parametrize("late", [False, True])
def test_a_late_acknowledgement_may_remove_the_message(sqs: Any, new: New, late: bool) -> None:
    """SQS may accept the receipt of an expired lease, so the broker does not claim fencing."""
    broker, other = new(retry=300.0), new()
    assert broker.capabilities.fencing is False
    broker.enqueue([message()])
    expired = one(broker)
    sqs.pass_time(300)
    current = one(other)
    sqs.tell(late=late)

    broker.settle(acks([expired]))

    assert other.size().leased == (0 if late else 1)
    other.settle(acks([current]))
    assert other.size().leased == 0


@pytest.mark.parametrize("action", [Action.RETRY, Action.RELEASE, Action.DEAD_LETTER])
def test_a_late_settlement_sends_no_copy(sqs: Any, new: New, action: Action) -> None:
    """A copy is sent only if the lease has not expired."""
    broker, other = new(retry=300.0), new()
    broker.enqueue([message()])
    expired = one(broker)
    sqs.pass_time(300)
    current = one(other)

    broker.settle([Settlement(expired.receipt, action, reason="late")])

    assert (other.size().ready, other.size().leased, other.size().dead_letters) == (0, 1, 0)
    other.settle(acks([current]))


def test_a_foreign_message_is_leased_unchanged(new: New) -> None:
    """A message of another program is leased as it is; the worker rejects it."""
    broker = new()
    broker.lease(1, 0.0)
    queue = broker._queues
    note = {codec.ATTRIBUTE: {"DataType": "String", "StringValue": "{not ours"}}
    queue.connection.call("send_message", QueueUrl=queue.main(), MessageBody="{é}", MessageAttributes=note)

    assert one(broker).body == "{é}".encode()


# -- copies -------------------------------------------------------------------------------------


@pytest.mark.parametrize("action", [Action.RETRY, Action.RELEASE, Action.DEAD_LETTER])
def test_a_message_left_by_a_settlement_is_never_leased(sqs: Any, new: New, action: Action) -> None:
    """If a process dies after it sent the copy, the receiver of the copy removes the old message."""
    broker, other = new(retry=300.0), new()
    broker.enqueue([message(b"once")])
    leased = one(broker)
    sqs.tell(fail={"DeleteMessageBatch": ["AccessDenied", 403, 1]})
    with pytest.raises(BackendRejected):
        broker.settle([Settlement(leased.receipt, action, reason="why", failures=1)])

    if action is Action.DEAD_LETTER:
        assert [letter.body for letter in other.dead_letters()] == [b"once"]
    else:
        again = one(other)
        assert (again.failures, again.deliveries) == ((1, 2) if action is Action.RETRY else (0, 1))
        other.settle(acks([again]))
    sqs.pass_time(300)

    assert not other.lease(1, 0.0)
    size = other.size()
    assert (size.ready, size.delayed, size.leased) == (0, 0, 0)


def test_a_dead_letter_that_was_sent_twice_is_listed_once(sqs: Any, new: New) -> None:
    """A settlement that another process repeats adds no second dead letter."""
    broker, other = new(), new()
    broker.enqueue([message(b"once")])
    to_dead_letters = Settlement(one(broker).receipt, Action.DEAD_LETTER, reason="why")
    sqs.tell(fail={"DeleteMessageBatch": ["AccessDenied", 403, 1]})
    with pytest.raises(BackendRejected):
        broker.settle([to_dead_letters])

    other.settle([to_dead_letters])
    (letter,) = other.dead_letters()

    assert other.requeue([letter.id]) == 1
    assert list(other.dead_letters()) == []
    assert one(other).body == b"once"
    assert not other.lease(1, 0.0)


def test_any_process_can_settle_what_another_leased(new: New) -> None:
    """A receipt contains everything that is needed, including counters."""
    broker, other = new(), new()
    broker.enqueue([message(b"small"), message(b"dead")])
    first, second = broker.lease(2, 0.0)
    broker.close()

    other.settle(
        [
            Settlement(first.receipt, Action.RETRY, failures=2, crashes=1),
            Settlement(second.receipt, Action.DEAD_LETTER, reason="no", crashes=3),
        ]
    )

    again = one(other)
    assert (again.failures, again.crashes, again.deliveries) == (2, 1, 2)
    assert [letter.crashes for letter in other.dead_letters()] == [3]


def test_a_large_message_of_another_process_is_released_without_counting(
    new: New, caplog: pytest.LogCaptureFixture
) -> None:
    """Its body does not fit into a receipt; its delivery is counted, so it is not redelivered for ever."""
    broker, other = new(), new()
    body = os.urandom(30_000)
    broker.enqueue([message(body)])
    leased = one(broker)
    assert len(leased.receipt) < 1000

    other.settle([Settlement(leased.receipt, Action.RETRY, crashes=1)])
    again = one(other)
    assert (again.body, again.crashes, again.deliveries) == (body, 0, 2)
    assert "released without counting" in caplog.text

    other.settle([Settlement(again.receipt, Action.RETRY, crashes=1)])
    assert (one(broker).crashes, len(body)) == (1, 30_000)


# -- time ---------------------------------------------------------------------------------------


def test_a_delay_beyond_fifteen_minutes_is_kept(new: New, monkeypatch: pytest.MonkeyPatch) -> None:
    """A message that is received too early is sent again with the rest of its delay, without counting."""
    # so that the test takes seconds, because SQS delays up to 900 seconds
    monkeypatch.setattr(broker_module, "MAX_DELAY", 1)
    monkeypatch.setattr(transfer, "MAX_DELAY", 1)
    broker, other = new(), new()
    since = time.time()
    broker.enqueue([message(b"later", 3.5)])
    leased = one(other)

    assert time.time() - since >= 3.5
    assert (leased.body, leased.deliveries) == (b"later", 1)
    other.settle([Settlement(leased.receipt, Action.RETRY, 2.5, failures=1)])
    since = time.time()
    again = one(broker)
    assert time.time() - since >= 2.5
    assert (again.deliveries, again.failures) == (2, 1)


def test_a_lease_is_extended_to_what_is_left_of_twelve_hours(
    new: New, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """SQS counts 12 hours from the lease; a warning says that it ends."""
    monkeypatch.setattr(transfer, "MAX_LEASE", 20)
    broker = new()
    broker.enqueue([message()])
    leased = one(broker)

    broker.extend([leased.receipt], 60.0)

    assert "12 hours" in caplog.text
    broker.settle(acks([leased]))
    assert broker.size().leased == 0


def test_a_killed_waiting_process_delays_messages_only_for_seconds(
    sqs: Any, new: New, until: Callable[..., Any]
) -> None:
    """SQS may deliver to a receiver that has died; the message is visible again after seconds."""
    gone = new(retry=3600.0)
    gone.lease(1, 0.0)
    child = os.fork()
    if not child:
        gone.lease(1, 20.0)
        os._exit(0)
    until(lambda: sqs.asked()["ReceiveMessage"] == 2)
    os.kill(child, 9)
    os.waitpid(child, 0)
    broker = new()
    broker.enqueue([message(b"for the living")])

    assert one(broker).body == b"for the living"


def test_without_long_polls_the_queue_is_polled(sqs: Any, new: New) -> None:
    """With `receive_message_wait_time_seconds = 0` the queue is polled every `poll` seconds."""
    broker = new(receive_message_wait_time_seconds=0, poll=0.3)
    assert broker.capabilities.long_poll is False
    since = time.monotonic()

    assert not broker.lease(1, 3.0)

    # a request takes long on a busy machine, so there may be few
    assert time.monotonic() - since >= 3.0
    assert 2 <= sqs.asked()["ReceiveMessage"] <= 12


def test_a_delayed_message_is_purged_too(sqs: Any, new: New) -> None:
    """A delayed message cannot be received before its time, so it is removed then."""
    broker, other = new(), new()
    broker.enqueue([message(b"now"), message(b"later", 300.0)])
    assert other.purge() == 2
    broker.enqueue([message(b"after", 300.0)])
    sqs.pass_time(300)

    assert [found.body for found in other.lease(5, 20.0)] == [b"after"]
    assert not other.lease(5, 0.0)
    size = other.size()
    assert (size.ready, size.delayed, size.leased) == (0, 0, 1)


def test_a_leased_message_that_was_delayed_survives_a_purge(sqs: Any, new: New) -> None:
    """A message that was leased before the purge is not purged."""
    broker, other = new(retry=300.0), new()
    broker.enqueue([message(b"leased", 1.0)])
    one(broker)

    assert other.purge() == 0

    sqs.pass_time(300)
    assert one(other).body == b"leased"


def test_a_missing_permission_to_read_tags_is_logged_once(
    sqs: Any, new: New, caplog: pytest.LogCaptureFixture
) -> None:
    """A broker that may not read tags works, and logs one warning."""
    broker = new()
    sqs.tell(fail={"ListQueueTags": ["AccessDenied", 403, 9]})
    for _ in range(2):
        broker.enqueue([message(b"later", 1.0)])
        assert one(broker).body == b"later"

    assert caplog.text.count("the tags of the queue cannot be read") == 1


# -- redrive ------------------------------------------------------------------------------------


def test_messages_moved_by_the_redrive_policy_are_dead_letters(sqs: Any, new: New) -> None:
    """Messages that SQS moves are listed and can be requeued."""
    broker = new(retry=300.0, max_receives=2)
    broker.enqueue([message(b"hopeless")])
    for _ in range(2):
        assert one(broker).body == b"hopeless"
        sqs.pass_time(300)

    assert not broker.lease(1, 0.0)
    (letter,) = broker.dead_letters()

    assert (letter.body, "redrive policy" in letter.reason) == (b"hopeless", True)
    assert broker.requeue([letter.id]) == 1
    assert one(broker).deliveries == 1


# -- FIFO ---------------------------------------------------------------------------------------


def test_a_group_runs_one_after_the_other(new: New) -> None:
    """In one message group, later messages wait for the leased ones."""
    broker, other = new(fifo=True, group="all"), new(fifo=True, group="all")
    broker.enqueue(numbered(5))

    first = broker.lease(2, 0.0)
    assert [found.body for found in first] == [b"00000", b"00001"]
    assert not other.lease(1, 0.0)
    broker.settle(acks(first))
    assert [found.body for found in other.lease(5, 0.0)] == [b"00002", b"00003", b"00004"]


def test_without_a_group_tasks_do_not_wait_for_one_another(new: New) -> None:
    """Each task is a group of its own."""
    broker, other = new(fifo=True), new(fifo=True)
    broker.enqueue(numbered(2))
    assert {one(broker).body, one(other).body} == {b"00000", b"00001"}


def test_a_fifo_queue_refuses_a_delay(new: New) -> None:
    """SQS cannot delay a single message of a FIFO queue."""
    with pytest.raises(NotSupported, match="cannot delay a task; got a delay of 5 s:"):
        new(fifo=True).enqueue([message(delay=5.0)])


def test_a_retry_of_a_fifo_queue_waits(new: New) -> None:
    """A process that receives the message too early keeps its delay."""
    broker, other = new(fifo=True), new(fifo=True)
    broker.enqueue([message()])
    since = time.time()
    broker.settle([Settlement(one(broker).receipt, Action.RETRY, 3.0, failures=1)])

    assert not other.lease(1, 0.0)
    again = one(other)
    assert time.time() - since >= 3.0
    assert (again.deliveries, again.failures) == (2, 1)


@pytest.mark.parametrize(("deduplication", "expected"), [("call", 2), ("id", 1), ("content", 1)])
def test_a_fifo_queue_drops_duplicates(new: New, deduplication: str, expected: int) -> None:
    """Duplicates are found by call, by the task's id or by content, for five minutes."""
    broker = new(fifo=True, deduplication=deduplication)
    sent = message()
    broker.enqueue([sent])
    broker.enqueue([sent])
    assert broker.size().ready == expected


@pytest.mark.parametrize("deduplication", ["call", "id", "content"])
def test_two_equal_calls_are_two_tasks(sqs: Any, section: Callable[..., Any], deduplication: str) -> None:
    """A message contains the id of its task, so no two messages have the same content."""
    fields = attrs.asdict(section(fifo=True, deduplication=deduplication))
    config = {"name": "mail", "secret_key": "the key of these tests, not of anybody else", "sqs": fields}
    app = App(Config.from_dict(config))
    for _ in range(2):
        app.enqueue("os.getpid")
    assert app.queue.size().ready == 2
    app.close()


@pytest.mark.parametrize("deduplication", ["call", "id", "content"])
def test_a_retry_is_not_a_duplicate(new: New, deduplication: str) -> None:
    """The copy of a retried message is not dropped as a duplicate."""
    broker = new(fifo=True, deduplication=deduplication)
    broker.enqueue([message()])
    for failures in range(1, 4):
        broker.settle([Settlement(one(broker).receipt, Action.RETRY, failures=failures)])
    broker.settle([Settlement(one(broker).receipt, Action.DEAD_LETTER, reason="no")])
    assert broker.requeue([letter.id for letter in broker.dead_letters()]) == 1
    assert one(broker).deliveries == 1


def test_an_enqueue_to_a_fifo_queue_is_repeated_when_its_answer_is_lost(sqs: Any, new: New) -> None:
    """A FIFO queue accepts the same message once."""
    broker = new(fifo=True)
    broker.enqueue([message()])
    sqs.tell(hangup={"SendMessageBatch": 1})
    broker.enqueue([message()])
    assert broker.size().ready == 2


# -- processes ----------------------------------------------------------------------------------


def test_each_process_has_one_client_of_its_own(new: New) -> None:
    """Brokers of one endpoint share a client; after a fork parent and child have separate ones."""
    one_broker, other = new(), new(name="other")
    one_broker.ping()
    other.ping()
    ours = one_broker._queues.connection._open()
    assert ours is other._queues.connection._open()

    child = os.fork()
    if not child:
        try:
            one_broker.enqueue([message(b"child")])
            os._exit(0 if one_broker._queues.connection._open() is not ours else 1)
        finally:
            os._exit(2)
    one_broker.enqueue([message(b"parent")])
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert {found.body for found in one_broker.lease(10, 0.0)} == {b"child", b"parent"}
    assert one_broker._queues.connection._open() is ours


def test_the_last_broker_closes_the_client(new: New) -> None:
    """A client without users is not kept."""
    first, second = new(), new()
    first.ping()
    second.ping()
    # clients of other tests are not counted
    gc.collect()
    before = len(client._CLIENTS)

    first.close()
    assert len(client._CLIENTS) == before
    second.close()
    gc.collect()
    assert len(client._CLIENTS) == before - 1


def test_botocore_logs_at_debug_only_if_the_user_sets_its_level(new: New) -> None:
    """Session tokens are logged at DEBUG by botocore, so its level is raised unless the user set it."""
    log = logging.getLogger("botocore")
    log.setLevel(logging.DEBUG)
    try:
        new(aws_session_token="another-client").ping()
        assert log.level == logging.DEBUG
    finally:
        log.setLevel(logging.NOTSET)
    new(aws_session_token="a-third-client").ping()
    assert log.level == logging.WARNING


def test_a_poll_of_an_earlier_test_takes_nothing(sqs: Any, new: New) -> None:
    """The stand-in forgets everything between two tests, and who still waits in it too."""
    waiting = new()
    waiting.enqueue([message(b"there is a queue")])
    assert waiting.purge() == 1
    asked, url = sqs.asked()["ReceiveMessage"], waiting._queues.find("mail")
    poll = functools.partial(waiting._queues.connection.call, "receive_message")
    thread = threading.Thread(target=lambda: poll(QueueUrl=url, WaitTimeSeconds=20), daemon=True)
    thread.start()
    end = time.monotonic() + 100
    while sqs.asked()["ReceiveMessage"] == asked:
        assert time.monotonic() < end

    sqs.reset()
    broker = new()
    broker.enqueue([message(b"mine")])

    thread.join(60)
    assert [found.body for found in broker.lease(5, 20.0)] == [b"mine"]
