"""Runs the stand-in for Disque: `python disque.py PASSWORD` prints its port."""

from __future__ import annotations

import asyncio
import sys

from wire import serve

asyncio.run(serve(sys.argv[1] if len(sys.argv) > 1 else ""))
