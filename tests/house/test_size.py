"""How large the engine may be."""

from __future__ import annotations

from typing import Final

from tests.house.tree import core_modules

#: Most lines of `qcore` without its commands.
LINES: Final = 18_000


def test_the_engine_is_small() -> None:
    """A maintainer can read the engine; what can stand outside of it does.

    Where this fails the bound is not raised and no line is squeezed. Find the next responsibility
    that the engine can do without, or use through a few functions, and move it whole into a package
    beside `qcore`: a library that knows nothing of the engine (`qcore_names`), or a plugin that the
    engine finds by a hook (`qcore_schedules`). The lists in `tree.py` and `test_borders.py` keep
    the border.
    """
    sizes: dict[str, int] = {}
    for module in core_modules():
        part = module.name.split(".")[1] if "." in module.name else "__init__"
        if part != "cli":
            sizes[part] = sizes.get(part, 0) + module.text.count("\n")
    largest = sorted(sizes.items(), key=lambda size: -size[1])[:8]

    assert sum(sizes.values()) <= LINES, f"{sum(sizes.values())} lines; the largest parts: {largest}"
