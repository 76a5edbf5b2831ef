"""Calls the functions of Django-Q and those of this package alike, and prints what each did.

Run with two arguments: the name of the module, `django_q.tasks` or `qcore_django.tasks`, and a folder.
"""

from __future__ import annotations

import importlib
import inspect
import json
import os
import sys
import warnings
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import django
from django.conf import settings

if TYPE_CHECKING:
    from collections.abc import Callable

#: what a result has, in the words of Django-Q
ATTRIBUTES = ("func", "args", "kwargs", "group", "success", "result", "attempt_count")


def main(module: str, folder: str) -> None:
    """Print signatures and behavior as JSON."""
    original = module.startswith("django_q")
    queue = {"orm": "default"} if original else {"sqlite": {"path": f"{folder}/queue.db"}}
    settings.configure(
        INSTALLED_APPS=["django.contrib.contenttypes", "django_q" if original else "qcore_django"],
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        SECRET_KEY="a key for both of them, 0123456789-0123456789",
        USE_TZ=True,
        TIME_ZONE="UTC",
        CACHES={
            "default": {
                "BACKEND": "django.core.cache.backends.filebased.FileBasedCache",
                "LOCATION": f"{folder}/cache",
            }
        },
        Q_CLUSTER={"name": "both", "timeout": 20, "retry": 30, "log_level": "CRITICAL", **queue},
    )
    warnings.simplefilter("ignore")
    django.setup()
    if original:
        from django.core.management import call_command

        call_command("migrate", verbosity=0)
    tasks = importlib.import_module(module)
    said = {"signatures": signatures(tasks), "behavior": {}}
    for scene in (
        alone,
        options,
        failed,
        hooks,
        groups,
        waits,
        chains,
        links,
        iters,
        classes,
        cached,
        unknown,
        schedules,
    ):
        said["behavior"][scene.__name__] = scene(tasks, Path(folder))
    print(json.dumps(said, sort_keys=True, default=list))


def signatures(tasks: Any) -> dict[str, list[list[str]]]:
    """Return the parameters of every public callable: name, kind, whether it may be left out."""
    found = {}
    for name, one in vars(tasks).items():
        public = not name.startswith("_") and callable(one)
        if not public or not str(getattr(one, "__module__", "")).startswith(tasks.__name__):
            continue
        found[name] = _parameters(one)
        if inspect.isclass(one):
            for part, method in vars(one).items():
                if not part.startswith("_") and callable(method):
                    found[f"{name}.{part}"] = _parameters(method)
                elif isinstance(method, property):
                    found[f"{name}.{part}"] = [["property", "settable" if method.fset else "read", ""]]
    return found


def _parameters(function: Callable[..., Any]) -> list[list[str]]:
    parameters = inspect.signature(function).parameters.values()
    return [[one.name, one.kind.name, str(one.default is not one.empty)] for one in parameters]


def _read(task: Any) -> Any:
    return None if task is None else {name: getattr(task, name) for name in ATTRIBUTES}


def alone(tasks: Any, folder: Path) -> Any:
    """One task and its result, by its id and by its name."""
    task_id = tasks.async_task("math.copysign", 2, -2, sync=True, task_name="sign")
    task = tasks.fetch(task_id)
    unnamed = tasks.fetch(tasks.async_task("math.floor", 3.5, sync=True))
    return [
        [tasks.result("sign"), tasks.fetch("sign").id == task_id, tasks.result("sign", 20)],
        [tasks.result(unnamed.name), tasks.fetch(unnamed.name, wait=20).id == unnamed.id],
        [tasks.result("no-such-name-here", 20), tasks.fetch("sig")],
        len(task_id),
        tasks.result(task_id),
        _read(task),
        task.id == task_id,
        task.name,
        task.time_taken() >= 0,
        type(task.started).__name__,
        task.started <= task.stopped,
        len(tasks.fetch(tasks.async_task("math.floor", 1.5, sync=True)).name.split("-")),
    ]


