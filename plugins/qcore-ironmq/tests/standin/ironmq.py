"""A stand-in for IronMQ: runs it. `python ironmq.py LEAST_TIMEOUT` prints its port."""

from __future__ import annotations

import sys
from http.server import ThreadingHTTPServer

from web import Handler, Service

if __name__ == "__main__":
    service = Service(least=int(sys.argv[1]) if len(sys.argv) > 1 else 30)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"service": service}))
    server.daemon_threads = True
    print(server.server_address[1], flush=True)
    server.serve_forever()
