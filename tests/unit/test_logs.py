"""How log lines look, and what they say of tasks."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import qcore
from qcore.interfaces import ErrorReport
from qcore.model import Action, TaskInfo
from qcore_logs.formats import JsonFormatter, TextFormatter
from qcore_logs.records import FIELDS, TaskFilter, write
from qcore_logs.source_line import source_line
from qcore_logs.tasks import next_step
from qcore_reports.log_reporter import LogReporter

REPORT = ErrorReport(
    task=TaskInfo(id="ab" * 16, name="shop.pay"),
    kind="failure",
    summary="ValueError: no",
    text="no",
    error=None,
    action="ack",
)
#: sets the title, clears the screen, writes to the clipboard, goes back in the line, turns text round
HOSTILE = "\x1b]0;PWNED\x07a\x1b[2Jb\x1b]52;c;eA==\x07c\rd\u202ee\x9b31mf"

PROGRAM = f"""
import logging
from qcore import Config
from qcore_logs.setup import configure
configure(Config())
try:
    raise ValueError({HOSTILE!r})
except ValueError:
    logging.getLogger("qcore.worker").exception("it failed with %s", {HOSTILE!r})
"""


def test_a_terminal_obeys_nothing_in_a_log_line() -> None:
    """Escape sequences, carriage returns and changes of direction are left out."""
    record = logging.LogRecord("qcore.worker", logging.WARNING, "", 0, "%s", (HOSTILE,), None)

    assert TextFormatter("%(message)s").format(record) == "abcdef"


def test_a_traceback_keeps_its_lines_and_loses_the_rest() -> None:
    """The handler that qcore sets up cleans what a task's error says, too."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=60
    )

    assert "it failed with abcdef\n  Traceback (most recent call last):\n" in done.stderr
    assert done.stderr.endswith("ValueError: abcdef\n")


CONFIGURED = """
import logging
from qcore import Config
from qcore_logs.setup import configure
handler = logging.StreamHandler()
handler.setFormatter(logging.Formatter("mine %(message)s"))
logging.getLogger("qcore").addHandler(handler)
configure(Config())
logging.getLogger("qcore.worker").warning("once")
"""


def test_a_handler_of_the_program_for_qcore_is_enough() -> None:
    """No second handler writes each line again."""
    done = subprocess.run(
        [sys.executable, "-c", CONFIGURED], capture_output=True, text=True, check=True, timeout=60
    )

    assert done.stderr == "mine once\n"


class Task(NamedTuple):
    """What `qcore.current` returns."""

    id: str = "ab" * 16
    name: str = "shop.pay"
    attempt: int = 2
    cluster: str = "shop"


def made(text: str = "it is paid", **more: object) -> logging.LogRecord:
    """Return a record as a logger makes it."""
    return logging.getLogger("shop").makeRecord(
        "shop", logging.INFO, "shop.py", 1, text, (), None, None, more
    )


def filtered(
    monkeypatch: pytest.MonkeyPatch, record: logging.LogRecord, task: Task | None
) -> dict[str, object]:
    """Return the attributes of a record that is logged while a task runs."""
    monkeypatch.setattr(qcore, "current", lambda: task)
    assert TaskFilter().filter(record) is True
    return {name: vars(record)[name] for name in FIELDS}


def test_a_record_made_inside_of_a_task_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Id, name, attempt and the clusters' name are attributes for any formatter."""
    found = filtered(monkeypatch, made(), Task())

    assert found == {"task_id": "ab" * 16, "task_name": "shop.pay", "attempt": 2, "cluster": "shop"}


def test_a_record_made_outside_of_tasks_has_the_attributes_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """A format with %(task_id)s fails for no line."""
    assert filtered(monkeypatch, made(), None) == {
        "task_id": "",
        "task_name": "",
        "attempt": 0,
        "cluster": "",
    }


def test_what_a_program_says_itself_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program may use one of these names for something else, with `extra`."""
    found = filtered(monkeypatch, made(cluster="at the till"), Task())

    assert (found["cluster"], found["task_name"]) == ("at the till", "shop.pay")


def test_a_line_of_text_names_the_task_unless_it_does_so_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """What qcore says about a task names it once."""
    mine, ours = made(), made(f"task {Task().id} done")
    filtered(monkeypatch, mine, Task())
    filtered(monkeypatch, ours, Task())

    assert TextFormatter("%(message)s").format(mine) == f"it is paid  [task {Task().id} (shop.pay)]"
    assert TextFormatter("%(message)s").format(ours) == f"task {Task().id} done"


def test_json_is_one_object_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the message, the error and the fields of the program hold."""
    try:
        raise ValueError("a\nb \ud800")
    except ValueError:
        record = made("x\n\u2028y", order=7, price=float("nan"), parts={1, 2})
        record.exc_info = sys.exc_info()
    filtered(monkeypatch, record, Task())
    record.created = 1764452345.5

    text = JsonFormatter().format(record)

    assert text.isascii()
    assert text.isprintable()
    found = json.loads(text, parse_constant=pytest.fail)
    trace = found.pop("exception")
    assert trace.startswith("Traceback")
    assert trace.endswith("ValueError: a\nb \ud800")
    assert found == {
        "time": "2025-11-29T21:39:05.500Z",
        "level": "INFO",
        "logger": "shop",
        "message": "x\n\u2028y",
        "process": os.getpid(),
        "task_id": Task().id,
        "task_name": "shop.pay",
        "attempt": 2,
        "cluster": "shop",
        "order": 7,
        "price": "nan",
        "parts": "{1, 2}",
    }


