"""What a producer's App does before anything reaches a broker."""

from __future__ import annotations

import asyncio
import enum
import os
from datetime import timedelta
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import pytest

from qcore import App, Cluster, Config, QcoreError, Retry
from qcore.errors import EncodeError, NotSupported, TaskFailed, TaskNameError
from qcore.messages.head import decode_head
from qcore.testing import captured

if TYPE_CHECKING:
    from collections.abc import Callable


class Foreign:
    """Something no serializer knows."""


class Colour(enum.Enum):
    """An enumeration."""

    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    """An enumeration of numbers."""

    HIGH = 3


def returns_level():  # type: ignore[no-untyped-def]  # noqa: ANN201 - that is the point
    """Return what nothing declares."""
    return [1, Level.HIGH]


class Own(Exception):
    """An exception of the user's."""


def interrupted() -> None:
    """Do what Ctrl-C does."""
    raise KeyboardInterrupt


def double(number: int, *, plus: int = 0) -> int:
    """Return twice a number and something."""
    return 2 * number + plus


@pytest.fixture
def app() -> App:
    """Return an App on a queue of this process."""
    return App(Config.from_dict({"memory": {}}))


@pytest.mark.parametrize("make", [App, Cluster])
@pytest.mark.parametrize("given", [{"workers": 2}, "redis://localhost", "qcore.toml", App.task])
def test_what_is_no_configuration_is_refused_where_it_is_given(
    make: Callable[[object], object], given: object
) -> None:
    """A program that forgets Config.from_dict learns of it in its own line, and not in a process of ours."""
    with pytest.raises(
        TypeError, match=r"must be a Config, got a (dict|str|function); pass Config\.from_dict"
    ):
        make(given)


def test_an_argument_that_cannot_be_written_is_named(app: App) -> None:
    """The error stands where the call stands, and says which argument of which task."""
    with pytest.raises(EncodeError, match=r"^argument 2 of tests.nowhere cannot be enqueued: .*Foreign"):
        app.enqueue("tests.nowhere", 1, Foreign())
    with pytest.raises(EncodeError, match=r"^argument 'plus' of .*double cannot be enqueued: .*Foreign"):
        app.enqueue(double, 1, plus=Foreign())  # type: ignore[arg-type]  # what is refused

    assert app.queue.size().ready == 0


def painted(colour: Colour, *more: Colour) -> list[Colour]:
    """Return what it was given."""
    return [colour, *more]


def loose(colour, level=None):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - that is the point
    """Return what it was given."""
    return [colour, level]


def test_a_type_that_would_change_is_refused_where_nothing_says_what_it_was(app: App) -> None:
    """The worker would get its value without a word."""
    with pytest.raises(
        EncodeError, match=r"^argument 1 of .*loose cannot .*: Colour, an enumeration, would arriv"
    ):
        app.enqueue(loose, Colour.RED)
    with pytest.raises(
        EncodeError, match=r"^argument 'level' of .*loose cannot .*: \[0\]: Level, .* pass its .value"
    ):
        app.enqueue(loose, 1, level=[Level.HIGH])
    with pytest.raises(EncodeError, match=r"^argument 1 of far.away .*; that task is not imported here"):
        app.enqueue("far.away", Colour.RED)


@pytest.mark.parametrize("way", ["task", "function", "name", "chain", "schedule", "unique"])
def test_an_annotated_type_is_sent_however_the_task_is_called(app: App, way: str) -> None:
    """Its annotation rebuilds it, so every way to call the task takes it."""
    task = app.task(painted)

    if way == "task":
        task.enqueue(Colour.RED, Colour.RED)
    elif way == "function":
        app.enqueue(painted, Colour.RED)
    elif way == "name":
        app.enqueue(f"{__name__}.painted", colour=Colour.RED)
    elif way == "chain":
        app.chain([task.bind(Colour.RED), task.bind(Colour.RED)])
    elif way == "schedule":
        app.schedules.create(task, Colour.RED, every=60)
    else:
        first, second, other = (
            task.using(unique=True).enqueue(one) for one in (Colour.RED, Colour.RED, Colour.BLUE)
        )

        assert (True, False) == (second.duplicate, other.duplicate)
        assert first.id == second.id


def test_an_annotated_result_is_rebuilt_where_its_task_is_imported() -> None:
    """It is stored as data, which any process can read."""
    app = App(Config.from_dict({"memory": {}, "sync": True}))
    job = app.enqueue(painted, Colour.RED, Colour.BLUE)

    assert [Colour.RED, Colour.BLUE] == job.result()
    assert [[Colour.RED, Colour.BLUE]] == [one.value for one in app.results.fetch_many([job.id]) if one]
    with app.runtime.stores.connection() as store:
        assert ["red", "blue"] == app.runtime.results.read(store.get([bytes.fromhex(job.id)])[0]).value  # type: ignore[arg-type]  # it is there