def options(tasks: Any, folder: Path) -> Any:
    """Options among the arguments, in q_options, and in both."""
    echo = "site_tasks.echo"
    ids = [
        tasks.async_task(echo, 1, sync=True, group="a", key="b"),
        tasks.async_task(echo, 1, q_options={"sync": True, "group": "a"}, key="b"),
        tasks.async_task(echo, 1, q_options={"sync": True, "group": "a"}, group="b"),
        tasks.async_task(echo, 1, sync=True, task_name="a", q_options={"task_name": "b"}),
        tasks.async_task(echo, 1, sync=True, group=5),
    ]
    found = [tasks.fetch(one) for one in ids]
    return [[one.result, one.name if one.name in "ab" else "", str(one.group)] for one in found]


def failed(tasks: Any, folder: Path) -> Any:
    """What is raised reaches the caller, and nothing is stored."""
    said = []
    for run in (
        lambda: tasks.async_task("site_tasks.fail", "no luck", sync=True, group="failed"),
        lambda: tasks.async_task("math.sqrt", -1, sync=True, group="failed"),
        lambda: tasks.async_chain([("site_tasks.fail", ("no luck",))], group="failed", sync=True),
    ):
        try:
            run()
        except Exception as exc:
            said.append([type(exc).__name__, str(exc)])
    return [said, tasks.result_group("failed", failures=True), tasks.count_group("failed")]


def hooks(tasks: Any, folder: Path) -> Any:
    """A callback reads its task."""
    notes = folder / "notes"
    os.environ["SITE_NOTES"] = str(notes)
    tasks.async_task("math.floor", 2.5, sync=True, hook="site_tasks.note", task_name="noted", group="g")
    tasks.async_task("math.floor", 2.5, sync=True, hook="site_tasks.no_such_hook")
    said = [json.loads(line) for line in notes.read_text(encoding="utf-8").splitlines()]
    for one in said:
        del one["id"]
    return said


def groups(tasks: Any, folder: Path) -> Any:
    """Results by group."""
    for number in (1.5, 2.5):
        tasks.async_task("math.floor", number, sync=True, group="floors")
    return [
        sorted(tasks.result_group("floors")),
        sorted(tasks.result_group("floors", True, 100, 2)),
        sorted(one.result for one in tasks.fetch_group("floors", count=2)),
        tasks.count_group("floors"),
        tasks.count_group("floors", failures=True),
        bool(tasks.delete_group("floors")),
        tasks.result_group("floors"),
        tasks.count_group("floors"),
    ]


def waits(tasks: Any, folder: Path) -> Any:
    """What is there when the wait is over."""
    tasks.async_task("math.floor", 1.5, sync=True, group="few")
    return [
        tasks.result_group("few", wait=50, count=3),
        [one.result for one in tasks.fetch_group("few", wait=50, count=3)],
        tasks.result_group("few", wait=50, count=0),
        tasks.result_group("none", wait=50, count=3),
    ]


def chains(tasks: Any, folder: Path) -> Any:
    """One after the other."""
    made = tasks.async_chain(
        [("math.floor", (1.5,)), ("site_tasks.echo", (1,), {"key": 2}), ("math.sqrt", (4.0,))], sync=True
    )
    named = tasks.async_chain(["time.monotonic", ("time.monotonic",)], "named", False, True)
    return [sorted(map(str, tasks.result_group(made, count=3, wait=100))), named, tasks.count_group("named")]


def links(tasks: Any, folder: Path) -> Any:
    """Options of a link are the link's."""
    chain = tasks.Chain(sync=True, group="links")
    counted = [
        chain.append("site_tasks.echo", 1, timeout=9, task_name="one"),
        chain.append("site_tasks.echo", 2, key=3, group="another"),
    ]
    before = [chain.current(), chain.length(), chain.started, chain.result(), chain.fetch()]
    group = chain.run()
    after = [
        group,
        chain.current(),
        chain.started,
        sorted(chain.result(wait=100)),
        len(chain.fetch(wait=100)),
    ]
    chain.append("math.floor", 1.5)
    return [counted, before, after, chain.started, chain.current(), tasks.count_group("links")]


def iters(tasks: Any, folder: Path) -> Any:
    """A tuple is arguments, anything else is one."""
    made = tasks.async_iter("site_tasks.echo", [(1, 2), [3, 4], "text"], sync=True)
    keyed = tasks.async_iter("site_tasks.echo", [1, 2], sync=True, key=3, hook="site_tasks.no_such_hook")
    return [sorted(map(str, tasks.result(made))), sorted(map(str, tasks.result(keyed)))]


