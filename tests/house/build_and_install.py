"""Build every package and install them together in a clean environment."""

from __future__ import annotations

import subprocess
import sys
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run(*command: str | Path) -> str:
    """Run a command and return what it printed; end with its output if it fails."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout


def main(place: Path) -> None:
    """Build into `place`, install from it, and import what was installed."""
    core, plugins = ROOT / "core", sorted(path.parent for path in ROOT.glob("plugins/*/pyproject.toml"))
    tables = [tomllib.loads((one / "pyproject.toml").read_text(encoding="utf-8")) for one in [core, *plugins]]
    names = [table["project"]["name"].replace("-", "_") for table in tables]
    wheels = place / "wheels"

    # each with the builder that it names, in an environment of its own, as pip does, which takes longer
    for project in (ROOT, *plugins):
        run("uv", "build", "-q", "--wheel", "-p", sys.executable, "-o", wheels, project)
    built = sorted(path.name for path in wheels.glob("*.whl"))
    print("built:", ", ".join(built))

    venv.create(place / "clean", clear=True)
    python = place / "clean" / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", python)
    # from its folder, as a newcomer installs it; what is imported once need not be compiled
    run(*pip, "install", "-q", "--no-compile", core, *(wheels / name for name in built))
    run(*pip, "check")
    # -I: from the wheels, not from the folder this runs in
    run(python, "-I", "-c", f"import {', '.join(names)}")
    qcore = place / "clean" / "bin" / "qcore"
    print(run(qcore, "--version").strip())
    # the first thing a newcomer does
    print("demo:", run(qcore, "demo", "--json", ROOT / "core" / "src").strip())


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