def test_a_result_of_a_type_that_would_change_is_not_stored() -> None:
    """The task ran and is not run again; its result says what to return instead."""
    app = App(Config.from_dict({"memory": {}, "sync": True}))

    with pytest.raises(
        TaskFailed, match=r"its result cannot be stored: \[1\]: Level, .* pass its .value"
    ) as caught:
        app.enqueue(returns_level).result()

    assert caught.value.result.kind == "unsavable"  # type: ignore[attr-defined]  # it is a Result


def test_one_bad_call_keeps_all_of_its_company_back(app: App) -> None:
    """`enqueue_many` accepts all calls or none."""
    task = app.task(double)

    with pytest.raises(EncodeError):
        app.enqueue_many([task.bind(1), task.bind(Foreign())])  # type: ignore[arg-type]  # that is the point

    assert app.queue.size().ready == 0


@pytest.mark.parametrize("wait", ["3", None, timedelta(seconds=3)])
def test_a_wait_that_is_no_number_is_refused_by_name(app: App, wait: Any) -> None:
    """Others take None for ever; here a wait has an end."""
    job = app.enqueue("operator.add", 1, 2)
    for ask in (job.result, job.fetch, lambda given: app.results.fetch_many([job.id], given)):
        with pytest.raises(TypeError, match=r"wait must be a number of seconds, got .*; pass "):
            ask(wait)
    with pytest.raises(TypeError, match="wait must be a number of seconds"):
        app.results.get_group("fruit", wait=wait)
    with pytest.raises(TypeError, match="wait must be a number of seconds"):
        asyncio.run(job.afetch(wait))
    assert job.fetch(-1.0) is None


@pytest.mark.parametrize("calls", [["task"], "task", [os.getpid], [1], [("task", 1)], [None]])
def test_what_is_no_call_of_a_task_is_refused_by_enqueue_many(app: App, calls: Any) -> None:
    """The error says how a call is written, to threads and coroutines."""
    calls = app.task(double) if calls == [None] else calls
    said = r"enqueue_many takes calls such as task\.bind\(1\), got"
    for enqueue in (app.enqueue_many, lambda given: asyncio.run(app.aenqueue_many(given))):
        with pytest.raises(TypeError, match=said):
            enqueue([calls] if callable(calls) else calls)
    assert app.queue.size().ready == 0


def test_a_declared_task_is_still_a_function(app: App) -> None:
    """Calling it runs it here, and it keeps its name and docstring."""
    task = app.task(double)

    assert task(2, plus=1) == 5
    assert task.__doc__ == double.__doc__
    assert task.name == f"{__name__}.double"


def test_sync_calls_are_captured_too() -> None:
    """Under `sync` a test still sees what would have been enqueued."""
    app = App(Config.from_dict({"memory": {}, "sync": True}))

    with captured(app) as seen:
        app.enqueue(double, 3)

    assert seen.names == [f"{__name__}.double"]


def test_sync_runs_the_task_and_keeps_its_result() -> None:
    """With `sync` there is a result as soon as the call returns."""
    app = App(Config.from_dict({"memory": {}, "sync": True}))

    job = app.enqueue(double, 3, plus=1)

    assert job.result() == 7


def test_a_function_nobody_can_import_is_refused_when_it_is_declared(app: App) -> None:
    """A lambda or an inner function is not a task, and the message says what to do."""
    with pytest.raises(TaskNameError, match="define it at the top level of a module"):
        app.task(lambda: None)


def test_a_name_that_no_worker_could_look_for_is_refused(app: App) -> None:
    """A worker takes a dotted name for a module and what is in it."""
    with pytest.raises(TypeError, match=r"^name must be a text, got 5 of type int"):
        app.task(name=5)  # type: ignore[call-overload]  # that is the point
    with pytest.raises(TaskNameError, match=r"^'double' is not the name of a task; pass a dotted name"):
        app.task(name="double")(double)


def test_an_unknown_option_lists_those_there_are(app: App) -> None:
    """A misspelt option is an error at once."""
    with pytest.raises(TypeError, match=r"no task option 'timout'; known are ack_failure, at_most_once, clu"):
        app.task(timout=3)(double)  # type: ignore[call-overload]  # what is refused


def test_a_wrong_value_is_not_called_an_unknown_option(app: App) -> None:
    """Only a name that is not there is reported as such."""
    with pytest.raises(TypeError, match=r"^concurrency must be a whole number"):
        app.task(concurrency="1")  # type: ignore[call-overload]  # what is refused


