"""Run the benchmark by its path, from any folder; with `--redis` the one on Redis."""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    if "--redis" in sys.argv:
        sys.argv.remove("--redis")
        from tests.benchmarks.onredis.command import main
    else:
        from tests.benchmarks.command import main

    raise SystemExit(main())
