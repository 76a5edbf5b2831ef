"""The source tree as the house tests read it: files, trees, imports."""

from __future__ import annotations

import ast
import gc
import subprocess
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")
ROOT = Path(__file__).parents[2]
CORE = ROOT / "core" / "src" / "qcore"
#: packages in core's wheel that know nothing of the engine
LIBRARIES = (
    "qcore_calendar",
    "qcore_cells",
    "qcore_counts",
    "qcore_logs",
    "qcore_loop",
    "qcore_names",
    "qcore_plugin_support",
    "qcore_process",
    "qcore_queues",
    "qcore_reload",
    "qcore_reports",
    "qcore_settings",
    "qcore_text",
    "qcore_values",
)


@dataclass(frozen=True, eq=False)
class Module:
    """One Python file of a package."""

    path: Path
    #: dotted, `qcore.cli.main`; a package's `__init__` bears the package's name
    name: str
    text: str

    @cached_property
    def place(self) -> str:
        """Path from the root, as it is shown in a failure."""
        return self.path.relative_to(ROOT).as_posix()

    @cached_property
    def tree(self) -> ast.Module:
        """What it is parsed to; most rules look at the text first."""
        return _quietly(lambda: ast.parse(self.text, str(self.path)))

    @cached_property
    def nodes(self) -> tuple[ast.AST, ...]:
        """Every node of the tree, each rule goes through them."""
        return _quietly(lambda: tuple(ast.walk(self.tree)))


class Import(NamedTuple):
    """One module named by an import statement."""

    target: str
    line: int


def _quietly(make: Callable[[], T]) -> T:
    # trees are kept, so each look for garbage among them is in vain, and takes longer than they do
    gc.disable()
    try:
        return make()
    finally:
        gc.freeze()
        gc.enable()


def _module(path: Path, source: Path) -> Module:
    parts = path.relative_to(source).with_suffix("").parts
    name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    return Module(path, name, path.read_text(encoding="utf-8"))


@cache
def core_modules() -> tuple[Module, ...]:
    """Every module of `qcore`."""
    return tuple(_module(path, CORE.parent) for path in sorted(CORE.rglob("*.py")))


@cache
def library_modules() -> tuple[Module, ...]:
    """Every module of the packages in core's wheel that its engine uses like somebody else's library."""
    return tuple(
        _module(path, CORE.parent)
        for name in LIBRARIES
        for path in sorted((CORE.parent / name).rglob("*.py"))
    )


@cache
def scheduler_modules() -> tuple[Module, ...]:
    """Every module of the package in core's wheel that stands on the engine."""
    folder = CORE.parent / "qcore_schedules"
    return tuple(_module(path, CORE.parent) for path in sorted(folder.rglob("*.py")))


@cache
def at_once_modules() -> tuple[Module, ...]:
    """Every module of the package in core's wheel that runs tasks at once."""
    folder = CORE.parent / "qcore_at_once"
    return tuple(_module(path, CORE.parent) for path in sorted(folder.rglob("*.py")))


@cache
def sqlite_modules() -> tuple[Module, ...]:
    """Every module of the plugin that comes in core's wheel."""
    return tuple(_module(path, CORE.parent) for path in sorted((CORE.parent / "qcore_sqlite").rglob("*.py")))


def plugin_folders() -> list[Path]:
    """Every folder that holds a plugin."""
    return sorted(path.parent for path in ROOT.glob("plugins/*/pyproject.toml"))


def wheel_modules() -> tuple[Module, ...]:
    """Every module in core's wheel but those of the embedded broker."""
    return core_modules() + library_modules() + scheduler_modules() + at_once_modules()


@cache
def plugin_modules() -> tuple[Module, ...]:
    """Every module of every plugin's package, the embedded one's first."""
    return sqlite_modules() + tuple(
        _module(path, folder / "src")
        for folder in plugin_folders()
        for path in sorted((folder / "src").rglob("*.py"))
    )


@cache
def test_modules() -> tuple[Module, ...]:
    """Every Python file below a folder `tests`, the plugins' included."""
    folders = [ROOT / "tests", *(folder / "tests" for folder in plugin_folders())]
    return tuple(_module(path, ROOT) for folder in folders for path in sorted(folder.rglob("*.py")))


test_modules.__test__ = False  # type: ignore[attr-defined]  # its name makes pytest take it for a test


def tracked_files() -> list[Path]:
    """Every file under version control, or every visible one where there is no git."""
    listing = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, text=True, check=False
    )
    if listing.returncode == 0:
        found = [ROOT / name for name in listing.stdout.split("\0") if name]
    else:
        found = [p for p in ROOT.rglob("*") if not any(part in UNTRACKED for part in p.parts)]
    return [path for path in found if path.is_file()]


#: what is never under version control
UNTRACKED = frozenset({".git", ".tox", ".venv", "__pycache__", "build", "dist", "_build"})


def called(node: ast.Call) -> str:
    """Return the last part of the name that is called, empty if it has none; `ast.unparse` is slow."""
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def imports(module: Module, known: frozenset[str] = frozenset()) -> Iterator[Import]:
    """Yield every module that is imported, at whatever depth and under whatever condition.

    `from a import b` names `a.b` if that is among the `known` modules, else `a`.
    """
    for node in module.nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(module, node)
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                yield Import(inner if inner in known else base, node.lineno)


def _absolute(module: Module, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    package = module.name.split(".")
    if module.path.name != "__init__.py":
        package = package[:-1]
    kept = package[: len(package) - node.level + 1]
    return ".".join([*kept, *([node.module] if node.module else [])])
