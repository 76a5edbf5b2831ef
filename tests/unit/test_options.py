"""Which options a task may have: what no worker could read is refused where it is said."""

from __future__ import annotations

import datetime as dt
import math
from enum import StrEnum
from typing import Any

import attrs
import pytest

from qcore import App, Config, Options, Retry
from qcore.errors import NotSupported
from qcore.messages.head import decode_head
from qcore.tasks.call import VALIDATORS
from qcore.testing import captured

pytestmark = pytest.mark.portable


class Colour(StrEnum):
    """A text that is more than a text."""

    RED = "red"


class Marked(str):  # noqa: SLOT000 - no more than a test needs
    """What template engines make of texts."""


class Exact(float):
    """What numeric libraries make of numbers."""


@pytest.fixture
def app() -> App:
    """Return an App on a queue of this process."""
    return App(Config.from_dict({"memory": {}}))


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ({"group": 5}, r"^group must be a text, got 5 of type int; pass str\(\) of it$"),
        ({"label": 5}, r"^label must be a text, got 5 of type int"),
        ({"limit_key": b"db"}, r"^limit_key must be a text, got b'db' of type bytes"),
        ({"queue": 5}, r"^queue must be a text, got 5"),
        (
            {"timeout": "5"},
            r"^timeout must be a number of seconds, got '5' of type str; pass an int",
        ),
        ({"timeout": True}, r"^timeout must be a number of seconds, got True of type bool"),
        (
            {"delay": dt.timedelta(minutes=1)},
            r"^delay must be .*; pass its total_seconds\(\)$",
        ),
        ({"delay": None}, r"^delay must be a number of seconds, got None"),
        ({"expires": "1h"}, r"^expires must be a number of seconds, got '1h'"),
        ({"result_ttl": "5"}, r"^result_ttl must be a number of seconds, got '5'"),
        ({"unique_for": "5"}, r"^unique_for must be a number of seconds, got '5'"),
        ({"save": "yes"}, r"^save must be True or False, got 'yes' of type str; pass bool\(\) of it$"),
        ({"ack_failure": "x"}, r"^ack_failure must be True or False, got 'x'"),
        ({"sync": 1}, r"^sync must be True or False, got 1"),
        ({"continue_on_failure": None}, r"^continue_on_failure must be True or False, got None"),
        ({"unique": 5}, r"^unique must be True, False or a key, got 5 of type int; a key is a text"),
        ({"concurrency": 1.5}, r"^concurrency must be a whole number, got 1.5 of type float; pass an int$"),
        ({"concurrency": "1"}, r"^concurrency must be a whole number, got '1'"),
        ({"concurrency": True}, r"^concurrency must be a whole number, got True"),
        ({"rate": 5}, r"^rate must be \(count, seconds\) or a text such as '10/s', got 5 of type int"),
        ({"rate": (1,)}, r"^rate must be \(count, seconds\) or a text such as '10/s', got \(1,\)"),
        ({"rate": (1.5, 2)}, r"^the count of rate must be a whole number, got 1.5"),
        ({"rate": (1, "2")}, r"^the time of rate must be a number of seconds, got '2'"),
        (
            {"retry": 3},
            r"^retry must be a qcore.Retry, got 3 of type int; pass a Retry, for example",
        ),
    ],
)
def test_an_option_of_a_wrong_type_is_refused_where_it_is_said(app: App, option: Any, says: str) -> None:
    """The error names the option, shows its value, and says what to give."""
    with pytest.raises(TypeError, match=says):
        app.task(**option)
    with pytest.raises(TypeError, match=says):
        app.task(divmod).using(**option)


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ({"delay": math.nan}, r"^delay must be 0 or more seconds and at most 3155760000, .* got nan$"),
        ({"delay": math.inf}, r"^delay must be .* got inf$"),
        ({"delay": -1}, r"^delay must be .* got -1$"),
        ({"timeout": -1}, r"^timeout must be .* got -1; None means no limit$"),
        ({"timeout": 1e12}, r"^timeout must be .* got 1000000000000.0; None means no limit$"),
        ({"expires": -1}, r"^expires must be .* got -1$"),
        ({"result_ttl": -5}, r"^result_ttl must be .* got -5$"),
        ({"unique_for": -5}, r"^unique_for must be .* got -5$"),
        ({"unique": ""}, r"^unique must not be an empty key"),
        ({"concurrency": 0}, r"^concurrency must be 1 or more, got 0$"),
        ({"rate": (0, 1)}, r"^the count of rate must be 1 or more, got 0$"),
        ({"rate": (1, 0)}, r"^the time of rate must be above 0 seconds, got 0$"),
        ({"rate": "10/y"}, r"^not a rate: '10/y'"),
    ],
)
def test_an_option_out_of_range_is_refused_where_it_is_said(app: App, option: Any, says: str) -> None:
    """What could be neither kept nor counted is not put on the queue and lost there."""
    with pytest.raises(ValueError, match=says):
        app.task(divmod).using(**option)


