"""`manage.py qcluster`: runs a cluster of this site."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Any, Final

from django.core.management.base import CommandError

from qcore import Cluster
from qcore.cli import pid1, run
from qcore.cli.overview import paused
from qcore_django import settings
from qcore_django.shared import app
from qcore_django.site_command import SiteCommand, explained
from qcore_reload.watcher import Watcher

if TYPE_CHECKING:
    from argparse import ArgumentParser

#: seconds between two looks at the queue, with --run-once
_LOOK: Final = 0.2


class Command(SiteCommand):
    """Run a cluster until it is stopped."""

    help = (
        "Runs a cluster in the foreground. Ctrl-C or SIGTERM lets running tasks end; a second one "
        "interrupts them."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Offer the options that unit files of Django-Q use."""
        parser.add_argument("--run-once", action="store_true", help="Stop when the queue is empty.")
        parser.add_argument("--reload", action="store_true", help="Replace the workers when modules change.")
        parser.add_argument("-n", "--name", help="Work as this cluster of ALT_CLUSTERS, on its queue.")

    def handle(self, *_: Any, **options: Any) -> None:
        """Run it."""
        if os.getpid() == 1:
            pid1.stand_by()
        if options["run_once"] and options["reload"]:
            raise CommandError("--run-once ends with the queue, and --reload waits for changes: choose one")
        if options["name"]:
            # The workers have it from the environment, too: what a task enqueues goes to its own queue.
            os.environ[settings.CLUSTER] = options["name"]
            app.reread()
        with explained():
            # Before the checks of the whole site, so that a wrong setting ends with its own exit code.
            config = app.config
            self.check()
            if options["run_once"]:
                _run_once()
            elif options["reload"]:
                with Watcher(sys.path) as watcher:
                    run.serve(config, app.runtime.plugins, watcher=watcher)
            else:
                run.serve(config, app.runtime.plugins)


def _run_once() -> None:
    """Run what is on the queue, then stop."""
    with Cluster(app).start() as cluster:
        idle = 0
        # Between a lease and its report a worker seems idle, so one look is not enough.
        while idle < 2 and cluster.pid is not None:
            time.sleep(_LOOK)
            busy = any(one.state == "busy" for one in cluster.status().workers)
            idle = 0 if busy or waiting() else idle + 1


def waiting() -> int:
    """Return how many messages are ready for this cluster: none that is paused or of others' queues."""
    if not app.queue.size().ready or paused(app, ()):
        return 0
    own = app.config.queues
    return sum(one.ready for one in app.queue.list() if not one.paused and (own is None or one.name in own))