def test_json_leaves_out_what_it_does_not_know(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line of no task has no empty fields."""
    record = made()
    filtered(monkeypatch, record, None)

    assert set(json.loads(JsonFormatter().format(record))) == {
        "time",
        "level",
        "logger",
        "message",
        "process",
    }


LEVELS = """
import logging
from qcore import Config
from qcore_logs.setup import complete, configure
{before}
configure(Config(log_level={level!r}, log_tasks={tasks}))
{after}
complete(Config(log_level={level!r}, log_tasks={tasks}))
print(logging.getLogger("qcore.task").isEnabledFor(logging.INFO))
"""
RESET = (
    "import logging.config\\n"
    "logging.config.dictConfig({'version': 1, 'loggers': {'qcore': {'level': 'INFO'}}})"
).replace("\\n", "\n")
NAMED = RESET.replace("'qcore':", "'qcore.task':")


@pytest.mark.parametrize(
    ("level", "tasks", "before", "after", "expected"),
    [
        ("INFO", False, "", "", False),
        ("INFO", True, "", "", True),
        ("DEBUG", False, "", "", True),
        ("INFO", False, NAMED, "", True),
        ("INFO", False, "", NAMED, True),
        # it resets the levels below the one that it names, and disables the others
        ("INFO", False, "", RESET, False),
        ("INFO", True, "", RESET, True),
    ],
)
def test_a_line_for_each_task_is_for_who_asks_for_it(
    level: str, before: str, after: str, *, tasks: bool, expected: bool
) -> None:
    """By `log_tasks`, by the level of the logger itself, or by DEBUG."""
    program = LEVELS.format(level=level, tasks=tasks, before=before, after=after)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert (done.stdout, done.stderr) == (f"{expected}\n", "")


def test_a_failed_task_has_no_line_where_only_worse_is_logged() -> None:
    """`log_level` is that of the lines about tasks too, unless they are asked for."""
    program = LEVELS.format(level="CRITICAL", tasks=False, before="", after="").replace("INFO", "ERROR")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert (done.stdout, done.stderr) == ("False\n", "")


@pytest.mark.parametrize(
    ("trace", "expected"),
    [
        (f'  File "{Path.cwd()}/shop.py", line 7, in pay\n', "shop.py:7"),
        ('  File "/srv/a.py", line 7, in f\n  File "/srv/b.py", line 8, in g\nE', "/srv/b.py:8"),
        (f'  File "/srv/a.py", line 7, in f\n  File "{os.__file__}", line 8, in g\nE', "/srv/a.py:7"),
        (f'  File "{os.__file__}", line 8, in g\nE', f"{os.__file__}:8"),
        ('  | Traceback\n  |   File "/srv/group.py", line 9, in g\n', "/srv/group.py:9"),
        ('  File "<string>", line 1, in f\n', ""),
        ("", ""),
    ],
)
def test_the_line_of_the_user_is_found_in_a_traceback(trace: str, expected: str) -> None:
    """The deepest that is not of an installed package."""
    assert source_line(trace) == expected


@pytest.mark.parametrize(
    ("action", "delay", "expected"),
    [
        (Action.RETRY, 2.0, "will run again in 2 s"),
        (Action.RELEASE, 0.0, "will run again at once"),
        (Action.DEAD_LETTER, 0.0, "dead-lettered"),
        (Action.ACK, 0.0, "failed for good"),
    ],
)
def test_states_are_words_in_small_letters(action: Action, delay: float, expected: str) -> None:
    """A line says what becomes of the task."""
    assert next_step(action, delay) == expected


def test_a_record_factory_of_the_program_may_set_the_same_fields(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The line of a failed run is written all the same, and says what the run was."""
    before = logging.getLogRecordFactory()

    def factory(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = before(*args, **kwargs)
        record.task_name = record.state = "of the program"
        return record

    seen: list[logging.LogRecord] = []
    log = logging.getLogger("tests.factory")
    log.addHandler(handler := logging.Handler())
    monkeypatch.setattr(handler, "emit", seen.append)
    logging.setLogRecordFactory(factory)
    try:
        write(log, logging.ERROR, "it failed", {"task_name": "shop.pay", "state": "dead-lettered"})
        LogReporter("tests.factory").report(REPORT)
    finally:
        logging.setLogRecordFactory(before)
        log.removeHandler(handler)

    assert [(one.task_name, one.getMessage()[:9]) for one in seen] == [  # type: ignore[attr-defined]  # extra
        ("shop.pay", "it failed"),
        ("shop.pay", "task fail"),
    ]
