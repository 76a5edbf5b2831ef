"""Imports the user's modules and says where one of them fails."""

from __future__ import annotations

import importlib
import sysconfig
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Final

from qcore.errors import BackendUnavailable, ConfigError, ModuleFailed, PluginError, ResultNotReady
from qcore_text.wording import reason

if TYPE_CHECKING:
    from types import ModuleType, TracebackType

#: where our own files are
_OURS: Final = str(Path(__file__).resolve().parent)
#: where modules are that users install and do not write
_INSTALLED: Final = tuple(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib"))


def import_user_module(name: str) -> ModuleType:
    """Import a module of the user's.

    Raises:
        ModuleFailed: it raised an error; the message names file and line.
        ConfigError: it loaded a configuration that is not valid.
        PluginError: it needs a plugin that cannot be used.
        BackendUnavailable: it asked a broker that does not answer.
        ModuleNotFoundError: there is no such module.

    """
    try:
        return importlib.import_module(name)
    except (ConfigError, PluginError, BackendUnavailable, ModuleFailed):
        # Their messages name what is to change, which is not this module.
        raise
    except ModuleNotFoundError as exc:
        if exc.name is not None and f"{name}.".startswith(f"{exc.name}."):
            raise
        raise module_failed(name, exc) from exc
    except (Exception, SystemExit) as exc:
        raise module_failed(name, exc) from exc


def module_failed(name: str, error: BaseException) -> ModuleFailed:
    """Return the error for a module that raised another while it was imported."""
    first = error.__traceback__
    while first is not None and _is_machinery(first.tb_frame.f_code.co_filename):
        first = first.tb_next
    text = f"your module {name!r} cannot be imported: {reason(error)}"
    if isinstance(error, ResultNotReady):
        # That no cluster works on the queue is true, and no advice to who starts one.
        text = (
            f"your module {name!r} waits for a result while it is imported, and no worker starts before that"
            ' has ended: wait in a function, or under if __name__ == "__main__":'
        )
        error = type(error)("the result is not there yet").with_traceback(error.__traceback__)
    trace = "".join(traceback.format_exception(type(error), error, first)).rstrip()
    where = source_line_of(error)
    return ModuleFailed(f"{text}\n  at {where}" if where else text, trace)


def source_line_of(error: BaseException) -> str:
    """Return `file, line N` of the deepest line that raised an error and that the user wrote; or nothing."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}, line {error.lineno}"
    lines = [(frame.tb_frame.f_code.co_filename, frame.tb_lineno) for frame in _frames(error.__traceback__)]
    written = [one for one in lines if not _is_machinery(one[0])]
    own = [one for one in written if not one[0].startswith(_INSTALLED)]
    deepest = (own or written)[-1:]
    return f"{deepest[0][0]}, line {deepest[0][1]}" if deepest else ""


def _frames(found: TracebackType | None) -> list[TracebackType]:
    frames = []
    while found is not None:
        frames.append(found)
        found = found.tb_next
    return frames


def _is_machinery(file: str) -> bool:
    """Return whether a line of this file imports modules, and is nothing the user could change."""
    return file.startswith((_OURS, "<frozen importlib")) or file == importlib.__file__
