"""One task, two workers, every interleaving: the retry and ack machine as a model."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

from qcore.model import Action, Kind, State
from qcore.settle import Decision, Rules, decide, redelivery_limit_reason

if TYPE_CHECKING:
    from collections.abc import Iterator

#: the rules of the one task; small numbers, so that every budget is used up in few steps
RULES: Final = Rules(max_attempts=2, max_crashes=1, max_deliveries=2)

#: a rule taken out of the design, and the invariants that must notice
MUTANTS: Final[dict[str, frozenset[str]]] = {
    "ack on receive": frozenset({"I1", "I2"}),
    "ack before store": frozenset({"I1", "I2"}),
    "settle without a token": frozenset({"I5"}),
    "blind result write": frozenset({"I3"}),
    "deliveries counted at the end": frozenset({"I4"}),
    "retry deletes and adds": frozenset({"I1"}),
    "claimed work dropped at a stop": frozenset({"I1"}),
    "continuation after ack": frozenset({"I8"}),
    "no short cut": frozenset({"I7"}),
    "fenced-out worker decides failure": frozenset({"I6"}),
}


class Message(NamedTuple):
    """What the broker keeps."""

    #: ready, leased, gone or dead
    state: str = "ready"
    deliveries: int = 0
    failures: int = 0
    crashes: int = 0


class Worker(NamedTuple):
    """What one worker, or the supervisor in its place once it is dead, knows and does next."""

    #: idle, claimed, running, or the step that follows: store, continue, settle, add
    phase: str = "idle"
    #: its token is the message's newest; all that tokens are compared for
    newest: bool = False
    deliveries: int = 0
    failures: int = 0
    crashes: int = 0
    kind: Kind = Kind.SUCCESS


class World(NamedTuple):
    """One state of everything, and what may still go wrong."""

    message: Message = Message()
    workers: tuple[Worker, Worker] = (Worker(), Worker())
    #: rank of the stored result
    rank: int = 0
    continued: bool = False
    #: executions so far
    runs: int = 0
    #: what has gone wrong so far
    deaths: int = 0
    expiries: int = 0
    lost: int = 0
    stops: int = 0


class Budget(NamedTuple):
    """How often what may go wrong."""

    deaths: int = 2
    expiries: int = 1
    lost: int = 1
    stops: int = 1


class Step(NamedTuple):
    """One atomic step: its name, the worker that made it, and the world after it."""

    name: str
    worker: int
    after: World


class Model:
    """The design, or the design with one rule taken out."""

    def __init__(self, budget: Budget, mutant: str = "") -> None:
        self._budget = budget
        self._mutant = mutant
        self._order = ["store", "continue", "settle"]
        if mutant == "ack before store":
            self._order = ["settle", "store", "continue"]
        if mutant == "continuation after ack":
            self._order = ["store", "settle", "continue"]

    def explore(self, until: frozenset[str] = frozenset()) -> tuple[set[World], dict[str, list[str]]]:
        """Return the reachable worlds, and for each broken invariant a shortest trace to it.

        With `until` it ends as soon as these invariants are found broken.
        """
        start = World()
        came: dict[World, tuple[World, str] | None] = {start: None}
        before: dict[World, list[World]] = {}
        broken: dict[str, list[str]] = {}
        queue = deque([start])
        while queue:
            world = queue.popleft()
            for step in self.steps(world):
                before.setdefault(step.after, []).append(world)
                for rule in violations(world, step):
                    if rule not in broken:
                        broken[rule] = [*_trace(came, world), f"{step.name}{step.worker}"]
                        if until and until <= set(broken):
                            return set(came), broken
                if step.after not in came:
                    came[step.after] = (world, f"{step.name}{step.worker}")
                    queue.append(step.after)
        stuck = set(came) - _leading_to([world for world in came if _finished(world)], before)
        if stuck:
            broken["L1"] = min((_trace(came, world) for world in stuck), key=len)
        return set(came), broken

    def steps(self, world: World) -> Iterator[Step]:
        """Yield everything that may happen next."""
        yield from self._expire(world)
        for number, worker in enumerate(world.workers):
            if worker.phase == "idle":
                if world.message.state == "ready":
                    yield Step("claim", number, self._claim(world, number))
                continue
            yield from self._go_on(world, number, worker)
            yield from self._die(world, number, worker)
            if world.stops < self._budget.stops and worker.phase in {"claimed", "running"}:
                after = self._settled(world, worker._replace(kind=Kind.INTERRUPTED))
                yield Step("stop", number, _put(after, number, Worker())._replace(stops=world.stops + 1))

    # -- what happens by itself -----------------------------------------------------------------

    def _expire(self, world: World) -> Iterator[Step]:
        message = world.message
        if message.state != "leased":
            return
        alive = any(one.phase != "idle" and one.newest for one in world.workers)
        if not alive or world.expiries < self._budget.expiries:
            after = world._replace(message=message._replace(state="ready"), expiries=world.expiries + alive)
            yield Step("expire", -1, after)

    def _die(self, world: World, number: int, worker: Worker) -> Iterator[Step]:
        if world.deaths >= self._budget.deaths:
            return
        dead = world._replace(deaths=world.deaths + 1)
        # the whole machine: what it held is unknown
        yield Step("vanish", number, _put(dead, number, Worker()))
        # the worker alone: the supervisor reads its journal and goes on in its place
        if worker.phase == "running":
            yield Step("crash", number, _put(dead, number, self._over(worker, Kind.CRASH)))
        elif worker.phase == "claimed":
            yield Step(
                "crash", number, _put(dead, number, worker._replace(phase="settle", kind=Kind.INTERRUPTED))
            )

    # -- what a worker does ---------------------------------------------------------------------

    def _claim(self, world: World, number: int) -> World:
        message = world.message
        counted = message.deliveries + (self._mutant != "deliveries counted at the end")
        message = message._replace(state="leased", deliveries=counted)
        worker = Worker(
            "claimed", newest=True, deliveries=counted, failures=message.failures, crashes=message.crashes
        )
        if self._mutant == "ack on receive":
            message = message._replace(state="gone")
        return _put(_outdated(world)._replace(message=message), number, worker)

    def _go_on(self, world: World, number: int, worker: Worker) -> Iterator[Step]:
        if worker.phase == "claimed":
            yield self._start(world, number, worker)
        elif worker.phase == "running":
            for kind in (Kind.SUCCESS, Kind.FAILURE, Kind.CANCELLED):
                yield Step(kind.value, number, _put(world, number, self._over(worker, kind)))
        elif worker.phase == "store":
            yield Step("store", number, _put(self._stored(world, worker), number, self._next(worker)))
        elif worker.phase == "continue":
            yield Step("continue", number, _put(world._replace(continued=True), number, self._next(worker)))
        elif worker.phase == "settle":
            yield Step("settle", number, _put(self._settled(world, worker), number, self._next(worker)))
            if world.lost < self._budget.lost:
                yield Step(
                    "lose", number, _put(world, number, self._next(worker))._replace(lost=world.lost + 1)
                )
        elif worker.phase == "add":
            message = Message("ready", worker.deliveries, worker.failures + 1, worker.crashes)
            yield Step("add", number, _put(_outdated(world)._replace(message=message), number, Worker()))

    def _start(self, world: World, number: int, worker: Worker) -> Step:
        if worker.deliveries > 1 and world.rank and self._mutant != "no short cut":
            kind = Kind.ALREADY_SUCCEEDED if world.rank == State.SUCCESS else Kind.ALREADY_FAILED
            # its continuation and its ack are finished
            return Step("skip", number, _put(world, number, worker._replace(phase="continue", kind=kind)))
        if redelivery_limit_reason(
            RULES, deliveries=worker.deliveries, failures=worker.failures, crashes=worker.crashes
        ):
            worn = worker._replace(
                phase=self._order[0], kind=Kind.CRASH, crashes=max(worker.crashes, RULES.max_crashes - 1)
            )
            return Step("worn", number, _put(world, number, worn))
        running = _put(world._replace(runs=world.runs + 1), number, worker._replace(phase="running"))
        return Step("start", number, running)

    def _over(self, worker: Worker, kind: Kind) -> Worker:
        over = worker._replace(kind=kind)
        decision = _decide(over)
        terminal = decision.state is not State.RETRYING
        if self._mutant == "deliveries counted at the end":
            over = over._replace(deliveries=over.deliveries + 1)
        return over._replace(phase=self._order[0] if terminal else "settle")

    def _next(self, worker: Worker) -> Worker:
        decision = _decide(worker)
        if worker.phase == "settle" and decision.action is Action.RETRY:
            split = self._mutant == "retry deletes and adds"
            return worker._replace(phase="add") if split else Worker()
        if decision.action is Action.RELEASE:
            return Worker()
        place = self._order.index(worker.phase) + 1
        return worker._replace(phase=self._order[place]) if place < len(self._order) else Worker()

    def _stored(self, world: World, worker: Worker) -> World:
        state = _decide(worker).state
        if state is None:
            return world
        if (
            state is State.FAILED
            and not _holds(world, worker)
            and self._mutant != "fenced-out worker decides failure"
        ):
            return world
        if self._mutant == "blind result write":
            return world._replace(rank=int(state))
        # of the same rank or a higher one, and never over a success
        return world._replace(rank=max(world.rank, int(state)))

    def _settled(self, world: World, worker: Worker) -> World:
        message, decision = world.message, _decide(worker)
        if not _holds(world, worker) and self._mutant != "settle without a token":
            return world
        if decision.action is Action.ACK:
            message = message._replace(state="gone")
        elif decision.action is Action.DEAD_LETTER:
            message = message._replace(state="dead")
        elif decision.action is Action.RELEASE:
            dropped = self._mutant == "claimed work dropped at a stop"
            message = message._replace(
                state="gone" if dropped else "ready", deliveries=message.deliveries - 1
            )
        elif self._mutant == "retry deletes and adds":
            message = message._replace(state="gone")
        else:
            message = message._replace(
                state="ready",
                deliveries=max(message.deliveries, worker.deliveries),
                failures=decision.failures,
                crashes=decision.crashes,
            )
        return world._replace(message=message)


# -- what must hold at every step -------------------------------------------------------------


def violations(before: World, step: Step) -> Iterator[str]:
    """Yield the invariants that this step breaks."""
    after = step.after
    message, was = after.message, before.message
    if message.state == "gone" and not after.rank:
        yield "I1"
    if message.state == "gone" and was.state != "gone" and not before.rank:
        yield "I2"
    if before.rank == State.SUCCESS and after.rank != State.SUCCESS:
        yield "I3"
    budgets = RULES.max_attempts + RULES.max_crashes + RULES.max_deliveries
    if after.runs > budgets + after.expiries + after.lost:
        yield "I4"
    if step.worker >= 0 and step.name not in {"claim", "add"}:
        if message != was and not _holds(before, before.workers[step.worker]):
            yield "I5"
        failed = after.rank == State.FAILED and before.rank != State.FAILED
        if failed and not _holds(before, before.workers[step.worker]):
            yield "I6"
    # one that lost its lease may begin too late: that is what expiries count for in I4
    if step.name == "start" and before.rank and _holds(before, before.workers[step.worker]):
        yield "I7"
    if message.state in {"gone", "dead"} and not after.continued:
        yield "I8"
    if step.name == "stop" and message != was:
        if message != was._replace(state="ready", deliveries=was.deliveries - 1):
            yield "I9"


def _decide(worker: Worker) -> Decision:
    return decide(
        worker.kind, RULES, deliveries=worker.deliveries, failures=worker.failures, crashes=worker.crashes
    )


def _holds(world: World, worker: Worker) -> bool:
    return world.message.state == "leased" and worker.newest


def _outdated(world: World) -> World:
    first, second = (worker._replace(newest=False) for worker in world.workers)
    return world._replace(workers=(first, second))


def _put(world: World, number: int, worker: Worker) -> World:
    workers = (worker, world.workers[1]) if number == 0 else (world.workers[0], worker)
    return world._replace(workers=workers)


def _finished(world: World) -> bool:
    return world.message.state in {"gone", "dead"} and world.rank > 0 and world.continued


def _leading_to(ends: list[World], before: dict[World, list[World]]) -> set[World]:
    found = set(ends)
    queue = deque(ends)
    while queue:
        for world in before.get(queue.popleft(), ()):
            if world not in found:
                found.add(world)
                queue.append(world)
    return found


def _trace(came: dict[World, tuple[World, str] | None], world: World) -> list[str]:
    trace = []
    while (step := came[world]) is not None:
        world, name = step
        trace.append(name)
    return trace[::-1]
