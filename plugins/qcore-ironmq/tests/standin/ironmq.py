"""A stand-in for IronMQ: runs it. `python ironmq.py LEAST_TIMEOUT` prints its port."""

from __future__ import annotations

import sys
import traceback
from http.server import ThreadingHTTPServer

from web import Handler, Service


class Server(ThreadingHTTPServer):
    """Serves until it is killed, whoever hangs up meanwhile."""

    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Say nothing of clients that are gone."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            traceback.print_exc()


if __name__ == "__main__":
    service = Service(least=int(sys.argv[1]) if len(sys.argv) > 1 else 30)
    server = Server(("127.0.0.1", 0), type("Bound", (Handler,), {"service": service}))
    print(server.server_address[1], flush=True)
    server.serve_forever()
