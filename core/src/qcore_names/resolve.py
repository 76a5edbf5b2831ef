"""Decides which function a dotted name means."""

from __future__ import annotations

import fnmatch
import importlib
import importlib.util
import inspect
import re
import sys
import time
import typing
from contextvars import ContextVar
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs

from qcore.errors import ImportedMainReached, TaskNameError, TaskNotAllowed, TaskNotFound
from qcore_names.identity import refuse_methods, spelled
from qcore_text import wording

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import ModuleType

#: True while a worker imports the user's script; starting or using a cluster there ends the import.
IMPORTING_MAIN: Final[ContextVar[bool]] = ContextVar("qcore.importing_main", default=False)
#: when this process, or the one that it was forked from, began to look for tasks
_STARTED: Final = time.time()
#: Most characters of a task's name.
_MAX_NAME: Final = 512
#: what a dotted name looks like; a script may have a dash in its name
_DOTTED: Final = re.compile(r"[^\W\d][\w-]*(\.[^\W\d][\w-]*)+").fullmatch


@attrs.frozen(kw_only=True)
class Script:
    """The user's program, as worker processes import it."""

    #: name of the module: `pkg.mod` for `python -m pkg.mod`, the file's stem for `python file.py`
    name: str
    path: str


def main_script() -> Script | None:
    """Return how to import this process's `__main__`, None if it is not a file."""
    main = sys.modules.get("__main__")
    path = getattr(main, "__file__", None)
    if path is None:
        return None
    spec = getattr(main, "__spec__", None)
    if spec is not None and spec.name != "__main__":
        return Script(name=spec.name, path=path)
    if spec is not None:
        # `python folder` runs its file `__main__.py`; a zip archive has no such file.
        folder = Path(path).parent
        return Script(name=folder.resolve().name, path=path) if folder.is_dir() else None
    stem = path.replace("\\", "/").rpartition("/")[2]
    name, dot, ending = stem.rpartition(".")
    if ending != "py" or not dot or "." in name:
        return None
    return Script(name=name, path=path)


def preload_of(modules: Sequence[str], script: Script | None, *, has_tasks: bool) -> list[str]:
    """Return the modules to import before forking: the user's script only if it declares tasks."""
    wanted = list(modules)
    if script is not None and has_tasks and script.name not in wanted:
        wanted.append(script.name)
    return wanted


def name_of(function: object) -> str:
    """Return the dotted name by which a worker process finds `function`.

    Raises:
        TaskNameError: there is no such name; the message says what to do.

    """
    if isinstance(function, str):
        if len(function) > _MAX_NAME or not _DOTTED(function):
            msg = (
                f"{function[:80]!r} is not the name of a task; "
                "pass a dotted name such as 'package.module.function'"
            )
            raise TaskNameError(msg)
        return function
    refuse_methods(function)
    module, qualified = spelled(function)
    if not module or not qualified or not callable(function):
        msg = f"{function!r} is not a function that a worker can import; pass a function or its dotted name"
        raise TaskNameError(msg)
    if "<" in qualified:
        msg = (
            f"{module}.{qualified} is defined inside another function or is a lambda, so a worker process "
            "cannot import it; define it at the top level of a module"
        )
        raise TaskNameError(msg)
    if module == "__main__":
        script = main_script()
        if script is None:
            msg = (
                f"{qualified} is defined in an interactive session or in a program that is not a .py file, "
                "so a worker process cannot import it; move it to a module and import it from there"
            )
            raise TaskNameError(msg)
        module = script.name
    return f"{module}.{qualified}"


class _ScriptLoader(SourceFileLoader):
    """Runs a script up to the line that starts or uses a cluster."""

    def exec_module(self, module: ModuleType) -> None:
        token = IMPORTING_MAIN.set(True)
        try:
            super().exec_module(module)
        except ImportedMainReached:
            # Everything above that line is defined, which is enough.
            vars(module)["__qcore_cut__"] = True
        finally:
            IMPORTING_MAIN.reset(token)


