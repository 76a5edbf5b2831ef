"""What all workers share, made once before they are forked."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from qcore.errors import BackendError, ConfigError
from qcore.guarding import guarded
from qcore.runtime import Runtime
from qcore.workers.sharing import task_runner
from qcore_process.surroundings import Surroundings

if TYPE_CHECKING:
    from qcore.config import Config
    from qcore.plugins import Plugins

_log = logging.getLogger("qcore.zygote")


class Prepared:
    """A configuration assembled, and what of the process is restored after tasks.

    What is made here costs no worker any time, and its memory is shared as long as nobody writes to it.
    Connections are each worker's own, and so are error reporters.
    """

    def __init__(self, config: Config, plugins: Plugins) -> None:
        self.config = config
        self.runtime = Runtime(config, plugins, guard=guarded)
        self.surroundings = Surroundings()

    def warm_up(self) -> None:
        """Import what every worker needs, by connecting once."""
        runtime, config = self.runtime, self.config
        runtime.make_reporters().preload()
        if runner := task_runner(runtime):
            runner.preload(config)
        try:
            broker = runtime.make_broker(create=False)
            broker.ping()
            broker.close()
            runtime.make_store(create=False).close()
            runtime.make_coordination_store(create=False).close()
        except BackendError as exc:
            # The workers try again by themselves.
            _log.warning("the broker does not answer yet: %s", exc)
        try:
            _ = runtime.envelope, runtime.results
        except ConfigError as exc:
            # A worker that cannot read the keys says so.
            _log.debug("the keys cannot be read: %s", exc)
