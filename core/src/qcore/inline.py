"""Runs messages and their follow-up messages in this process."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from qcore.flows.continuation import ContinuationBuilder, UpstreamFailed, upstream_args
from qcore.interfaces import ErrorReport
from qcore.messages.workflow import barrier_key, read_workflow
from qcore.model import Kind, Outcome, State
from qcore.tasks.current import RUNNER
from qcore.tasks.execute import Executor
from qcore.tasks.limits import release
from qcore.tasks.outcomes import failure
from qcore.tasks.plan import Planner
from qcore.tasks.run_hooks import RunHooks
from qcore.tasks.transaction import CURRENT, InlineTransaction

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from qcore.messages.envelope import Opened
    from qcore.messages.workflow import FollowUp, WorkflowHeader
    from qcore.model import Outgoing
    from qcore.runtime import Runtime
    from qcore.tasks.call import Sealed
    from qcore.tasks.plan import TaskPlan


def run_inline(runtime: Runtime, sealed: Sequence[Sealed], *, raises: bool = False) -> None:
    """Run messages as a worker would, and their follow-up messages too; store the results.

    Args:
        runtime: of their queue.
        sealed: the messages.
        raises: what a task raises gets out, at once, and no result of it is stored; a callback's does not.

    """
    _InlineQueue(runtime, raises=raises).run(one.message for one in sealed)


class _InlineQueue:
    """One queue, without a broker."""

    def __init__(self, runtime: Runtime, *, raises: bool) -> None:
        self._runtime = runtime
        self._raises = raises
        self._executor = Executor(
            runtime.serializers,
            RunHooks.of(runtime),
            keep_raised=raises or bool(runtime.reporters),
            let_out=(KeyboardInterrupt,),
        )
        self._planner = Planner(
            runtime.rules(),
            timeout=None,
            save=runtime.save_successes,
            allowed=runtime.config.tasks_allowed,
        )
        self._continuation = ContinuationBuilder(runtime)
        #: sealed results of group members, by the key of their fan-in barrier
        self._members: dict[str, dict[int, bytes]] = {}

    def run(self, messages: Iterable[Outgoing]) -> None:
        waiting = deque(messages)
        before = RUNNER.set((self._executor, self._runtime.config.name))
        try:
            while waiting:
                waiting += self._run(waiting.popleft())
        finally:
            RUNNER.reset(before)
            self._executor.close()

    def _run(self, message: Outgoing) -> Sequence[Outgoing]:
        opened = self._runtime.envelope.open(message.body)
        plan = self._planner.plan(opened.head)
        tail = read_workflow(opened.tail) if opened.tail else None
        outcome, value = self._runtime.results.dump(self._outcome(opened, plan, tail), plan.declared)
        # Nothing is redelivered here, so a failure is final.
        state = State.SUCCESS if outcome.kind is Kind.SUCCESS else State.FAILED
        record = self._runtime.results.seal(
            opened.id, plan.head, state, outcome, value,
            created=opened.created, attempts=1, crashes=0, message=opened,
        )  # fmt: skip
        records = [record] if plan.save or state is State.FAILED else []
        then = self._continuation.after(plan.head, tail, record, opened.created)
        records += then.results
        if records:
            with self._runtime.stores.connection(create=True) as store:
                store.save(records)
        if then.permits:
            with self._runtime.coordination_stores.connection(create=True) as store:
                release(store, then.permits)
        return [*then.messages, *self._join_barrier(then)]

    def _outcome(self, opened: Opened, plan: TaskPlan, tail: WorkflowHeader | None) -> Outcome:
        upstream = None
        if tail is not None:
            gathered = tail.gathered
            members = {} if gathered is None else self._members.pop(barrier_key(gathered.flow), {})
            try:
                upstream = upstream_args(self._runtime.results, tail, members)
            except UpstreamFailed as exc:
                return Outcome.unrun(exc.kind, str(exc))
        outcome = self._run_task(opened, plan, upstream)
        if raised := self._executor.take_raised():
            report = ErrorReport(
                task=raised.task,
                kind=outcome.kind.value,
                summary=outcome.error,
                text=outcome.traceback,
                error=raised.error,
                action="ack",
            )
            if self._runtime.reporters:
                self._runtime.reporters.report(report, raised.context)
                self._runtime.reporters.flush_at_exit()
            is_callback = tail is not None and tail.final_result is not None
            if self._raises and outcome.kind is not Kind.SKIPPED and not is_callback:
                raise raised.error
        return outcome

    def _run_task(
        self, opened: Opened, plan: TaskPlan, upstream: Callable[[], Sequence[Any]] | None
    ) -> Outcome:
        transaction = InlineTransaction(self._runtime.brokers, self._runtime.stores, once=plan.once)
        before, done = CURRENT.set(transaction), False
        try:
            outcome = self._executor.run(opened, plan, 1, 0, upstream)
            done = outcome.kind is Kind.SUCCESS
        finally:
            CURRENT.reset(before)
            if not done:
                transaction.end(commit=False)
        try:
            transaction.end(commit=True)
        except Exception as exc:
            if self._raises:
                raise
            return failure(exc, plan, outcome.started)
        return outcome

    def _join_barrier(self, then: FollowUp) -> Sequence[Outgoing]:
        """Collect results in this process, which shares nothing with others."""
        arrival, member = then.arrival, then.member
        if arrival is None or member is None:
            return ()
        members = self._members.setdefault(arrival.key, {})
        members[arrival.index] = arrival.body
        return [self._continuation.callback(member)] if len(members) == member.count else ()