class ScriptFinder:
    """Lets a worker import the user's script by its own name, without running it completely.

    It is a `MetaPathFinder` by what it does: `importlib.abc` imports a dozen modules for that name.
    """

    def __init__(self, script: Script) -> None:
        self._script = script

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find the script, and no other module."""
        del path, target
        if fullname != self._script.name:
            return None
        loader = _ScriptLoader(fullname, self._script.path)
        return importlib.util.spec_from_file_location(fullname, self._script.path, loader=loader)


def resolve(name: str, allowed: Sequence[str] | None) -> Callable[..., Any]:
    """Return the function that a task's name means.

    Args:
        name: dotted.
        allowed: patterns of names that may be imported; None = any.

    Raises:
        TaskNotAllowed: it does not match the patterns; nothing is imported.
        TaskNotFound: the function does not exist; the message says why.

    """
    if allowed is not None and not any(fnmatch.fnmatchcase(name, pattern) for pattern in allowed):
        msg = f"the task {name[:_MAX_NAME]!r} does not match tasks_allowed ({', '.join(allowed)})"
        raise TaskNotAllowed(msg)
    parts = name.split(".")
    if len(name) > _MAX_NAME or len(parts) < 2 or not all(parts):
        msg = f"{name[:80]!r} is not the name of a task"
        raise TaskNotFound(msg)
    found, first = _running(parts) or (_import(parts[0], name), 1)
    for index, part in enumerate(parts[first:], first):
        try:
            following = getattr(found, part, None)
        except Exception as exc:
            msg = f"no task {name!r}: looking for {part!r} raised {type(exc).__name__}: {exc}"
            raise TaskNotFound(msg) from exc
        if following is None and inspect.ismodule(found):
            following = _submodule(".".join(parts[: index + 1]), name)
        if following is None:
            msg = f"no task {name!r}: {'.'.join(parts[:index])} has no {part!r}"
            near = wording.did_you_mean(part, vars(found)) if inspect.ismodule(found) else ""
            msg += _cut_short(parts[0]) or _changed_since(found) or near
            raise TaskNotFound(msg)
        found = following
    if not callable(found):
        msg = f"no task {name!r}: it is a {type(found).__name__} and cannot be called"
        raise TaskNotFound(msg)
    if allowed is not None:
        _check_own_name(found, name)
    return typing.cast("Callable[..., Any]", found)


def imported(name: str) -> Callable[..., Any] | None:
    """Return the function of a name if its module is imported; nothing is imported for it."""
    parts = name.split(".")
    script = main_script()
    for end in range(len(parts) - 1, 0, -1):
        module = ".".join(parts[:end])
        is_main = script is not None and script.name == module
        found: Any = sys.modules.get("__main__" if is_main else module)
        if found is not None:
            try:
                for part in parts[end:]:
                    found = getattr(found, part, None)
            except Exception:  # noqa: BLE001 - a module may import when it is asked; the worker tells why
                return None
            return found if callable(found) else None
    return None


def _check_own_name(found: object, name: str) -> None:
    """Refuse a function that an allowed module only imported: `tasks.subprocess.run` matches `tasks.*`."""
    module, qualified = spelled(found)
    script = main_script() if module == "__main__" else None
    own = f"{module if script is None else script.name}.{qualified}"
    if own != name:
        msg = f"the task {name!r} is really {own!r}; allow and enqueue it by that name"
        raise TaskNotAllowed(msg)


def _running(parts: Sequence[str]) -> tuple[Any, int] | None:
    """Return the running program and the index of the first part in it, if the name belongs to it.

    Importing the program by its own name would run it a second time.
    """
    script = main_script()
    if script is None:
        return None
    own = script.name.split(".")
    if len(parts) == len(own) or list(parts[: len(own)]) != own:
        return None
    main = sys.modules["__main__"]
    # A script may have the name of a module that was imported before.
    there = script.name not in sys.modules or hasattr(main, parts[len(own)])
    return (main, len(own)) if there else None


def _import(module: str, name: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as exc:
        if exc.name != module:
            raise _import_failed(module, name, exc) from exc
        msg = f"no task {name!r}: no module {module!r} on this worker's path"
        raise TaskNotFound(msg) from exc
    except Exception as exc:
        raise _import_failed(module, name, exc) from exc


def _submodule(module: str, name: str) -> ModuleType | None:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as exc:
        if exc.name == module or module.startswith(f"{exc.name}."):
            return None
        raise _import_failed(module, name, exc) from exc
    except Exception as exc:
        raise _import_failed(module, name, exc) from exc


def _import_failed(module: str, name: str, exc: Exception) -> TaskNotFound:
    return TaskNotFound(f"no task {name!r}: importing {module!r} failed with {type(exc).__name__}: {exc}")


def _changed_since(module: object) -> str:
    """Explain a name missing from a module whose file was changed after this process had started."""
    file = getattr(module, "__file__", None) if inspect.ismodule(module) else None
    try:
        changed = Path(file).stat().st_mtime if file else 0.0
    except OSError:
        # The file is gone; the message says already what is missing.
        return ""
    if changed < _STARTED:
        return ""
    when = time.strftime("%H:%M:%S", time.localtime(changed))
    return f"; {file} was changed at {when}, after this worker had started: restart the cluster"


def _cut_short(module: str) -> str:
    """Return an explanation for a name that is missing in a script that was imported only in part."""
    found = sys.modules.get(module)
    if found is None or not getattr(found, "__qcore_cut__", False):
        return ""
    return (
        "; the worker imported that script only up to the line that starts the cluster or enqueues: "
        'define tasks above it, or put it under if __name__ == "__main__":'
    )
