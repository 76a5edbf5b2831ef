"""The demo's task: parse one Python file."""

from __future__ import annotations

import ast
import os
import warnings
from pathlib import Path


def parse(path: bytes) -> list[int | str]:
    """Return lines, definitions and why the file does not parse, empty if it does.

    A file that does not parse is what the demo was asked to find, not a failed task.
    """
    try:
        source = Path(os.fsdecode(path)).read_bytes()
        with warnings.catch_warnings():
            # The file's own "invalid escape sequence" is not reported.
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError) as exc:
        return [0, 0, _reason(exc).encode("ascii", "backslashreplace").decode("ascii")]
    defined = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    definitions = sum(isinstance(node, defined) for node in ast.walk(tree))
    return [len(source.splitlines()), definitions, ""]


def _reason(error: Exception) -> str:
    kind = type(error).__name__
    if isinstance(error, SyntaxError):
        line = f" (line {error.lineno})" if error.lineno else ""
        return f"{kind}: {error.msg}{line}"
    if isinstance(error, OSError):
        return f"{kind}: {error.strerror}"
    return f"{kind}: {error}" if str(error) else kind