def classes(tasks: Any, folder: Path) -> Any:
    """AsyncTask and Iter, before and after they run."""
    task = tasks.AsyncTask("math.floor", 1.5)
    said = [task.id, task.started, task.result(), task.fetch(), task.result_group(), task.fetch_group()]
    said += [task.broker, task.sync, task.save, task.hook, task.group]
    task.sync, task.group = True, "classes"
    said += [len(task.run()), task.started, task.result(), task.fetch().result, task.result_group()]
    task.cached = False
    said += [task.started, task.result(), len(task.fetch_group() or "")]
    several = tasks.Iter()
    said += [several.func, several.length(), several.started, several.result(), several.fetch(), several.id]
    several.func, several.sync = "math.floor", True
    said += [several.append(1.5), several.append(2.5), len(several.run()), sorted(several.result())]
    return [*said, several.append(3.5), several.started, several.result(), tasks.Chain().current()]


def cached(tasks: Any, folder: Path) -> Any:
    """What is kept for some time, with and without a broker."""
    broker = None
    task_id = tasks.async_task("math.floor", 1.5, sync=True, cached=60, group="cached")
    second = tasks.async_task("math.floor", 2.5, sync=True, cached=True, group="cached")
    named = tasks.fetch_cached(
        tasks.async_task("site_tasks.echo", 1, sync=True, cached=60, task_name="n", key=2)
    )
    said = [
        tasks.result_cached(task_id, 0, broker),
        _read(tasks.fetch_cached(task_id, broker=broker))["result"],
        [named.name, named.func, list(named.args), named.kwargs, named.result, named.success],
        tasks.result(task_id, cached=True),
        # the database has neither
        [
            tasks.result(task_id),
            tasks.fetch(second),
            tasks.result_group("cached"),
            tasks.count_group("cached"),
        ],
        tasks.result_group_cached("cached", broker=broker),
        tasks.result_group("cached", True, 100, 2, cached=True),
        tasks.result_group("cached", cached=True),
        [one.result for one in tasks.fetch_group_cached("cached", broker=broker)],
        [one.result for one in tasks.fetch_group("cached", cached=True)],
        tasks.count_group_cached("cached", broker=broker),
        tasks.count_group("cached", cached=True),
        tasks.count_group("cached", failures=True, cached=True),
        bool(tasks.delete_cached("no-such-task", broker=broker)),
        tasks.delete_group_cached("cached", broker=broker) in (None, 2),
        tasks.result_cached(task_id),
    ]
    kept = tasks.async_task("math.floor", 3.5, sync=True, cached=60)
    chain = tasks.Chain([("math.floor", (4.5,)), ("math.floor", (5.5,))], cached=60, sync=True)
    chain.run()
    several = tasks.Iter("math.floor", [6.5, 7.5], cached=60, sync=True)
    several.run()
    alone = tasks.AsyncTask("math.floor", 8.5, sync=True, cached=60)
    alone.run()
    return [
        *said,
        [bool(tasks.delete_cached(kept)), tasks.result_cached(kept)],
        [sorted(chain.result(wait=100)), chain.current(), tasks.result_group(chain.group)],
        [sorted(several.result(wait=100)), tasks.result(several.id)],
        [alone.result(wait=100), tasks.result(alone.id)],
    ]


def unknown(tasks: Any, folder: Path) -> Any:
    """A text that is not an id."""
    return [
        tasks.result("no-such-task"),
        tasks.fetch("no-such-task"),
        tasks.fetch("f" * 32, wait=20),
        tasks.result_cached("no-such-task"),
        tasks.result_group("no-such-group"),
        tasks.fetch_group("no-such-group"),
        tasks.count_group("no-such-group"),
        tasks.queue_size(),
    ]


