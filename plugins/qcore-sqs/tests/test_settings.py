"""The settings under `sqs` and their error messages."""

from __future__ import annotations

import logging
import re
import traceback
from typing import TYPE_CHECKING, Any

import pytest

from qcore import App, Config
from qcore.errors import BackendRejected, BackendUnavailable, ConfigError
from qcore.interfaces import Settings
from qcore.model import Outgoing
from qcore_sqs import SqsBroker, SqsSettings, checks, names, plugin

if TYPE_CHECKING:
    from collections.abc import Callable

KEY = "the key of these tests, not of anybody else"
EXAMPLE = {
    "name": "SQSExample",
    "workers": 4,
    "timeout": 60,
    "retry": 90,
    "queue_limit": 100,
    "bulk": 5,
    "sqs": {
        "aws_region": "us-east-1",
        "aws_access_key_id": "ac-Idr.....YwflZBaaxI",
        "aws_secret_access_key": "500f7b....b0f302e9",
    },
}


def message(body: bytes = b"body") -> Outgoing:
    """Return a message."""
    return Outgoing(bytes(16), body)


def test_the_example_of_django_q_is_accepted_unchanged() -> None:
    """The configuration of Django-Q can be used as it is."""
    config = Config.from_dict({**EXAMPLE, "secret_key": KEY})
    section = config.settings().section("sqs")

    assert config.broker == "sqs"
    assert (section.aws_region, section.aws_access_key_id) == ("us-east-1", "ac-Idr.....YwflZBaaxI")


def test_the_plugin_offers_a_broker_by_its_key(section: Callable[..., SqsSettings]) -> None:
    """The key of the settings selects the broker of the same name."""
    settings = Settings(name="mail", sections={"sqs": section()})
    assert plugin.qcore_settings().keys() == plugin.qcore_brokers().keys()
    assert isinstance(plugin.qcore_brokers()["sqs"](settings), SqsBroker)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"receive_message_wait_time_seconds": 21}, "_seconds is 21; SQS accepts 0 to 20"),
        ({"max_receives": 0}, "max_receives is 0; SQS accepts 1 to 1000"),
        ({"aws_access_key_id": "id"}, "belong together"),
        ({"deduplication": "luck"}, "call"),
        ({"aws_regoin": "eu-west-1"}, "aws_region"),
    ],
)
def test_a_wrong_setting_is_reported(table: dict[str, Any], said: str) -> None:
    """Keys and values are checked when the configuration is read."""
    with pytest.raises(ConfigError, match="sqs") as caught:
        Config.from_dict({"name": "q", "secret_key": KEY, "sqs": table})
    assert said in str(caught.value)


@pytest.mark.parametrize("bulk", [1, 10])
def test_a_bulk_of_up_to_ten_is_taken(sqs: Any, bulk: int) -> None:
    """SQS allows ten messages in one request."""
    app = App(Config.from_dict(_table(sqs, bulk=bulk)))
    assert app.enqueue("os.getpid").id


def test_a_bulk_above_ten_is_an_error(sqs: Any) -> None:
    """SQS allows no more than ten messages in one request."""
    app = App(Config.from_dict(_table(sqs, bulk=11)))
    with pytest.raises(ConfigError, match="bulk: got 11; the broker 'sqs' leases at most 10"):
        app.enqueue("os.getpid")


def test_a_lease_above_twelve_hours_is_an_error(new: Callable[..., SqsBroker]) -> None:
    """SQS limits leases to twelve hours."""
    with pytest.raises(ConfigError, match=r"retry: got 43201; .* 43200 seconds \(12 hours\)"):
        new(retry=43_201)
    assert new(retry=43_200).capabilities.extend


def _table(sqs: Any, **more: Any) -> dict[str, Any]:
    access = {"aws_access_key_id": "id", "aws_secret_access_key": "secret"}
    return {
        "name": "q",
        "secret_key": KEY,
        "sqs": {"endpoint_url": sqs.url, "aws_region": "eu-west-1", **access},
    } | more


# -- names --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["default", "SQSExample", "my-queue_2", "a" * 62])
def test_a_name_that_sqs_accepts_is_kept(name: str) -> None:
    """A name that SQS accepts is the name of the queue at SQS."""
    assert names.queue_name(name) == name


def test_other_names_are_mapped_to_different_names() -> None:
    """Each name that SQS does not accept is mapped to a different valid name."""
    odd = ["a.b", "a:b", "a_b", ".", ":", "x" * 80, "x" * 79, "x-dead-letters", "shop.eu:2"]
    for fifo in (False, True):
        mapped = [names.queue_name(name, fifo=fifo) for name in odd]
        mapped += [names.dead_letters_name(name) for name in mapped]

        assert len(set(mapped)) == 2 * len(odd)
        assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,80}", name.removesuffix(".fifo")) for name in mapped)
        assert max(map(len, mapped)) <= 80
        assert all(name.endswith(".fifo") == fifo for name in mapped)