@pytest.mark.parametrize(
    ("option", "error", "says"),
    [
        ({"group": True}, TypeError, r"^group must be a text, got True"),
        ({"task_name": 5.5}, TypeError, r"^task_name must be a text, got 5.5"),
        ({"timeout": "5"}, TypeError, r"^timeout must be a number of seconds, got '5'"),
        ({"timeout": math.nan}, ValueError, r"^timeout must be .* got nan"),
        ({"cached": "5"}, TypeError, r"^cached must be a number of seconds, got '5'"),
        ({"cached": -5}, ValueError, r"^cached must be .* got -5$"),
        ({"save": 0}, TypeError, r"^save must be True or False, got 0"),
    ],
)
@pytest.mark.parametrize("sync", [False, True])
def test_options_of_the_specification_are_held_to_the_same(
    option: Any, error: type[Exception], says: str, *, sync: bool
) -> None:
    """They are named as they were given, whether the task is enqueued or run at once."""
    app = App(Config.from_dict({"memory": {}, "sync": sync}))

    with pytest.raises(error, match=says):
        app.async_task("os.getcwd", **option)
    with pytest.raises(error, match=says):
        app.async_task("os.getcwd", q_options=option)

    assert app.queue.size().ready == 0


def test_a_timeout_below_nought_is_no_limit_for_the_specification_alone(app: App) -> None:
    """There -1 is a word, and says what None says."""
    with captured(app) as seen:
        app.async_task("os.getcwd", timeout=-1)

    assert seen.tasks[0].options.timeout is None


def test_texts_and_numbers_of_a_class_of_their_own_are_written_as_what_they_are() -> None:
    """A worker reads a text and a number, whatever the producer made them of."""
    head = Options(group=Marked("a"), label=Colour.RED, timeout=Exact(1.5), retry=Retry(backoff=Exact(2)))

    read = decode_head(head.head("os.getcwd"))

    assert (read.group, read.label, read.timeout, read.backoff) == ("a", "red", 1.5, 2.0)


def test_every_option_is_looked_at() -> None:
    """A new field is given its check; a hook is looked at when it is named, a connection by its broker."""
    assert {field.name for field in attrs.fields(Options)} - VALIDATORS.keys() == {"connection", "hook"}


@pytest.mark.parametrize(
    ("policy", "error", "says"),
    [
        ({"max_attempts": 2.5}, TypeError, r"^max_attempts must be a whole number, got 2.5"),
        ({"max_attempts": "3"}, TypeError, r"^max_attempts must be a whole number, got '3'"),
        ({"max_attempts": -1}, ValueError, r"^max_attempts must be 0 or more, got -1$"),
        ({"backoff": "5"}, TypeError, r"^backoff must be a number of seconds, got '5'"),
        ({"backoff": math.nan}, ValueError, r"^backoff must be .* got nan$"),
        ({"max_delay": None}, TypeError, r"^max_delay must be a number of seconds, got None"),
        ({"jitter": 0.5}, TypeError, r"^jitter must be True or False, got 0.5"),
        ({"on": ValueError}, TypeError, r"^on must be a tuple of exceptions, .*; give \(ValueError,\)$"),
        ({"on": ("ValueError",)}, TypeError, r"^on must be a tuple of exceptions, .*; give \(ValueError,\)$"),
    ],
)
def test_a_policy_that_no_worker_could_follow_is_refused(
    policy: Any, error: type[Exception], says: str
) -> None:
    """It travels in the head as the options do."""
    with pytest.raises(error, match=says):
        Retry(**policy)


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ({"retry": Retry(max_attempts=2)}, r"^at_most_once excludes a second run, and retry=Retry\(.* asks"),
        ({"retry": Retry()}, r"^at_most_once excludes a second run"),
        ({"max_crashes": 3}, r"max_crashes=3 asks for one; leave one of the two out$"),
        ({"max_crashes": 0}, r"max_crashes=0 asks"),
        ({"ack_failure": False}, r"ack_failure=False asks"),
    ],
)
def test_what_asks_for_a_second_run_is_refused_beside_at_most_once(app: App, option: Any, says: str) -> None:
    """Whichever of the two is said first, and wherever."""
    with pytest.raises(ValueError, match=says):
        app.task(at_most_once=True, **option)(divmod)
    with pytest.raises(ValueError, match=says):
        app.task(at_most_once=True)(divmod).using(**option)
    with pytest.raises(ValueError, match=says):
        app.task(**option)(divmod).using(at_most_once=True)


def test_configuration_that_is_known_refuses_them_at_declaration() -> None:
    """An App that was given its configuration does not wait for the first call."""
    app = App(Config.from_dict({"memory": {}, "at_most_once": True}))

    with pytest.raises(ValueError, match=r"max_crashes=3 asks for one; the configuration sets it for all"):
        app.task(max_crashes=3)(divmod)
    assert app.task(max_crashes=3, at_most_once=False)(divmod).options.max_crashes == 3


def test_options_that_allow_one_run_stand_beside_at_most_once(app: App) -> None:
    """They say the same."""
    made = app.task(at_most_once=True, retry=Retry(max_attempts=1), max_crashes=1, ack_failure=True)(divmod)

    assert made.options.at_most_once


def test_a_broker_outside_of_the_transaction_refuses_it(app: App) -> None:
    """`connection` needs a broker in the database of the transaction; the error names the one there is."""
    task = app.task(name="math.sqrt")(lambda number: number)

    with pytest.raises(NotSupported, match="transaction, and MemoryBroker is not in one"):
        task.using(connection=object()).enqueue(1)

    assert app.queue.size().ready == 0
