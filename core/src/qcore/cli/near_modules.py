"""Which module near the working folder a misspelt name may mean."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from qcore_text.wording import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Folders below the working folder that are looked into, and files and folders that are looked at.
_DEPTH: Final = 3
_MOST: Final = 5000


def near(module: str) -> str:
    """Return `; did you mean ...?` or where a module of this name is, "" if nothing is near."""
    here = Path.cwd()
    names = list(_names(here))
    if not module or module in names:
        return ""
    for name in names:
        if name.endswith(f".{module}"):
            folder = Path(*name.removesuffix(f".{module}").split("."))
            return f"; there is one in {str(folder)!r}: change to that folder"
    first = module.partition(".")[0]
    if any(one in {first, f"{first}.py"} for one in _listed(here.parent)):
        return f"; there is one in {str(here.parent)!r}: change to that folder"
    return did_you_mean(module, names)


def _names(here: Path) -> Iterator[str]:
    """Yield the dotted names of modules below a folder, those of the upper folders first."""
    left, seen = [here], 0
    while left and seen < _MOST:
        folder = left.pop(0)
        for one in _listed(folder):
            seen += 1
            path = folder / one
            name = one.removesuffix(".py")
            parts = path.relative_to(here).parts
            if not name.isidentifier() or (one == name and not path.is_dir()):
                continue
            if name != "__init__":
                yield ".".join((*parts[:-1], name))
            # An environment has too many modules, and none of them is meant.
            if one == name and len(parts) <= _DEPTH and not (path / "pyvenv.cfg").exists():
                left.append(path)


def _listed(folder: Path) -> list[str]:
    try:
        return sorted(
            one.name for one in folder.iterdir() if one.name[0] != "." and one.name != "__pycache__"
        )
    except OSError:
        # What cannot be read cannot be meant.
        return []