def schedules(tasks: Any, folder: Path) -> Any:
    """What `schedule` makes of each type: what is called at the first slot, and when the next one is."""
    first = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=2)
    given = {
        "once": ("math.floor", (1.5,), {}),
        "thrice": ("site_tasks.echo", (1,), {"repeats": 3, "key": 2, "schedule_type": "H"}),
        "minutes": ("site_tasks.echo", (), {"schedule_type": "I", "minutes": 7}),
        "minutes of another type": ("site_tasks.echo", (), {"schedule_type": "D", "minutes": 7}),
        "options": (
            "site_tasks.echo",
            ([1, {"a": None}], "text"),
            {"q_options": {"timeout": 9, "group": "g", "save": False}, "hook": "site_tasks.note"},
        ),
        "dated": ("site_tasks.echo", (), {"schedule_type": "W", "intended_date_kwarg": "day"}),
        "paused": ("site_tasks.echo", (), {"schedule_type": "W", "repeats": 0}),
        "cron": ("site_tasks.echo", (), {"schedule_type": "C", "cron": "5 4 1 1 *"}),
        "seconds": ("site_tasks.echo", (), {"schedule_type": "C", "cron": "5 4 1 1 * 30"}),
        **{letter: ("site_tasks.echo", (letter,), {"schedule_type": letter}) for letter in "HDWMQY"},
        **{letter: ("site_tasks.echo", (letter,), {"schedule_type": letter}) for letter in ("BW", "BM")},
    }
    for name, (function, args, kwargs) in given.items():
        # Django-Q computes the first run of a cron expression, whatever is given.
        when = {} if "cron" in kwargs else {"next_run": first}
        made = tasks.schedule(function, *args, name=name, **when, **kwargs)
        assert made.name == name
    refused = []
    for wrong in ({"schedule_type": "C", "cron": "never"}, {"schedule_type": "Z"}):
        try:
            tasks.schedule("math.floor", 1.5, name="wrong", **wrong)
        except Exception as exc:
            # each by a class of its own
            refused.append(bool(str(exc)))
    fire = _fired_by_django_q if tasks.__name__.startswith("django_q") else _fired_by_qcore
    calls, kept = fire()
    for call in calls:
        # the time of the slot, which each says in its own zone
        call[2].pop("day", None) and call.append("dated")
    following = {name: _after(first, name, when, given) for name, (when, left) in kept.items()}
    return [refused, sorted(calls, key=str), following, {name: left for name, (_, left) in kept.items()}]


def _after(first: datetime, name: str, when: datetime, given: dict[str, Any]) -> Any:
    """Return the seconds from the first slot to the next, or of a cron expression the time itself."""
    return str(when.astimezone(UTC)) if "cron" in given[name][2] else (when - first).total_seconds()


def _fired_by_django_q() -> Any:
    from django_q.models import OrmQ, Schedule
    from django_q.scheduler import scheduler

    scheduler()
    calls = []
    for one in OrmQ.objects.all():
        task = one.task
        hook = task.get("hook") or ""
        head = [task.get(key) for key in ("group", "timeout", "save")]
        calls.append([task["func"], list(task["args"]), task["kwargs"], *head, hook])
    return calls, {one.name: (one.next_run, one.repeats) for one in Schedule.objects.all()}


def _fired_by_qcore() -> Any:
    from qcore.messages.head import read_head
    from qcore_django import app
    from qcore_schedules.firing import Firing
    from qcore_schedules.sealed import stored_schedules

    runtime, calls = app.runtime, []
    with stored_schedules(runtime) as store:
        firing = Firing(runtime)
        for one in store.claim_due(runtime.clock.now(), 100, 10.0):
            firing.fire(store, one)
        firing.close()
    with runtime.brokers.connection() as broker:
        for one in broker.lease(100, 0.0):
            opened = runtime.envelope.open(one.body)
            head, found = read_head(opened.head), runtime.serializer.loads(opened.arguments or b"\x90")
            args, kwargs = found if opened.named else (found, {})
            hook = (head.hook or "").removeprefix("qcore_django.hooks.called.")
            calls.append([head.name, list(args), kwargs, head.group, head.timeout, head.save, hook])
    left = {one.name: one for one in app.schedules.list() if one.repeats or one.kept}
    return calls, {
        name: (datetime.fromtimestamp(one.next_run, UTC), one.repeats) for name, one in left.items()
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
