"""Whatever the queues at SQS contain, no worker ends and good messages get through."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, Final

import boto3
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from qcore.model import Action, Outgoing, Settlement
from qcore_testing.beside_garbage import check_tasks_run_beside_garbage

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from qcore_sqs import SqsBroker

#: characters that SQS takes
TAKEN: Final = st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff")
texts = st.text(TAKEN, min_size=1, max_size=40) | st.sampled_from(["=", "AQ==", "QQ", "{}", "e30="])
numbers = st.integers() | st.floats(allow_nan=False) | st.sampled_from([0, 1, 2**63, 10**40, 1e308, -1])
names = ["deliveries", "failures", "crashes", "due", "delayed", "replaces", "reason", "dead_since"]
fields = st.dictionaries(st.sampled_from(names), numbers | st.booleans() | st.text(TAKEN, max_size=20))
sound = st.fixed_dictionaries(
    {},
    optional={
        "deliveries": st.integers(),
        "failures": st.integers(),
        "crashes": st.integers(),
        "due": st.sampled_from([0.0, 1.0, -1e300]),
        "delayed": st.booleans(),
        "replaces": st.text(TAKEN, max_size=20),
        "dead_letter_id": st.text(TAKEN, max_size=9),
        "dead_since": numbers,
    },
)
attributes = (
    st.none()
    | st.text(TAKEN, min_size=1, max_size=20)
    | (fields | sound).map(json.dumps)
    | st.sampled_from(["[" * 2000, '{"deliveries": 1e999}', '{"reason": "\\ud800"}'])
)
strange = st.lists(st.tuples(texts, attributes), min_size=1, max_size=4)


def client_of(sqs: Any) -> Any:
    """Return a client that sends without the plugin."""
    return boto3.client(
        "sqs",
        endpoint_url=sqs.url,
        region_name="eu-west-1",
        aws_access_key_id="id-of-these-tests",
        aws_secret_access_key="secret-of-these-tests",
    )


def send(client: Any, queue: str, messages: list[tuple[str, str | None]]) -> None:
    """Send texts with an attribute, as anybody may who has the right to."""
    url = client.create_queue(QueueName=queue)["QueueUrl"]
    for text, attribute in messages:
        value = {"DataType": "String", "StringValue": attribute}
        more = {"MessageAttributes": {"qcore": value}} if attribute else {}
        client.send_message(QueueUrl=url, MessageBody=text, **more)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(there=strange)
@example(there=[("0", '{"failures": 65536}')])
@example(there=[("=", '{"deliveries": 100000000000000000000000}'), ("AQ==", '{"replaces": "no handle"}')])
def test_strange_messages_are_handed_on(
    sqs: Any, new: Callable[..., SqsBroker], there: list[tuple[str, str | None]]
) -> None:
    """Beside a good one; each can be dead-lettered, listed and removed."""
    sqs.reset()
    broker = new()
    send(client_of(sqs), "mail", there)
    send(client_of(sqs), "mail-dead-letters", there)
    broker.enqueue([Outgoing(os.urandom(16), b"good")])

    leased = []
    while b"good" not in [one.body for one in leased]:
        leased += broker.lease(10, 1.0)
    assert all(type(one.body) is bytes for one in leased)
    assert all(0 <= count < 2**31 for one in leased for count in (one.failures, one.crashes))
    broker.settle([Settlement(one.receipt, Action.DEAD_LETTER, reason="no\ud800") for one in leased])

    letters = broker.dead_letters(100)
    assert b"good" in [letter.body for letter in letters]
    assert all(0 <= letter.dead_since < 253_402_300_800 for letter in letters)
    assert broker.delete([letter.id for letter in letters]) == len(letters)


def test_a_cluster_runs_what_is_good(sqs: Any, section: Callable[..., Any], tmp_path: Path) -> None:
    """Beside messages that nobody signed: no worker ends."""
    messages = [("=", None), ("no base64", "no json"), ("AQ==", '{"deliveries": 10, "replaces": "x"}')] * 5

    def put() -> int:
        send(client_of(sqs), "mail", messages)
        return len(messages)

    table = {"aws_region": "eu-west-1", "aws_access_key_id": "id-of-these-tests"}
    table |= {"aws_secret_access_key": "secret-of-these-tests", "endpoint_url": sqs.url}
    store = {"result_store": "sqlite", "sqlite": {"path": str(tmp_path / "r.db")}}
    check_tasks_run_beside_garbage({"name": "mail", "sqs": table, **store}, put)
