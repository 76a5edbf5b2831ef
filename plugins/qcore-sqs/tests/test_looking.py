"""Who only looks creates no queue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import pytest

from qcore import App, Config
from qcore.errors import QueueMissing
from qcore.interfaces import Settings
from qcore_sqs import SqsBroker, SqsSettings
from qcore_testing.looking import LOOKS, check_looking_creates_nothing

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .conftest import Sqs


def test_a_missing_queue_is_an_error_and_is_not_created(
    sqs: Sqs, section: Callable[..., SqsSettings]
) -> None:
    """The error names the queue; a process of a cluster creates it."""
    settings = Settings(name="none", create=False, sections={"sqs": section()})
    with pytest.raises(QueueMissing, match=r"there is no queue 'none' at none in 127\.0\.0\.1"):
        SqsBroker(settings)
    assert "CreateQueue" not in sqs.asked()

    broker = SqsBroker(attrs.evolve(settings, owner=b"a worker"))
    assert list(broker.lease(1, 0.0)) == []
    assert sqs.asked()["CreateQueue"] == 1


def test_a_queue_that_is_there_is_looked_at_without_creating_one(
    sqs: Sqs, section: Callable[..., SqsSettings], tmp_path: Any
) -> None:
    """Neither counting nor listing creates the queue of the dead letters."""
    told = attrs.asdict(section(), filter=lambda _, value: value is not None)
    config = Config.from_dict(
        {
            "name": "one",
            "secret_key": "a key of the tests of qcore-sqs",
            "sqs": told,
            "result_store": "sqlite",
            "sqlite": {"path": str(tmp_path / "r.db")},
        }
    )
    app = App(config)
    with pytest.raises(QueueMissing):
        app.queue.size()
    app.enqueue("math.sqrt", 4)
    assert sqs.asked()["CreateQueue"] == 1

    assert app.queue.size().ready == 1
    with app.runtime.brokers.connection() as broker:
        assert list(broker.dead_letters()) == []
    assert sqs.asked()["CreateQueue"] == 1


@pytest.mark.parametrize("look", LOOKS)
def test_a_look_at_a_misspelt_name_creates_nothing(
    sqs: Sqs, section: Callable[..., SqsSettings], look: str, tmp_path: Path
) -> None:
    """Whatever the command, the backend holds what it held."""
    told = attrs.asdict(section(), filter=lambda _, value: value is not None)
    check_looking_creates_nothing(look, {"sqs": told}, lambda: sqs.asked().get("CreateQueue", 0), tmp_path)
