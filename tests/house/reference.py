"""The reference as the code tells it; run as a script, it writes the pages anew."""

from __future__ import annotations

import ast
import inspect
import re
from typing import TYPE_CHECKING, Final

import click

from tests.house.tree import CORE, ROOT, wheel_modules

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

REFERENCE: Final = ROOT / "docs" / "reference"
#: what stands above this line is written by hand, what stands below is written by this file
MARK: Final = "<!-- from the code: python -m tests.house.reference -->\n"

#: what is passed through the interfaces
RECORDS: Final = frozenset(
    {
        "Outgoing",
        "Delivery",
        "Settlement",
        "DeadLetter",
        "QueueSize",
        "StoredResult",
        "StoredSchedule",
        "TaskInfo",
    }
)

#: what `import qcore` hands on, and where it is written; a Task is a Sender that can be called
FACE: Final = (
    ("App", "app.py"),
    ("TaskResults", "results_api.py"),
    ("Schedules", "../qcore_schedules/app_api.py"),
    ("Queue", "queue_api.py"),
    ("QueueInfo", "../qcore_queues/view.py"),
    ("WaitingTask", "../qcore_queues/view.py"),
    ("Cleared", "queue_api.py"),
    ("Task", "tasks/task.py"),
    ("Sender", "tasks/task.py"),
    ("Job", "tasks/task.py"),
    ("Group", "flows/app_api.py"),
    ("Chain", "flows/app_api.py"),
    ("ChainJob", "flows/handles.py"),
    ("GroupJob", "flows/handles.py"),
    ("CallbackJob", "flows/handles.py"),
    ("current", "tasks/current.py"),
    ("CurrentTask", "tasks/current.py"),
    ("Options", "tasks/call.py"),
    ("Retry", "settle.py"),
    ("Result", "model.py"),
    ("State", "model.py"),
    ("Cluster", "cluster.py"),
    ("Schedule", "../qcore_calendar/schedule.py"),
    ("ClusterStatus", "status.py"),
    ("Counts", "status.py"),
    ("TaskCounts", "status.py"),
    ("Durations", "status.py"),
    ("Percentiles", "status.py"),
    ("WorkerStatus", "status.py"),
    ("TaskStatus", "status.py"),
    ("Progress", "status.py"),
    ("QueueSize", "model.py"),
    ("progress", "journal/progress.py"),
    ("transaction", "tasks/transaction.py"),
    ("cron", "../qcore_calendar/when.py"),
    ("every", "../qcore_calendar/when.py"),
    ("When", "../qcore_calendar/when.py"),
)

#: what the face takes or returns and the page does not list, and why
ELSEWHERE: Final = {
    "Broker": "interfaces.md has it",
    "Call": "what `Task.bind` returns is passed on as it is",
    "Config": "configuration.md has it",
    "Delivery": "what `qcore.testing` gives",
    "Plugins": "for tests of plugins",
    "Rule": "for schedulers",
    "RunLater": "errors.md has it",
    "Runtime": "for commands of plugins",
    "Sealed": "for what replaces the delivery",
    "Unset": "the type of UNSET",
}
#: a function of either kind
Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(file: str) -> Iterator[Function]:
    """Yield the top-level functions of a file of core."""
    for node in _body(file):
        if isinstance(node, Function):
            yield node


def classes(file: str) -> Iterator[ast.ClassDef]:
    """Yield the classes of a file of core."""
    for node in _body(file):
        if isinstance(node, ast.ClassDef):
            yield node


def _body(file: str) -> list[ast.stmt]:
    return ast.parse((CORE / file).read_text(encoding="utf-8")).body


def signature(function: Function) -> str:
    """Return a function as its heading shows it, without `self`."""
    shown = re.sub(r"^(self|cls)(: \w+)?(, )?", "", ast.unparse(function.args))
    kind = "async " if isinstance(function, ast.AsyncFunctionDef) else ""
    return f"{kind}{function.name}({shown}) -> {ast.unparse(function.returns) if function.returns else None}"


def said(node: Function | ast.ClassDef) -> str:
    """Return the docstring, its `Args:` and `Raises:` as lists."""
    text, *sections = re.split(r"\n(Args|Raises):\n", ast.get_docstring(node) or "")
    parts = [text.rstrip()]
    for title, body in zip(sections[::2], sections[1::2], strict=True):
        items = re.sub(r"^    (\S+): ", r"- `\1`: ", body.rstrip(), flags=re.MULTILINE)
        parts.append(f"{title}:\n\n{re.sub(r'^ +', '  ', items, flags=re.MULTILINE)}")
    return "\n\n".join(parts)


