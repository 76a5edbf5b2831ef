"""Cluster: how a program starts and stops a cluster."""

from __future__ import annotations

import gc
import logging
import os
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import msgspec

from qcore.app import App
from qcore.config import Config
from qcore.errors import (
    BackendUnavailable,
    ClusterError,
    ConfigError,
    ImportedMainReached,
    NotSupported,
    QcoreError,
    QueueMissing,
    StartFailed,
)
from qcore.guarding import guarded
from qcore.key_check import check_keys
from qcore.runtime import Runtime
from qcore.status import ClusterStatus
from qcore.supervision.control import Control, serve, take_over
from qcore.supervision.protocol import Boot
from qcore.supervision.supervisor import Supervisor
from qcore.supervision.zygote import adopt
from qcore.tasks.task import Task
from qcore_logs import setup
from qcore_names.resolve import IMPORTING_MAIN, Script, main_script, preload_of
from qcore_process import interpreter
from qcore_queues.names import known_as
from qcore_text.wording import counted
from qcore_values import validators

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from qcore.plugins import Plugins

_log = logging.getLogger("qcore.cluster")

#: Seconds in which the workers of a cluster must be ready, the import of the user's modules included.
_START: Final = 120.0
#: Seconds beyond its shutdown_timeout after which a stopping supervisor is killed.
_REAP_TIMEOUT: Final = 10.0
#: Seconds in which a running supervisor must answer.
_ANSWER: Final = 10.0


class Cluster:
    """A pool of workers with its supervisor, in processes of their own.

    `start` returns once the workers are ready. The cluster stops by itself when the program
    that started it ends, however that happens. As a context manager it starts and stops.
    """

    def __init__(self, config: Config | App | None = None, *, plugins: Plugins | None = None) -> None:
        #: modules that declare schedules of the App
        self._declaring: list[str] = []
        if isinstance(config, App):
            plugins = plugins or config.plugins
            self._declaring = config.declared_schedules.modules
            config = config.config
        self._config = validators.config(config, Config)
        self._plugins = plugins
        self._process: subprocess.Popen[bytes] | None = None
        self._control: Control | None = None
        self._lock = threading.Lock()

    @property
    def config(self) -> Config:
        """The configuration, loaded at first use."""
        if self._config is None:
            self._config = Config.load(plugins=self._plugins)
        return self._config

    @property
    def pid(self) -> int | None:
        """The supervisor's process id, None when it does not run."""
        running = self._process is not None and self._process.poll() is None
        return self._process.pid if running and self._process is not None else None

    def start(self) -> Self:
        """Start the cluster and return it once its workers are ready.

        Raises:
            StartFailed: the cluster did not start; the message says why, and no process is left running.
        """
        if IMPORTING_MAIN.get():
            raise ImportedMainReached
        if self.pid is not None:
            msg = f"the cluster runs already (supervisor {self.pid}); stop it first"
            raise ClusterError(msg)
        boot = boot_of(self.config, self._declaring, plugins=self._plugins)
        ours, theirs = socket.socketpair()
        source = str(Path(__file__).resolve().parent.parent)
        program = (
            f"import gc, sys; gc.disable(); sys.path.append({source!r}); from qcore.cluster import main; "
            f"main({theirs.fileno()})"
        )
        self._process = interpreter.start(program, theirs.fileno())
        theirs.close()
        self._control = control = Control(ours)
        try:
            # Meanwhile it imports; until it is handed the rest it does nothing else.
            check_backends(self.config, self._plugins, boot)
        except BaseException:
            self._reap(0.0)
            raise
        try:
            control.hand_over(msgspec.msgpack.encode(boot))
            answer = control.answer(_START)
        except BaseException:
            # Ctrl-C: whoever does not wait for the start does not stop what has started.
            self.stop(timeout=0)
            raise
        if "ready" not in answer:
            late = not answer and not control.has_ended
            status = self._reap(0.0 if late else _ANSWER)
            raise StartFailed(answer.get("failed") or _why_not_ready(status, late=late))
        return self

    def status(self) -> ClusterStatus:
        """Return the status of the cluster and its workers; its state is `stopped` if it does not run.

        Raises:
            ClusterError: the supervisor runs and has not answered within ten seconds.
        """
        with self._lock:
            if self.pid is not None and self._control is not None:
                answer = self._control.ask_status(_ANSWER)
                if "status" in answer:
                    return msgspec.convert(answer["status"], ClusterStatus)
                if not self._control.has_ended:
                    msg = f"supervisor {self.pid} has not answered within {_ANSWER:g} seconds; stop() ends it"
                    raise ClusterError(msg)
        config = self.config
        return ClusterStatus(
            id="", name=config.name, label=config.label, host=socket.gethostname(), pid=0, state="stopped"
        )

    def stop(self, timeout: float | None = None) -> bool:
        """Stop the cluster; return False if it was not running.

        Args:
            timeout: seconds in which running tasks may end; None = `shutdown_timeout`. A task that
                has not ended by then is released to the queue, and no attempt is counted.

        """
        with self._lock:
            if self._process is None:
                return False
            running = self.pid is not None
            if running and self._control is not None:
                self._control.ask(do="stop", timeout=timeout)
            seconds = self.config.shutdown_timeout if timeout is None else timeout
            self._reap(seconds + _REAP_TIMEOUT)
        return running

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the cluster has ended; return False if it still runs after `timeout` seconds."""
        if self._process is None:
            return True
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            return False
        return True

    def __enter__(self) -> Self:
        """Start, unless it runs already: `with Cluster(config).start() as cluster`."""
        return self.start() if self.pid is None else self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self.stop()

    def _reap(self, seconds: float) -> int:
        if self._process is None:
            return 0
        try:
            status = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        if self._control is not None:
            self._control.close()
            self._control = None
        self._process = None
        return status


def _why_not_ready(status: int, *, late: bool) -> str:
    if late:
        return f"the cluster was not ready within {_START:g} seconds; its log says what it waited for"
    if status == 0:
        return "the cluster was stopped before it was ready"
    return f"the supervisor ended with status {status}; its log says why"


def boot_of(config: Config, preload: Sequence[str] = (), *, plugins: Plugins | None = None) -> Boot:
    """Return what a supervisor needs to run this program's tasks."""
    script: Script | None = main_script()
    main = sys.modules.get("__main__")
    has_tasks = any(isinstance(value, Task) for value in vars(main).values()) if main else False
    return Boot(
        config=config.packed(),
        path=[os.getcwd() if part == "" else part for part in sys.path],  # noqa: PTH109 - as the import system does
        slots=config.workers,
        parent=os.getpid(),
        # What the configuration names is first, because it may set up what the others need.
        preload=preload_of(list(dict.fromkeys([*config.preload, *preload])), script, has_tasks=has_tasks),
        script=(script.name, script.path) if script else None,
        blocked=[plugin.name for plugin in plugins.listing() if plugin.blocked] if plugins else [],
    )


