"""Asks ruff and mypy of the Python files that differ from the main branch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.house.tree import ROOT


def git(*arguments: str) -> list[str]:
    """Return the lines that git prints, none where it cannot say."""
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.splitlines() if not done.returncode else []


def changed() -> list[str]:
    """Return the Python files that are new or differ from where this branch left the main one."""
    base = git("merge-base", "HEAD", "main") or ["HEAD"]
    names = {*git("diff", "--name-only", base[0]), *git("ls-files", "--others", "--exclude-standard")}
    return sorted(name for name in names if name.endswith(".py") and (ROOT / name).exists())


def asked(*command: str) -> bool:
    """Run one of the tools; tell whether it is content."""
    print("$", " ".join(command[:4]), *(["..."] if len(command) > 4 else []), flush=True)
    return subprocess.run([sys.executable, "-m", *command], cwd=ROOT, check=False).returncode == 0


def main() -> int:
    """Ask of what changed; the types of core and of the tests hold together and are asked whole."""
    names = changed()
    if not names:
        print("no Python file differs from the main branch")
        return 0
    content = [asked("ruff", "check", *names), asked("ruff", "format", "--check", *names)]
    sources = {
        str(Path(*Path(name).parts[:3])) for name in names if name.startswith("plugins/") and "/src/" in name
    }
    if any(name.startswith(("core/", "tests/")) for name in names):
        content.append(asked("mypy"))
    content += [asked("mypy", source) for source in sorted(sources)]
    return 0 if all(content) else 1


if __name__ == "__main__":
    sys.exit(main())