def test_queues_of_different_names_are_separate(new: Callable[..., SqsBroker]) -> None:
    """A queue has only its own messages, whatever its name is."""
    for name in ("a.b", "a:b", "x-dead-letters"):
        new(name=name).enqueue([message(name.encode())])

    assert [one.body for one in new(name="a:b").lease(5, 0.0)] == [b"a:b"]
    assert new(name="x").size().dead_letters == 0


# -- queues -------------------------------------------------------------------------------------


def test_a_missing_queue_is_created(sqs: Any, new: Callable[..., SqsBroker]) -> None:
    """The queue is created when it is first used, and that of the dead letters with the first of them."""
    broker = new()
    broker.ping()
    assert broker.size().ready == 0
    assert "CreateQueue" not in sqs.asked()

    broker.enqueue([message()])

    assert sqs.asked()["CreateQueue"] == 1
    assert broker.size().ready == 1


def test_a_missing_queue_is_refused_if_create_is_false(new: Callable[..., SqsBroker]) -> None:
    """The error names the queue and the setting."""
    broker = new(create=False)
    for attempt in (lambda: broker.enqueue([message()]), lambda: broker.lease(1, 0.0), broker.ping):
        with pytest.raises(BackendRejected, match=r"the queue 'mail' .* does not exist.* sqs\.create = true"):
            attempt()


def test_a_queue_created_by_others_is_used(new: Callable[..., SqsBroker]) -> None:
    """With `create = false` an existing queue is used, by its name or by another."""
    new(queue="theirs", attributes={"MessageRetentionPeriod": "86400"}).enqueue([message(b"theirs")])
    assert new(create=False, queue="theirs").lease(1, 0.0)[0].body == b"theirs"


def test_a_queue_that_was_deleted_is_created_again(sqs: Any, new: Callable[..., SqsBroker]) -> None:
    """The call that finds the queue missing raises an error; the next one creates it."""
    sqs.tell(allowed=[*sqs.left()["allowed"], "sqs:DeleteQueue"])
    broker = new()
    broker.enqueue([message()])
    connection = broker._queues.connection
    connection.call("delete_queue", QueueUrl=broker._queues.main())

    with pytest.raises(BackendUnavailable, match=r"the queue at mail in 127\.0\.0\.1.* does not exist"):
        broker.lease(1, 0.0)
    broker.enqueue([message(b"after")])
    assert broker.lease(1, 0.0)[0].body == b"after"


def test_a_check_returns_how_long_messages_are_kept(section: Callable[..., SqsSettings]) -> None:
    """`qcore doctor` shows how long messages are kept, or which queue is missing."""
    settings = Settings(name="mail", sections={"sqs": section()})
    assert "will be created when the first task is enqueued" in checks.check(settings)
    broker = SqsBroker(settings)
    broker.enqueue([message()])
    assert checks.check(settings) == "mail keeps a message for 14 days; dead letters go to mail-dead-letters"

    strict = Settings(name="mail", sections={"sqs": section(create=False)})
    with pytest.raises(BackendRejected, match="missing: mail-dead-letters"):
        checks.check(strict)
    broker.close()


# -- credentials --------------------------------------------------------------------------------


def test_credentials_are_shown_nowhere(
    sqs: Any, new: Callable[..., SqsBroker], caplog: pytest.LogCaptureFixture
) -> None:
    """Neither repr, info, errors nor logs at DEBUG contain credentials."""
    caplog.set_level(logging.DEBUG)
    secrets = ("very-secret-value", "very-secret-token", "hidden-password")
    table = {
        "aws_region": "eu-west-1",
        "aws_access_key_id": "AKIDEXAMPLE",
        "aws_secret_access_key": secrets[0],
        "aws_session_token": secrets[1],
        "endpoint_url": sqs.url.replace("http://", f"http://user:{secrets[2]}@"),
    }
    config = Config.from_dict({"name": "q", "secret_key": KEY, "sqs": table})
    broker = new(**table)
    said = [repr(SqsSettings(**table)), repr(config), str(config.redacted()), broker.info()]
    sqs.tell(fail={"SendMessageBatch": ["SignatureDoesNotMatch", 403, 1]})
    with pytest.raises(BackendRejected, match=r"sqs\.aws_secret_access_key") as caught:
        broker.enqueue([message()])
    broker.enqueue([message()])

    said += [str(caught.value), caplog.text]
    for secret in secrets:
        assert not [text for text in said if secret in text]


