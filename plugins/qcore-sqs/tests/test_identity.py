"""The text that identifies a broker's queue."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from qcore_sqs import SqsBroker

    New = Callable[..., SqsBroker]

#: the endpoint is AWS's own
AWS = {"endpoint_url": None}


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({}, {}, True),
        ({}, {"aws_secret_access_key": "another"}, True),
        (AWS, AWS, True),
        (AWS, {"endpoint_url": "https://SQS.eu-west-1.amazonaws.com:443/"}, True),
        ({}, {"queue": "mail"}, True),
        ({"queue": "theirs"}, {"queue": "theirs", "name": "ours"}, True),
        ({}, {"name": "ours"}, False),
        ({}, {"fifo": True}, False),
        ({}, AWS, False),
        (AWS, AWS | {"aws_region": "us-east-1"}, False),
        (AWS, AWS | {"aws_access_key_id": "another"}, False),
        ({}, {"endpoint_url": "http://127.0.0.1:9"}, False),
    ],
)
def test_two_brokers_of_one_queue_have_the_same_id(
    new: New, one: dict[str, Any], other: dict[str, Any], *, same: bool
) -> None:
    """`qcore move` must notice that both sides are one queue, however the settings are written."""
    names = [new(**fields).queue_id() for fields in (one, other)]

    assert all(names)
    assert (names[0] == names[1]) is same


def test_the_id_needs_no_request_and_contains_no_secret(sqs: Any, new: New) -> None:
    """The id contains SQS's name of the queue and may be logged."""
    named = new(endpoint_url=sqs.url.replace("//", "//user:hidden@")).queue_id()

    assert named is not None
    assert named.startswith("sqs:")
    assert named.endswith("#mail")
    assert not [word for word in ("user", "hidden", "id-of-these", "secret-of-these") if word in named]
    assert not sqs.asked()


def test_the_id_does_not_depend_on_where_boto3_finds_the_key(
    new: New, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One side of a move may set its key, and the other may find it in the environment."""
    named = new().queue_id()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id-of-these-tests")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-of-these-tests")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    nothing = dict.fromkeys(("aws_region", "aws_access_key_id", "aws_secret_access_key"), None)

    assert new(**nothing).queue_id() == named


def test_the_id_of_a_role_does_not_depend_on_its_temporary_key(
    new: New, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Temporary keys change, so the id uses the role, and no key is requested."""
    config = tmp_path / "config"
    role = "role_arn = arn:aws:iam::1234:role/{0}\ncredential_source = Environment\n"
    config.write_text("".join(f"[profile {one}]\n{role.format(one)}" for one in ("ours", "theirs")))
    monkeypatch.setenv("AWS_CONFIG_FILE", os.fspath(config))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    nothing = dict.fromkeys(("aws_access_key_id", "aws_secret_access_key"), None)
    names = [new(**nothing, aws_profile=one).queue_id() for one in ("ours", "ours", "theirs")]

    assert None not in names
    assert names[0] == names[1] != names[2]


@pytest.mark.parametrize("fields", [{"aws_region": None}, {"aws_profile": "nobody"}, {"endpoint_url": "no"}])
def test_settings_that_boto3_cannot_use_have_no_id(new: New, fields: dict[str, Any]) -> None:
    """Creating a broker raises no error; its first call does."""
    assert new(**fields).queue_id() is None