def fields(node: ast.ClassDef, file: str) -> list[str]:
    """Return the rows of a table of a record's fields, each with the `#:` comment above it."""
    lines = (CORE / file).read_text(encoding="utf-8").splitlines()
    rows = []
    is_enum = any("Enum" in ast.unparse(base) for base in node.bases)
    for statement in node.body:
        if isinstance(statement, ast.AnnAssign) or (is_enum and isinstance(statement, ast.Assign)):
            above: list[str] = []
            number = statement.lineno - 2
            while (comment := re.match(r"\s*#: (.*)", lines[number])) is not None:
                above.insert(0, comment[1])
                number -= 1
            if isinstance(statement, ast.Assign):
                name, kind = statement.targets[0], ast.unparse(statement.value)
            else:
                name, kind = statement.target, f"{ast.unparse(statement.annotation)}{default(statement)}"
            kind = kind.replace("|", "\\|")
            rows.append(f"| `{ast.unparse(name)}` | `{kind}` | {' '.join(above)} |")
    return ["| field | type | meaning |", "|---|---|---|", *rows] if rows else []


def default(field: ast.AnnAssign) -> str:
    """Return what stands behind a field's type: ` = 3`, or nothing if there is no plain default."""
    value = field.value
    if isinstance(value, ast.Call) and ast.unparse(value.func) == "attrs.field":
        value = next((keyword.value for keyword in value.keywords if keyword.arg == "default"), None)
    return "" if value is None else f" = {ast.unparse(value)}"


def api() -> str:
    """Every class of the face with its public methods and fields, and its functions."""
    parts = []
    for name, file in FACE:
        for function in functions(file):
            if function.name == name:
                parts += [f"## `{signature(function)}`", said(function)]
        for node in classes(file):
            if node.name == name:
                parts += [f"## {name}", said(node)]
                parts += ["\n".join(rows)] if (rows := fields(node, file)) else []
                parts += _methods(node)
                parts += [part for base in bases(node, file) for part in _methods(base)]
    return "\n\n".join(parts) + "\n"


def bases(node: ast.ClassDef, file: str) -> Iterator[ast.ClassDef]:
    """Yield the classes whose methods are shown with those of their heir, because the page has not them."""
    names = {ast.unparse(base).partition("[")[0] for base in node.bases} - dict(FACE).keys()
    for statement in _body(file):
        if isinstance(statement, ast.ImportFrom) and (statement.module or "").startswith("qcore"):
            where = f"../{(statement.module or '').replace('.', '/')}.py"
            for base in classes(where) if names & {one.name for one in statement.names} else ():
                if base.name in names:
                    yield base
                    yield from bases(base, where)


def shown_methods(node: ast.ClassDef) -> Iterator[Function]:
    """Yield the methods of a class that a program calls."""
    for method in node.body:
        if isinstance(method, Function) and not method.name.startswith("_"):
            marks = {ast.unparse(mark) for mark in method.decorator_list}
            # A part of an App is made at its first use; those that are not on the page are its own matter.
            of_its_own = "cached" in marks and ast.unparse(method.returns or method) not in dict(FACE)
            if "overload" not in marks and not of_its_own:
                yield method


def _methods(node: ast.ClassDef) -> Iterator[str]:
    for method in shown_methods(node):
        marks = {ast.unparse(mark) for mark in method.decorator_list}
        yield f"### `{method.name if marks & {'property', 'cached'} else signature(method)}`"
        yield said(method)


def unlisted() -> set[str]:
    """Return the classes that the face takes, returns or has as fields, and the page does not list."""
    known = {
        node.name for module in wheel_modules() for node in module.tree.body if isinstance(node, ast.ClassDef)
    }
    annotations: list[ast.expr | None] = []
    for name, file in FACE:
        found = [function for function in functions(file) if function.name == name]
        for node in (one for one in classes(file) if one.name == name):
            annotations += [one.annotation for one in node.body if isinstance(one, ast.AnnAssign)]
            for each in (node, *bases(node, file)):
                found += shown_methods(each)
        for function in found:
            arguments = function.args
            annotations += [one.annotation for one in (*arguments.posonlyargs, *arguments.args)[1:]]
            annotations += [one.annotation for one in arguments.kwonlyargs]
            annotations.append(function.returns)
    mentioned = {
        name.id for one in annotations if one for name in ast.walk(one) if isinstance(name, ast.Name)
    }
    return (mentioned & known) - dict(FACE).keys() - ELSEWHERE.keys()