@pytest.mark.parametrize(
    "table",
    [
        {"endpoint_url": "http://user:hid%2Fden@127.0.0.1:9/"},
        {"endpoint_url": "http://user:hid/den@127.0.0.1:9/"},
        {"endpoint_url": "user:hidden@127.0.0.1:9"},
    ],
)
def test_an_endpoint_s_password_is_not_shown_when_it_does_not_answer(
    sqs: Any, new: Callable[..., SqsBroker], table: dict[str, Any]
) -> None:
    """Neither the error nor its cause shows more than host and port."""
    broker = new(**table)
    with pytest.raises((BackendUnavailable, BackendRejected)) as caught:
        broker.ping()

    assert not re.search("user|hid|den", "".join(traceback.format_exception(caught.value, limit=0)))


@pytest.mark.parametrize("region", ["AKID:hidden@", "AKID:hidden@eu-west-1", "eu-west-1/hidden", "hidden\n"])
def test_a_region_that_cannot_be_one_is_not_repeated(region: str) -> None:
    """Credentials that a user wrote into the URL by mistake are not shown."""
    with pytest.raises(ConfigError, match=r"sqs.*aws_region") as caught:
        Config.from_dict({"name": "q", "secret_key": KEY, **plugin.qcore_urls()["sqs"](f"sqs://{region}")})
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize("name", ["aws_access_key_id", "aws_secret_access_key", "aws_session_token"])
@pytest.mark.parametrize("value", ["hidden\n", " hidden", "hid den"])
def test_whitespace_in_a_credential_is_reported(name: str, value: str) -> None:
    """A credential cannot contain a line end; the value is not shown."""
    table = {"aws_access_key_id": "id", "aws_secret_access_key": "other", name: value}
    with pytest.raises(ConfigError, match=f"{name} contains whitespace") as caught:
        Config.from_dict({"name": "q", "secret_key": KEY, "sqs": table})
    assert "hid" not in str(caught.value)


def test_whitespace_in_a_credential_of_the_environment_is_reported(
    sqs: Any, new: Callable[..., SqsBroker], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Credentials that boto3 finds are checked when a request is sent."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "hidden\n")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    # another region, because clients are shared
    broker = new(aws_region="eu-north-1", aws_access_key_id=None, aws_secret_access_key=None)
    with pytest.raises(BackendRejected, match="contain a space or a line end") as caught:
        broker.ping()
    assert "hidden" not in "".join(traceback.format_exception(caught.value, limit=0))


def test_without_credentials_it_says_how_to_give_them(sqs: Any, new: Callable[..., SqsBroker]) -> None:
    """If boto3 finds no credentials, the error says how to give them."""
    broker = new(aws_access_key_id=None, aws_secret_access_key=None)
    with pytest.raises(BackendRejected, match=r"no AWS credentials: set sqs\.aws_access_key_id"):
        broker.enqueue([message()])


def test_credentials_of_the_environment_are_used(
    sqs: Any, new: Callable[..., SqsBroker], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any way that boto3 supports works without settings under `sqs`."""
    for name, value in (
        ("AWS_ENDPOINT_URL", sqs.url),
        ("AWS_ACCESS_KEY_ID", "id"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_DEFAULT_REGION", "eu-west-1"),
    ):
        monkeypatch.setenv(name, value)
    nothing = dict.fromkeys(
        ("aws_region", "aws_access_key_id", "aws_secret_access_key", "endpoint_url"), None
    )
    broker = new(**nothing)
    broker.enqueue([message()])
    assert broker.size().ready == 1


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"aws_region": None}, r"sqs\.aws_region: missing"),
        ({"aws_profile": "nobody"}, "boto3 cannot use the settings of `sqs`"),
        ({"endpoint_url": "nowhere"}, r"sqs\.endpoint_url"),
    ],
)
def test_what_boto3_cannot_use_is_refused(
    sqs: Any, new: Callable[..., SqsBroker], fields: dict[str, Any], said: str
) -> None:
    """Settings that boto3 cannot use are refused, because a later call would fail as well."""
    broker = new(**fields)
    with pytest.raises(BackendRejected, match=said):
        broker.ping()


def test_a_server_that_does_not_listen_is_unavailable(new: Callable[..., SqsBroker]) -> None:
    """A server that does not listen now may do so later."""
    with pytest.raises(BackendUnavailable, match=r"does not answer: .*; start it, or correct `sqs`"):
        new(endpoint_url="http://127.0.0.1:9").ping()


def test_a_closed_broker_says_so(new: Callable[..., SqsBroker]) -> None:
    """A closed broker raises an error and does not connect again."""
    broker = new()
    broker.ping()
    broker.close()
    with pytest.raises(BackendRejected, match="was closed"):
        broker.ping()


def test_a_url_names_the_region() -> None:
    """The URL of `qcore move` has the region; boto3 finds the credentials."""
    read = plugin.qcore_urls()["sqs"]

    assert [read("sqs://eu-west-1"), read("sqs://")] == [{"sqs": {"aws_region": "eu-west-1"}}, {"sqs": {}}]
