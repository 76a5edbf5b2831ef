"""Who may reach for what: libraries, plugins, dangerous calls."""

from __future__ import annotations

import ast
import subprocess
import sys
from fnmatch import fnmatch
from typing import TYPE_CHECKING, Final

from tests.house.tree import (
    at_once_modules,
    called,
    core_modules,
    imports,
    library_modules,
    plugin_modules,
    scheduler_modules,
    test_modules,
    wheel_modules,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.house.tree import Module

#: library -> the only files and rooms of core that know it
OWNERS: Final = {
    "pluggy": {"plugins", "hookspecs"},
    "cattrs": set(),
    "multiprocessing": {"supervision", "workers"},
    "psutil": {"supervision", "workers"},
    "sqlite3": set(),
    "click": {"cli"},
    "rich": set(),
    "pytest": set(),
    "hypothesis": set(),
}

#: what a plugin may import of qcore
DOORS: Final = {
    "qcore.interfaces",
    "qcore.coordination",
    "qcore.model",
    "qcore.errors",
    "qcore.hookspecs",
    "qcore.lazy",
}
#: what a library in core's wheel may import of qcore
GROUND: Final = {
    "qcore",
    "qcore.errors",
    "qcore.interfaces",
    "qcore.model",
    "qcore.status",
}
#: what the scheduler may import of the engine it stands on
FLOORS: Final = GROUND | {
    "qcore.config",
    "qcore.coordination",
    "qcore.declarations",
    "qcore.destination",
    "qcore.hookspecs",
    "qcore.messages",
    "qcore.plugins",
    "qcore.runtime",
    "qcore.scheduling",
    "qcore.settle",
    "qcore.tasks",
}
#: a package that needs more of qcore than the interfaces -> what, and why
MORE: Final = {
    # commands share how they parse, look, and print
    "qcore_monitor": {"qcore.app", "qcore.cli", "qcore.messages", "qcore.status"},
    # metrics are made of what a cluster counts
    "qcore_otel": {"qcore.status"},
    # its command prints what commands read, and its endpoint asks the queue as a program does
    "qcore_prometheus": {"qcore.app", "qcore.cli", "qcore.messages", "qcore.runtime", "qcore.status"},
    # scopes belong to the task that runs
    "qcore_sentry": {"qcore.tasks.current"},
    # a site has its App, its commands and its clusters from it
    "qcore_django": {"qcore"},
    # it runs whole clusters
    "qcore_testing": {"qcore"},
}
#: a plugin that depends on another one -> which, and why
ON_TOP: Final = {
    # its statements are executed by connections of Django's
    "qcore_django": "qcore_sql",
}
#: what the tests of the tree take for given: no service stands behind these packages
FAMILY: Final = frozenset({"qcore_json", "qcore_pickle", "qcore_sqlite", "qcore_testing"})

CALLS: Final = frozenset(
    {"eval", "exec", "__import__", "os.system", "os.popen", "tempfile.mktemp", "yaml.load"}
)
CALLED: Final = frozenset(name.rpartition(".")[2] for name in CALLS)
#: dangerous thing -> files that have a reason to use it
ALLOWED: Final = {
    # a user asks for it by name, and only a worker that accepts it by name decodes it
    # what Django-Q has pickled is read once, by the command that a user types to move it
    "pickle": ("plugins/qcore-pickle/src/*", "plugins/qcore-django/src/qcore_django/moving/pickled.py"),
}
#: what can run code when it reads
READERS: Final = frozenset({"pickle", "cPickle", "dill", "marshal", "shelve"})
#: writing is harmless: it calls nothing of the user's, and nobody reads it
WRITES: Final = frozenset({"marshal.dumps"})


def within(target: str, *packages: str) -> bool:
    """Whether a module is one of the packages or inside one."""
    return any(target == package or target.startswith(package + ".") for package in packages)


def test_a_library_is_known_to_its_owners_only() -> None:
    """Each library of core is imported by the few files whose duty it is."""
    strangers = [
        f"{module.place}:{line} imports {target}"
        for module in core_modules()
        for target, line in imports(module)
        for library, owners in OWNERS.items()
        if within(target, library) and not within(module.name, *(f"qcore.{owner}" for owner in owners))
    ]

    assert not strangers, "\n".join(["", *strangers])


def test_plugins_come_through_the_interfaces_only() -> None:
    """A plugin, the built-in one included, imports the contracts and itself."""
    builtin = [m for m in core_modules() if within(m.name, "qcore.builtin")]
    trespassers = [
        f"{module.place}:{line} imports {target}"
        for module in [*builtin, *plugin_modules()]
        for target, line in imports(module, frozenset(DOORS))
        if within(target, "qcore")
        and target not in DOORS
        and not within(target, *MORE.get(module.name.split(".")[0], ()))
        and not within(target, ".".join(module.name.split(".")[: 2 if module in builtin else 1]))
    ]

    assert not trespassers, "\n".join(["", *trespassers])


def test_libraries_know_nothing_of_the_engine() -> None:
    """A library imports interfaces, records and errors of qcore, and nothing above them."""
    trespassers = [
        f"{module.place}:{line} imports {target}"
        for module in library_modules()
        for target, line in imports(module, frozenset(GROUND))
        if within(target, "qcore") and target not in GROUND
    ]

    assert not trespassers, "\n".join(["", *trespassers])


def test_the_scheduler_uses_the_floors_below_it_only() -> None:
    """The package that fires schedules reaches for no App, worker, supervisor or command."""
    known = frozenset(module.name for module in core_modules())
    trespassers = [
        f"{module.place}:{line} imports {target}"
        for module in scheduler_modules()
        for target, line in imports(module, known)
        if within(target, "qcore") and target != "qcore" and not within(target, *(FLOORS - {"qcore"}))
    ]

    assert not trespassers, "\n".join(["", *trespassers])


def test_the_engine_finds_its_scheduler_by_a_hook() -> None:
    """Of the package that fires schedules the engine knows one name: the type of `App.schedules`."""
    known = {
        (module.name, target)
        for module in core_modules()
        for target, _ in imports(module)
        if within(target, "qcore_schedules")
    }

    assert known == {("qcore.scheduling", "qcore_schedules.app_api")}
    program = (
        "import sys, qcore.app, qcore.cluster; print(*(n for n in sys.modules if 'qcore_schedules' in n))"
    )
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert loaded.stdout.split() == []


def test_a_cluster_starts_without_what_few_programs_need() -> None:
    """Each start would wait for it, and each cluster would keep it in memory."""
    few = "zoneinfo tempfile shutil bz2 lzma difflib psutil cattrs asyncio ssl http email"
    program = f"import sys, qcore.app, qcore.cluster; print(*(n for n in {few.split()} if n in sys.modules))"

    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert loaded.stdout.split() == []


#: forks for each name, having imported what others have written
EACH_FIRST: Final = """
import os, sys, traceback
import msgspec, pluggy, psutil, logging.handlers, asyncio, multiprocessing, typing, dataclasses
for name in sys.stdin.read().split():
    if not os.fork():
        try:
            __import__(name), __import__("qcore")
        except BaseException:
            print(name, traceback.format_exc())
        sys.stdout.flush()
        os._exit(0)
    os.wait()
print("all")
"""


def test_a_library_can_be_imported_first() -> None:
    """Whichever of the two is imported first, the engine and its libraries come together."""
    names = [module.name for module in library_modules() + scheduler_modules() + at_once_modules()]
    done = subprocess.run(
        [sys.executable, "-c", EACH_FIRST],
        input=" ".join(names), capture_output=True, text=True, check=True,
    )  # fmt: skip

    assert len(names) > 50
    assert (done.stdout, done.stderr) == ("all\n", "")


def test_what_runs_tasks_at_once_is_part_of_a_worker_only() -> None:
    """It reaches for no App, supervisor, schedule or command, and the engine finds it by a hook."""
    above = ("qcore.app", "qcore.cluster", "qcore.supervision", "qcore.cli", "qcore_schedules")
    trespassers = [
        f"{module.place}:{line} imports {target}"
        for module in at_once_modules()
        for target, line in imports(module)
        if within(target, *above)
    ]
    known = [
        f"{module.place}:{line} imports {target}"
        for module in core_modules()
        for target, line in imports(module)
        if within(target, "qcore_at_once")
    ]

    assert not trespassers + known, "\n".join(["", *trespassers, *known])


def test_plugin_tests_use_the_kit_and_the_interfaces() -> None:
    """What a plugin's tests need of qcore is public, in qcore.testing or the face."""
    allowed = DOORS | {"qcore", "qcore.testing"}
    more = {package.replace("_", "-"): allowance for package, allowance in MORE.items()}
    trespassers = [
        f"{module.place}:{line} imports {target}"
        for module in test_modules()
        if module.place.startswith("plugins/")
        for target, line in imports(module, frozenset(DOORS))
        if within(target, "qcore")
        and target not in allowed
        and not within(target, *more.get(module.place.split("/")[1], ()))
    ]

    assert not trespassers, "\n".join(["", *trespassers])


def test_nobody_imports_a_plugin() -> None:
    """Delete any plugin's folder and everything else still works, except what depends on it."""
    packages = {module.name.split(".")[0]: module.path for module in plugin_modules()}
    reached = [
        f"{module.place}:{line} imports {target}"
        for module in [*core_modules(), *plugin_modules(), *test_modules()]
        for target, line in imports(module)
        for package in packages
        if within(target, package)
        and not module.place.startswith((f"plugins/{package.replace('_', '-')}/", f"core/src/{package}/"))
        and not (package in FAMILY and module in test_modules())
        and not any(
            package == below and module.place.startswith(f"plugins/{above.replace('_', '-')}/")
            for above, below in ON_TOP.items()
        )
    ]

    assert not reached, "\n".join(["", *reached])


def test_core_has_no_optional_imports() -> None:
    """What core needs it depends on; what it may lack belongs to a plugin."""
    optional = [
        f"{module.place}:{node.lineno}"
        for module in core_modules()
        for node in module.nodes
        if isinstance(node, ast.Try) and any(isinstance(b, (ast.Import, ast.ImportFrom)) for b in node.body)
    ]

    assert not optional, "\n".join(["", *optional])


def test_nothing_dangerous_is_called() -> None:
    """No eval, exec, pickle, shell, unsafe YAML or guessable temporary name outside ALLOWED."""
    used = [
        f"{module.place}:{line} {what}"
        for module in [*wheel_modules(), *plugin_modules()]
        for what, line in dangers(module)
        if not any(fnmatch(module.place, pattern) for pattern in ALLOWED.get(what, ()))
    ]

    assert not used, "\n".join(["", *used])


def dangers(module: Module) -> Iterator[tuple[str, int]]:
    """Yield each dangerous import and call with its line."""
    for target, line in imports(module, WRITES):
        if target not in WRITES and target.split(".")[0] in READERS:
            yield "pickle", line
    for node in module.nodes:
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func).removeprefix("builtins.") if called(node) in CALLED else ""
            if name in CALLS:
                yield name, node.lineno
            elif any(k.arg == "shell" and not _is_false(k.value) for k in node.keywords):
                yield "shell=True", node.lineno


def _is_false(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is False
