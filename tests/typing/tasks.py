"""What a type checker knows of tasks; mypy and pyright read it, nothing runs it."""

from __future__ import annotations

from typing import Any, assert_type

from qcore import App, Job, QueueSize, Result, Retry, Schedule, TaskStatus

app = App()


@app.task
def add(x: int, y: int) -> int:
    """Add."""
    return x + y


@app.task(timeout=30, retry=Retry(max_attempts=5, backoff=2.0, jitter=True, on=(OSError,)))
def greet(name: str, *, loud: bool = False) -> str:
    """Greet."""
    return name.upper() if loud else name


# a declared task is still its function
assert_type(add(1, 2), int)
assert_type(greet("a", loud=True), str)


@app.task
async def count(text: str) -> int:
    """Count."""
    return len(text)


@app.task(delay=5)
async def spell(text: str) -> list[str]:
    """Spell."""
    return list(text)


async def use() -> None:
    """Await what a coroutine function gives, in this process and from its worker."""
    assert_type(await count("abc"), int)
    assert_type(await spell("abc"), list[str])
    assert_type(await (await count.aenqueue("abc")).aresult(wait=5), int)


# its arguments are known where it is enqueued, with options or without
assert_type(add.enqueue(1, 2), Job[int])
assert_type(add.enqueue(1, 2).result(wait=5), int)
assert_type(count.enqueue("abc").result(), int)
assert_type(spell.using(delay=1).enqueue("abc").result(), list[str])
assert_type(greet.using(delay=5, timeout=60).enqueue("a"), Job[str])
assert_type(app.enqueue_many([add.bind(i, i) for i in range(3)]), list[Job[Any]])

add.enqueue("a", 2)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # a str is not an int
add.enqueue(1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]  # y is missing
add.bind(1, z=2)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]  # there is no z
greet.enqueue("a", True)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]  # loud has no place
greet.using(delay=5).enqueue(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # 5 is not a name

# so are the options
app.task(retry=3)(print)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]  # not a Retry
app.task(tries=3)(print)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]  # no such option
add.using(dely=5)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]  # no such option
add.using(delay="5")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # not a number

# any function can be enqueued by object, and by name, of which nothing is known
assert_type(app.enqueue(print, "a"), Job[Any])
assert_type(app.enqueue(add, 1, 2), Job[int])
assert_type(app.enqueue(count, "a"), Job[int])
assert_type(app.enqueue("math.copysign", 2, -2), Job[Any])
app.enqueue(add, 1)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]  # y is missing
assert_type(app.async_task("math.copysign", 2, -2, timeout=10, ack_failure=True), str)

# results, schedules and the queue are components with records of their own
assert_type(app.results.fetch("0" * 32), Result | None)
assert_type(app.results.fetch_group("halves"), list[Result])
assert_type(app.schedules.create(add, 1, 2, name="add", every=60, queue="night"), Schedule)
assert_type(app.schedules.run("add"), Job[Any])
assert_type(app.for_cluster("night").queue.size(), QueueSize)
assert_type(app.status("0" * 32), TaskStatus)
