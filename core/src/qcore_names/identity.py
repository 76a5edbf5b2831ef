"""Decides whether the name of a callable leads to that callable."""

from __future__ import annotations

import inspect
import sys
import weakref
from types import MethodType
from typing import TYPE_CHECKING, Any, Final

from qcore.errors import TaskNameError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType

#: what methods call the object that they belong to
_OWNERS: Final = frozenset({"self", "cls"})
_MISSING: Final = object()


def spelled(function: object) -> tuple[str, str]:
    """Return module and qualified name of a callable; empty if it has none."""
    if isinstance(function, MethodType) and isinstance(function.__self__, type):
        # A class method that is inherited bears the name of the class that defines it.
        owner = function.__self__
        return owner.__module__, f"{owner.__qualname__}.{function.__name__}"
    module, qualified = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    return (module or "", qualified or "")


def refuse_methods(function: object) -> None:
    """Refuse a callable that needs an object which its name does not lead to.

    Raises:
        TaskNameError: it is a method, and the message says what to do instead.

    """
    if isinstance(function, MethodType) and not isinstance(function.__self__, type):
        msg = (
            f"{function.__qualname__} is bound to a {type(function.__self__).__name__} object, which would "
            "not reach the worker; enqueue a function at the top level of a module that makes or loads the "
            "object, or give the dotted name of a method of an object that the module itself holds"
        )
        raise TaskNameError(msg)
    if isinstance(function, classmethod):
        msg = (
            f"{function.__qualname__} is a class method under @app.task, and its class would be lost; "
            "put @app.task on a function at the top level of a module, or enqueue the class method itself"
        )
        raise TaskNameError(msg)
    if _is_method(function):
        msg = (
            f"{getattr(function, '__qualname__', function)} is a method, and the object it belongs to would "
            "not reach the worker; write a function at the top level of the module that takes what "
            "identifies the object, and loads it"
        )
        raise TaskNameError(msg)


def _is_method(function: object) -> bool:
    if isinstance(function, MethodType):
        return False
    qualified = getattr(function, "__qualname__", "").rpartition("<locals>.")[2]
    code: CodeType | None = getattr(function, "__code__", None)
    return "." in qualified and bool(code and code.co_argcount and code.co_varnames[0] in _OWNERS)


def refuse_stand_ins(function: Callable[..., Any], name: str) -> None:
    """Refuse a callable whose own name leads to another object in this process.

    Raises:
        TaskNameError: a worker would run the other one.

    """
    module, qualified = spelled(function)
    if module != "__main__" and name != f"{module}.{qualified}":
        # Another name was chosen for it, and what that leads to is the worker's matter.
        return
    found: Any = sys.modules.get(module)
    for part in qualified.split("."):
        found = getattr(found, part, _MISSING)
    if found is _MISSING or _same(function, found):
        return
    msg = (
        f"the name {name!r} leads to another object than {_shown(function)}, namely {_shown(found)}, and a "
        "worker would run that one; give one of them another name, or enqueue by a dotted name as a text"
    )
    raise TaskNameError(msg)


def _same(function: object, found: Any) -> bool:  # noqa: ANN401 - whatever a module holds
    """Return whether one is the other, wraps it, or is the same line of source imported again."""
    ours = _source(function)
    seen: set[int] = set()
    while id(found) not in seen:
        seen.add(id(found))
        if found is function or (isinstance(found, MethodType) and found == function):
            return True
        if ours is not None and ours == _source(found):
            return True
        found = getattr(found, "__wrapped__", found)
    return False


def _source(function: object) -> tuple[str, int] | None:
    code: CodeType | None = getattr(function, "__code__", None)
    return (code.co_filename, code.co_firstlineno) if code else None


def _shown(function: object) -> str:
    source = _source(getattr(function, "__wrapped__", function))
    return f"{source[0]}, line {source[1]}" if source else f"a {type(function).__name__}"


class DeclaredNames:
    """The names of an App's tasks, each for one function.

    A module that is imported anew, by a reload or under another name, declares its tasks anew.
    """

    def __init__(self) -> None:
        self._known: dict[str, tuple[object, weakref.ref[CodeType] | None]] = {}

    def add(self, name: str, function: object) -> None:
        """Take a name for a function.

        Raises:
            TaskNameError: the module that is being imported has declared another function by it.

        """
        module = _module_code()
        other, where = self._known.get(name, (function, None))
        same = other is function or _source(other) == _source(function) is not None
        if not same and where is not None and where() is module:
            msg = (
                f"the task {name!r} is declared twice, in {_shown(other)} and in {_shown(function)}, and "
                "workers would run the second for both; give one of them another name"
            )
            raise TaskNameError(msg)
        self._known[name] = (function, weakref.ref(module) if module else None)


def _module_code() -> CodeType | None:
    """Return the code of the module that is being imported; each import has its own."""
    frame = inspect.currentframe()
    while frame is not None and frame.f_code.co_name != "<module>":
        frame = frame.f_back
    return frame.f_code if frame else None
