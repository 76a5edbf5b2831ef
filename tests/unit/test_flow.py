"""Flows run inline, and only genuine results are collected."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

import attrs
import pytest

from qcore import App, Chain, Config, ResultNotReady, Retry, SkipTask, State, TaskFailed
from qcore.builtin import plugin as builtin
from qcore.errors import NotSupported, PayloadTooLarge, TaskNameError
from qcore.flows.builder import chain_ids, member_id, new_flow
from qcore.flows.continuation import KEPT, ContinuationBuilder, UpstreamFailed, upstream_args
from qcore.hookspecs import EnqueueEvent, ExecuteEvent, hookimpl
from qcore.messages.head import Head, encode_head, read_head
from qcore.messages.workflow import GroupMember, GroupResults, Link, WorkflowHeader, derived_id, read_workflow
from qcore.model import Kind, Outcome, Result
from qcore.plugins import Plugins
from qcore.tasks.call import DEFAULT, with_options
from qcore.testing import captured, inline
from qcore_sqlite import plugin as sqlite

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.portable

HERE: Final = __name__
SEEN: Final[list[str]] = []


@pytest.fixture
def app(tmp_path: Path) -> Iterator[App]:
    """Yield an app on a queue of its own."""
    SEEN.clear()
    made = App(Config.from_dict(table(tmp_path)))
    yield made
    made.close()


def table(folder: Path, **others: Any) -> dict[str, Any]:
    """Return the table of a configuration."""
    return {"name": "flow", "secret_key": "k" * 40, "sqlite": {"path": str(folder / "q.db")}} | others


def double(number: int) -> int:
    """Return twice the number."""
    SEEN.append(f"double {number}")
    return 2 * number


def refuse(*_: Any) -> None:
    """Fail."""
    SEEN.append("refuse")
    raise ValueError("no")


def total(numbers: list[int], more: int = 0) -> int:
    """Return a sum."""
    return sum(numbers) + more


def weigh(numbers: list[int], more: bytes) -> int:
    """Return how much there is."""
    return len(numbers) + len(more)


def kinds(results: list[Result]) -> list[str]:
    """Return how tasks ended; the annotation leaves whole results as they are."""
    return [one.kind for one in results]


def hook(result: Result) -> None:
    """Note how a task ended."""
    SEEN.append(f"{result.name.rpartition('.')[2]} {result.kind} {result.value} {result.error}")


def broken(result: Result) -> None:
    """Fail."""
    raise RuntimeError(result.id)


# -- inline ---------------------------------------------------------------------------------------


def test_chains_run_to_their_end_inline(app: App) -> None:
    """In order, with results passed on, and with the handle of the whole."""
    with inline(app):
        chain = app.chain([(double, (1,)), double, (double, [])], pipe_result=True)

    assert (8, 3, ["double 1", "double 2", "double 4"]) == (chain.result(), chain.current(), SEEN)


def test_a_chain_stops_inline_and_says_where(app: App) -> None:
    """It continues if the link may fail."""
    with inline(app):
        stopped = app.chain([(double, (1,)), refuse, (double, (2,))])
        gone_on = app.chain([app.task(refuse).using(continue_on_failure=True), (double, (2,))])

    with pytest.raises(TaskFailed, match=r"stopped at link 2 of 3 \(.*refuse\): ValueError: no"):
        stopped.result()
    assert (2, 4) == (stopped.current(), gone_on.result())


def test_results_of_groups_and_iterations_are_collected_inline(app: App) -> None:
    """They come in order; a chain counts by its last link, a failure is named by the first."""
    with inline(app):
        job = app.group([(double, (1,)), [(double, (2,)), (double, (3,))], Chain([(double, (4,))])]).then(
            (total, (), {"more": 1})
        )
        told = app.group([refuse, (double, (1,))]).then(kinds, results=True)
        failed = app.group([(double, (1,)), refuse, refuse]).then(total)
        collected = [app.iter(double, items).result() for items in ([], [3], [(1,), 2])]
        group = app.group([(double, (n,)) for n in range(3)]).enqueue()

    assert (17, ["failure", "success"]) == (job.result(), told.result())
    with pytest.raises(TaskFailed, match="2 of 3 failed, the first is #2: ValueError: no"):
        failed.result()
    assert ([[], [6], [2, 4]], [0, 2, 4]) == (collected, group.results())


def test_a_task_with_sync_runs_its_whole_flow_inline(app: App) -> None:
    """Nothing is enqueued."""
    sync = app.task(double).using(sync=True)

    assert [2, 4] == app.group([sync.bind(1), sync.bind(2)]).then(app.task(list)).result()
    assert 0 == app.queue.size().ready


def test_callbacks_are_called_inline_and_their_errors_harm_nothing(app: App) -> None:
    """They are called at every end, stored or not, of a stopped chain and of a skipped callback too."""
    with inline(app):
        app.async_task(double, 2, hook=hook, save=False)
        app.async_task(refuse, hook=f"{HERE}.hook")
        job = app.async_task(double, 3, hook=broken)
        app.chain([refuse, app.task(double).using(hook=hook).bind(1)])
        app.group([refuse]).then(app.task(total).using(hook=hook))

    told = [line for line in SEEN if line.startswith(("double s", "refuse f", "total"))]
    assert 6 == app.results.get(job)
    assert [
        "double success 4 ",
        "refuse failure None ValueError: no",
        f"double skipped None stopped at link 1 of 2 ({HERE}.refuse): ValueError: no",
        "total skipped None 1 of 1 failed, the first is #1: ValueError: no",
    ] == told


def test_captured_flows_show_their_first_messages_and_run_to_their_end(app: App) -> None:
    """Follow-up messages are made when they are run."""
    with captured(app) as queue:
        chain = app.chain([(double, (1,)), (double, (2,))])
        job = app.iter(double, [5, 6])

        assert [(double.__qualname__, (n,)) for n in (1, 5, 6)] == [
            (one.name.rpartition(".")[2], one.args) for one in queue.tasks
        ]
        queue.run()

    assert (4, [10, 12]) == (chain.result(), job.result())


# -- what is refused and left out -------------------------------------------------------------------


def test_invalid_flows_are_refused(app: App) -> None:
    """The error says what to do."""
    with pytest.raises(ValueError, match="a chain has no steps"):
        app.chain([])
    with pytest.raises(ValueError, match=r"a step is \(function, args, kwargs\), and .* has 4 parts"):
        app.chain([(double, (), {}, None)])
    broker = app.runtime.make_broker()
    with pytest.raises(NotSupported, match="links of chain="):
        app.async_task(double, 1, chain=[double], broker=broker)
    with pytest.raises(TypeError, match="no task option 'hoook'"):
        app.iter(double, [], hoook=None)
    with pytest.raises(TaskNameError, match="lambda"):
        app.task(double).using(hook=lambda _: None)
    with pytest.raises(NotSupported, match="stays with one cluster"):
        app.group([app.task(double).using(cluster="other").bind(1), (double, (1,))]).enqueue()


def test_a_group_that_has_not_ended_says_how_many_are_missing(app: App) -> None:
    """A failed group names the first failure."""
    group = app.group([(double, (1,)), (double, (2,))]).enqueue()

    with pytest.raises(ResultNotReady, match="2 of 2 have no result yet after waiting 0 seconds"):
        group.results()
    with inline(app):
        failed = app.group([(double, (1,)), refuse]).enqueue()
    with pytest.raises(
        TaskFailed, match=r"1 of 2 failed, the first is #2 \(.*refuse\): ValueError: no"
    ) as raised:
        failed.results()
    assert isinstance(raised.value.result, Result)


def test_a_group_whose_results_were_removed_says_that_they_may_be(app: App) -> None:
    """A task may not have ended, or its result was removed; the error names both."""
    with inline(app):
        group = app.group([(double, (1,)), (double, (2,))]).enqueue()
    with app.runtime.stores.connection() as store:
        store.prune(1)

    with pytest.raises(
        ResultNotReady,
        match=r"^1 of 2 have no result yet after waiting 0 seconds, or it is not stored any more: "
        r"see save_limit, cached and result_ttl; the results that then\(\) and App.iter collect are kept in "
        r"any case$",
    ):
        group.results()


def test_a_callback_with_large_arguments_for_many_members_is_refused(app: App) -> None:
    """Every member carries them; the error says how large they are and what to do."""
    many = [(double, (number,)) for number in range(100)]
    app.runtime.make_broker().close()

    with pytest.raises(
        PayloadTooLarge,
        match=r"^the arguments of .*weigh are 200\d{3} bytes, and each of 100 members carries them, "
        r"200\d{5} in all; at most 65536 bytes each or 16777216 in all; store "
        r"large values elsewhere and pass their key$",
    ):
        app.group(many).then((weigh, (b"x" * 200_000,)))

    assert app.queue.size().ready == 0
    app.group(many).then((weigh, (b"x" * 60_000,)))
    app.group(many[:2]).then((weigh, (b"x" * 200_000,)))
    assert app.queue.size().ready == 102


def test_hooks_before_enqueueing_see_every_link(tmp_path: Path) -> None:
    """If a hook skips a link the chain is skipped; a group runs without that member."""

    @hookimpl
    def qcore_pre_enqueue(event: EnqueueEvent) -> None:
        if event.task.args and event.task.args[0] % 2:
            raise SkipTask

    gate = SimpleNamespace(qcore_pre_enqueue=qcore_pre_enqueue)
    plugins = Plugins.of({"builtin": builtin, "sqlite": sqlite, "gate": gate})
    app = App(Config.from_dict(table(tmp_path), plugins=plugins), plugins=plugins)

    with captured(app) as queue:
        app.chain([(double, (2,)), (double, (1,))])
        queue.assert_nothing_enqueued()
        job = app.iter(double, [1, 2, 3, 4])
        chain = app.chain([(double, (2,)), (double, (4,))])
        assert [2, 4, 2] == [one.args[0] for one in queue.tasks]
        queue.run()

    assert ([4, 8], 8) == (job.result(), chain.result())
    app.close()


def test_hooks_before_enqueueing_may_change_the_task(tmp_path: Path) -> None:
    """Its arguments and its group, beside headers; of a single task and of each link."""

    @hookimpl
    def qcore_pre_enqueue(event: EnqueueEvent) -> None:
        event.headers["seen"] = event.task.label or ""
        event.task = attrs.evolve(event.task, args=(event.task.args[0] + 1,), group="changed")

    spy = SimpleNamespace(qcore_pre_enqueue=qcore_pre_enqueue)
    plugins = Plugins.of({"builtin": builtin, "sqlite": sqlite, "spy": spy})
    app = App(Config.from_dict(table(tmp_path), plugins=plugins), plugins=plugins)

    with inline(app):
        alone = app.task(double).using(label="mine").enqueue(1)
        chain = app.chain([(double, (2,)), (double, (4,))])

    assert ([4], 10) == ([alone.result()], chain.result())
    assert [4, 6, 10] == sorted(app.results.get_group("changed"))
    app.close()


def test_hooks_see_queue_and_priority(tmp_path: Path) -> None:
    """Of a task that names none, the default ones; the destination has a queue that is named."""
    seen = []

    def see(event: EnqueueEvent | ExecuteEvent) -> None:
        seen.append((event.task.queue, event.task.priority, event.task.destination("shop")))

    spy = SimpleNamespace(qcore_pre_enqueue=hookimpl(see), qcore_pre_execute=hookimpl(see))
    plugins = Plugins.of({"builtin": builtin, "sqlite": sqlite, "spy": spy})
    app = App(Config.from_dict(table(tmp_path), plugins=plugins), plugins=plugins)

    with captured(app) as queue:
        app.task(double).using(queue="mail", priority=7).enqueue(1)
        app.task(double).enqueue(1)
        queue.run()
    app.close()

    assert [("mail", 7, "shop/mail"), ("default", 0, "shop")] * 2 == seen


# -- what the worker believes -------------------------------------------------------------------------


def test_only_the_members_own_results_are_collected(app: App) -> None:
    """They are sealed by this project under an id that is derived again: no other result is accepted."""
    results, flow = app.runtime.results, new_flow()
    done = Outcome(Kind.SUCCESS, started=1.0, finished=2.0)

    def sealed(id: bytes) -> bytes:
        return results.seal(
            id, Head("a.b"), State.SUCCESS, done, results.dump(Outcome(Kind.SUCCESS, id.hex()))[1],
            created=0, attempts=1, crashes=0,
        ).body  # fmt: skip

    own, others = sealed(member_id(flow, 0)), sealed(member_id(new_flow(), 0))
    tail = WorkflowHeader(gathered=GroupResults(flow, 1))

    made = upstream_args(results, tail, {0: own})

    assert made is not None
    assert ([member_id(flow, 0).hex()],) == made()
    for wrong in (others, own[:-1] + bytes([own[-1] ^ 1])):
        with pytest.raises(UpstreamFailed, match="the result of #1 cannot be trusted"):
            upstream_args(results, tail, {0: wrong})
    with pytest.raises(
        UpstreamFailed, match=f"of 1 result 0 are stored; they are kept {KEPT / 86400:.0f} days"
    ):
        upstream_args(results, tail, {})


def test_the_callback_is_the_same_message_whoever_completes_the_group(app: App) -> None:
    """Only its time and the member that enqueued it differ."""
    flow = new_flow()
    link = Link(derived_id(flow, "callback"), encode_head(Head("a.b")))
    continuation = ContinuationBuilder(app.runtime)

    messages = [continuation.callback(GroupMember(flow, index, 2, link)) for index in range(2)]

    opened = [app.runtime.envelope.open(message.body) for message in messages]
    assert {link.id} == {message.id for message in messages}
    assert [True, True] == [one.derived for one in opened]
    gathered = [read_workflow(one.tail).gathered for one in opened]
    assert [member_id(flow, 0), member_id(flow, 1)] == [one.by for one in gathered if one is not None]


def test_ids_of_links_are_derived_from_the_last() -> None:
    """That is the id of the handle."""
    last = new_flow()

    assert chain_ids(last, 1) == [last]
    assert 4 == len(set(chain_ids(last, 4)))
    assert chain_ids(last, 4) == chain_ids(last, 4)


# -- options ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rate", "expected"),
    [("10/s", (10, 1.0)), ("100/m", (100, 60.0)), ("5/h", (5, 3600.0)), ((3, 2.5), (3, 2.5)), (None, None)],
)
def test_a_rate_is_a_count_and_seconds(rate: Any, expected: Any) -> None:
    """In the head of the message."""
    assert expected == read_head(with_options(DEFAULT, {"rate": rate}).head("a.b")).rate


@pytest.mark.parametrize("rate", ["10", "x/s", "10/y", "0/s", "/s"])
def test_an_invalid_rate_is_refused(rate: str) -> None:
    """The error shows what one looks like."""
    with pytest.raises(ValueError, match=f"not a rate: '{rate}'; write '10/s'"):
        with_options(DEFAULT, {"rate": rate}).head("a.b")


def test_a_callback_is_given_as_function_task_or_text(app: App) -> None:
    """A task is known by the name it was given."""
    named = app.task(name="other.name")(hook)

    heads = [read_head(with_options(DEFAULT, {"hook": one}).head("a.b")) for one in (hook, named, "x.y")]

    assert [f"{HERE}.hook", "other.name", "x.y"] == [head.hook for head in heads]
    assert read_head(with_options(DEFAULT, {"retry": Retry()}).head("a.b")).hook is None


@pytest.mark.parametrize("made", [Chain(["builtins.len"]), ["builtins.len"]], ids=["Chain", "list"])
def test_a_step_is_not_a_chain(app: App, made: Any) -> None:
    """The error is one line that shows what was given."""
    with pytest.raises(TypeError, match=r"a step is a task with its arguments.* is a chain"):
        app.chain(["builtins.len", made])


@pytest.mark.parametrize(
    ("step", "says"),
    [
        (("os.getcwd", 1), r"^the arguments of a step are a list or a tuple, .* got 1 in \('os.getcwd', 1\)"),
        (("os.getcwd", "ab"), r"^the arguments of a step are a list or a tuple, .* got 'ab' in"),
        (("os.getcwd", (1,), 2), r"^the named arguments of a step are a mapping, got 2 in"),
    ],
)
def test_a_step_has_its_arguments_in_a_list(app: App, step: Any, says: str) -> None:
    """The error says that a single argument is written as a tuple of one."""
    with pytest.raises(TypeError, match=says):
        app.chain([step])


@pytest.mark.parametrize("place", ["member", "link", "chain in a group", "callback"])
def test_a_group_in_a_group_is_refused_as_one(app: App, place: str) -> None:
    """The error says what was given and what to do, and not that it has no name."""
    inner: Any = app.group([(double, (1,))])

    ways: dict[str, Any] = {
        "member": lambda: app.group([inner]),
        "link": lambda: app.chain([(double, (1,)), inner]),
        "chain in a group": lambda: app.group([Chain([(double, (1,)), inner])]),
        "callback": lambda: app.group([(double, (1,))]).then(inner),
    }

    with pytest.raises(NotSupported, match=r"^a group is not a step .* put its members into the outer"):
        ways[place]()


def test_a_step_is_not_a_handle(app: App) -> None:
    """`enqueue` returns a handle; `bind` makes a step."""
    job: Any = app.enqueue(double, 1)

    with pytest.raises(TypeError, match=r"such as task.bind\(1\), and <Job .* is enqueued already"):
        app.group([job])


def test_a_chain_object_can_be_enqueued(app: App) -> None:
    """It says itself whether results are passed on."""
    with inline(app):
        assert app.chain(Chain([(double, (1,)), double], pipe_result=True)).result() == 4