def test_options_of_the_specification_are_lifted_out_of_the_keywords(app: App) -> None:
    """Options stand among the keyword arguments or in q_options, where they win."""
    with captured(app) as seen:
        app.async_task(double, 2, timeout=10, group="g", plus=3, q_options={"task_name": "label"})

    call = seen.one(f"{__name__}.double")
    assert (call.args, dict(call.kwargs)) == ((2,), {"plus": 3})
    assert (call.options.timeout, call.options.group, call.options.label) == (10, "g", "label")


def test_an_option_named_twice_reaches_the_function(app: App) -> None:
    """A key of q_options that also stands among the keywords is an argument there."""
    with captured(app) as seen:
        app.async_task(double, 2, group="argument", q_options={"group": "option"})

    call = seen.one(f"{__name__}.double")
    assert (dict(call.kwargs), call.options.group) == ({"group": "argument"}, "option")


def test_options_not_offered_are_refused(app: App) -> None:
    """Nothing that was asked for is left out silently."""
    with pytest.raises(NotSupported, match="the option 'iter_count' is not offered"):
        app.async_task(double, 1, iter_count=3)


def test_using_changes_only_what_it_names(app: App) -> None:
    """Options given at the call lie over those of the declaration."""
    task = app.task(timeout=30, retry=Retry(max_attempts=5))(double)

    sender = task.using(delay=5)

    assert (sender.options.timeout, sender.options.delay) == (30, 5)
    assert task.options.delay == 0


def test_ids_are_ordered_by_time_and_differ(app: App) -> None:
    """An id is 32 hexadecimal digits; a later one is greater by its first twelve."""
    jobs = [*app.enqueue_many([app.task(double).bind(1)] * 100), app.enqueue(double, 1)]

    ids = [job.id for job in jobs]
    assert len(set(ids)) == 101
    assert all(len(bytes.fromhex(one)) == 16 for one in ids)
    assert ids[0][:12] <= ids[-1][:12]


def test_an_app_goes_on_after_a_fork(app: App) -> None:
    """Declared before a fork, used after it: what pre-forking servers do."""
    app = App(Config.from_dict({"memory": {}, "secret_key": "x" * 31 + "1"}))
    app.enqueue(double, 1)

    child = os.fork()
    if child == 0:
        try:
            app.enqueue(double, 2)
            os._exit(0)
        except QcoreError:
            os._exit(1)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_ctrl_c_under_sync_is_the_users_own() -> None:
    """A task that runs in the user's process must not eat the user's interruption."""
    app = App(Config.from_dict({"memory": {}, "sync": True}))

    with pytest.raises(KeyboardInterrupt):
        app.enqueue(interrupted)


def test_policy_given_at_the_call_travels_with_the_message(app: App) -> None:
    """`using(retry=Retry(on=...))` is kept to by workers that only know the message."""
    task = app.task(double)

    call = task.using(retry=Retry(max_attempts=3, on=(OSError, Own))).bind(1)

    head = decode_head(call.head)
    assert (head.max_attempts, head.on) == (3, ["builtins.OSError", f"{__name__}.Own"])


@pytest.mark.parametrize("asked", ["results.get", "results.fetch", "results.delete", "cancel", "status"])
@pytest.mark.parametrize("wrong", ["ab", "", "xyz", "0" * 31, "0" * 33, "0" * 30 + " 0", "g" * 32])
def test_what_is_no_task_id_is_refused(app: App, asked: str, wrong: str) -> None:
    """Whoever asks again until there is a result must not ask for ever."""
    with pytest.raises(ValueError, match=rf"^not a task id: {wrong!r}; pass 32 hexadecimal digits$"):
        attrgetter(asked)(app)(wrong)
    with pytest.raises(ValueError, match=rf"^not a task id: {wrong!r}"):
        app.results.fetch_many(["0" * 32, wrong])


@pytest.mark.parametrize("asked", ["results.get", "results.fetch", "results.delete", "cancel", "status"])
def test_what_is_no_text_is_no_task_id(app: App, asked: str) -> None:
    """A handle has its id in `id`."""
    with pytest.raises(TypeError, match=r"^not a task id: None; pass 32 hexadecimal digits$"):
        attrgetter(asked)(app)(None)
    with pytest.raises(TypeError, match=r"^not a task id: <Job [0-9a-f]{32}>; pass its id$"):
        attrgetter(asked)(app)(app.enqueue("os.getcwd"))


def test_an_id_may_be_written_in_capitals(app: App) -> None:
    """It is the number that counts."""
    job = app.enqueue("os.getcwd")

    assert job.id.upper() != job.id
    assert app.status(job.id.upper()) == job.status()
