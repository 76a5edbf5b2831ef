"""Runs the stand-in for Disque: `python disque.py '{"nodes": 3}'` prints the ports of its nodes."""

from __future__ import annotations

import asyncio
import json
import sys

from wire import serve

#: without any, it is a lone node that nobody takes down
told = json.loads(sys.argv[1]) if len(sys.argv) > 1 else {}
asyncio.run(
    serve(told.get("nodes", 1), told.get("speed", 1.0), told.get("password", ""), obeys=len(sys.argv) > 1)
)