def check_backends(config: Config, plugins: Plugins | None = None, boot: Boot | None = None) -> str:
    """Refuse a broker or a store that workers cannot use; a broker that does not answer may do so later.

    Returns what the broker says of itself, or why it does not answer.

    Raises:
        ConfigError: one of them lives in this process only.
        BackendRejected: the broker rejects all calls; the message says why.
        QueueMissing: there is no queue, and it is not for a cluster to make it.

    """
    runtime = Runtime(config, plugins)
    faults = []
    broker, store = runtime.make_broker(), runtime.make_store()
    coordination = runtime.make_coordination_store()
    # Processes of the cluster make nothing: where a file is gone, none takes its place.
    runtime.make_schedule_store().close()
    if not broker.capabilities.cross_process:
        faults.append(
            f"broker {config.broker!r} lives in one process and cannot feed a cluster; "
            "use the embedded sqlite, or qcore.testing.inline to run tasks in this process"
        )
    if not store.cross_process:
        faults.append(
            f"result_store: got {config.result_store or config.broker!r}; it lives in one process, and "
            "no other process would see the results; leave it out to store them beside the queue"
        )
    if not coordination.cross_process:
        faults.append(
            f"coordination_store: got {runtime.coordination_store!r}; it lives in one process, and workers "
            "would not see each other's limits; leave it out to keep it beside the queue"
        )
    if boot is not None and config.broker_class is None:
        boot.imports = [type(one).__module__ for one in (broker, store, coordination)]
    for queue in config.queues or ():
        try:
            broker.check_route(known_as(queue), 0)
        except NotSupported as exc:
            faults.append(f"queues: {exc}")
    try:
        if faults:
            raise ConfigError(faults)
        try:
            broker.ping()
            place = broker.info()
        except QueueMissing:
            # It was asked to make one, so waiting for it would not help.
            raise
        except BackendUnavailable as exc:
            place = f"{exc}; workers wait for it"
        check_keys(runtime, broker, coordination)
        if not broker.capabilities.redelivers and max(config.threads, config.coroutines) > 1:
            most = counted(max(config.threads, config.coroutines), "task")
            text = (
                "broker %s keeps nothing of what it hands out: a worker that dies loses up to %s that it runs"
            )
            _log.warning(text, config.broker, most)
        return place
    finally:
        for connection in (broker, store, coordination):
            connection.close()


def main(control_fd: int) -> None:
    """Run the supervisor of a `Cluster`: the entry point of its process."""
    control = socket.socket(fileno=control_fd)
    parent = os.getppid()
    data = take_over(control)
    boot = msgspec.msgpack.decode(data, type=Boot) if data else None
    if boot is None or boot.parent != parent:
        raise SystemExit(0)
    try:
        config, plugins = adopt(boot)
        setup.configure(config)
        with suppress(ImportError):
            # Imported here it is shared with the zygote. Who cannot do without says what is wrong.
            list(map(import_module, boot.imports))
        supervisor = Supervisor(Runtime(config, plugins, guard=guarded), boot)
        # Almost nothing that was imported is garbage. Frozen, it is not traversed by any later
        # collection, the zygote's first one included.
        gc.freeze()
        gc.enable()
        serve(supervisor, control, parent)
    except QcoreError as exc:
        control.sendall(msgspec.json.encode({"failed": str(exc)}) + b"\n")
        raise SystemExit(1) from exc
