"""Runs the stand-in for IronMQ: `python ironmq.py LEAST_TIMEOUT SPEED` prints its port."""

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
    told = [float(word) for word in sys.argv[1:]]
    least, speed = told + [30.0, 1.0][len(told) :]
    service = Service(least=int(least), speed=speed)
    server = Server(("127.0.0.1", 0), type("Bound", (Handler,), {"service": service}))
    print(server.server_address[1], flush=True)
    server.serve_forever()