def hooks() -> str:
    """Every hook with its exact signature, then the events."""
    parts = []
    for title, lifecycle in (("Registration", False), ("Lifecycle", True)):
        parts.append(f"## {title}")
        for hook in functions("hookspecs.py"):
            if hook.name.startswith("qcore_") and bool(hook.args.args) is lifecycle:
                parts += [f"### `{signature(hook)}`", said(hook)]
    parts.append("## Events")
    parts += _records("hookspecs.py", lambda node: node.name.endswith("Event"))
    return "\n\n".join(parts) + "\n"


def interfaces() -> str:
    """Every interface with its obligations, then the records that they pass."""
    parts = []
    for interface in classes("interfaces.py"):
        if any(ast.unparse(base) == "ABC" for base in interface.bases):
            parts += [f"## {interface.name}", said(interface), *_methods(interface)]
    for node in classes("coordination.py"):
        if any(ast.unparse(base) == "ABC" for base in node.bases):
            parts += [f"## {node.name}", said(node), *_methods(node)]
    parts.append("## Records")
    parts += _records("coordination.py", lambda node: node.name == "Arrival")
    parts += _records("interfaces.py", lambda node: node.name in {"Settings", "Capabilities"})
    parts += _records("model.py", lambda node: node.name in RECORDS)
    parts.append("## Support for plugins")
    support = "../qcore_plugin_support/__init__.py"
    for node in classes(support):
        parts += [
            f"### {node.name}",
            said(node),
            "\n".join(fields(node, "../qcore_plugin_support/__init__.py")),
        ]
        parts += [part.replace("###", "####") for part in _methods(node)]
    for function in functions(support):
        parts += [f"### `{signature(function)}`", said(function)]
    return "\n\n".join(parts) + "\n"


def _records(file: str, wanted: Callable[[ast.ClassDef], bool]) -> Iterator[str]:
    for node in classes(file):
        if wanted(node):
            yield f"### {node.name}"
            yield said(node)
            if rows := fields(node, file):
                yield "\n".join(rows)


def errors() -> str:
    """Every exception, what it is based on and its default message."""
    rows = ["| exception | based on | said where nothing more is known |", "|---|---|---|"]
    rows += [
        f"| `{node.name}` | `{ast.unparse(node.bases[0])}` | {said(node)} |" for node in classes("errors.py")
    ]
    return "\n".join(rows) + "\n"


def cli() -> str:
    """Every verb of the command line with its help, then the exit codes."""
    # only this page needs qcore itself: the options are known when the commands are made
    from qcore import cli as face
    from qcore.cli.group import VERBS

    root = click.Context(face.command, info_name="qcore")
    parts = ["## Before the verb", _options(face.command, root)]
    for verb in VERBS:
        found = face.command.get_command(root, verb)
        if found is not None:
            parts += _verb(found, click.Context(found, info_name=verb, parent=root), 2)
    parts += ["## Exit codes", (face.__doc__ or "").partition("\n\n")[2]]
    return "\n\n".join(parts) + "\n"


def _verb(command: click.Command, context: click.Context, rank: int) -> Iterator[str]:
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    yield f"{'#' * rank} `{usage.replace(' [OPTIONS]', '').replace(' COMMAND [ARGS]...', '')}`"
    yield inspect.cleandoc(command.help or "").replace("\b\n", "")
    if rows := _options(command, context):
        yield rows
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            if inner is not None:
                yield from _verb(inner, click.Context(inner, info_name=name, parent=context), rank + 1)


def _options(command: click.Command, context: click.Context) -> str:
    told = [parameter.get_help_record(context) for parameter in command.get_params(context)]
    cells = [[cell.replace("|", "\\|") for cell in record] for record in told if record and record[1]]
    rows = [f"| `{option}` | {meaning} |" for option, meaning in cells if "--help" not in option]
    return "\n".join(["| option | meaning |", "|---|---|", *rows]) if rows else ""


PAGES: Final = (
    ("api.md", api),
    ("cli.md", cli),
    ("errors.md", errors),
    ("hooks.md", hooks),
    ("interfaces.md", interfaces),
)


def main() -> None:
    """Write what stands below the mark of each page."""
    for name, tell in PAGES:
        page = REFERENCE / name
        print(page.relative_to(ROOT))
        above = page.read_text(encoding="utf-8").partition(MARK)[0]
        page.write_text(f"{above}{MARK}\n{tell()}", encoding="utf-8")


if __name__ == "__main__":
    main()
