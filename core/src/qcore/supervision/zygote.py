"""The small process that imports the user's modules and forks the workers."""

from __future__ import annotations

import gc
import logging
import os
import select
import signal
import socket
import sys
import threading
import traceback
from typing import TYPE_CHECKING, Final

from qcore.app import App
from qcore.config import Config
from qcore.errors import ModuleFailed, QcoreError
from qcore.journal.memory import Journal
from qcore.plugins import Plugins
from qcore.scheduling import scheduler_of
from qcore.supervision.protocol import (
    MESSAGE,
    Boot,
    Notice,
    Order,
    decode_boot,
    decode_order,
    encode,
)
from qcore.user_modules import import_user_module
from qcore.workers.prepared import Prepared
from qcore.workers.worker import Worker
from qcore_logs import setup
from qcore_names.resolve import Script, ScriptFinder
from qcore_process.birth import flush_streams, offer_to_oom_killer, quiet_stdin
from qcore_process.exit_handlers import forget_exit_handlers, forget_finalizers
from qcore_process.forked import EX_SOFTWARE
from qcore_process.handlers import DEFAULT, set_handler
from qcore_process.parent import die_with_parent, wake_with_parent
from qcore_process.pidfds import pidfd_of
from qcore_process.process_group import kill, kill_group
from qcore_process.spare import Spare
from qcore_process.stop_signals import ignore_signals

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger("qcore.zygote")

#: Most bytes of a message in the other direction; the kernel takes about 200 KiB.
_PART: Final = 1 << 15


def adopt(boot: Boot) -> tuple[Config, Plugins]:
    """Make this process see what the user's program sees."""
    sys.path[:] = boot.path
    if boot.script is not None:
        sys.meta_path.insert(0, ScriptFinder(Script(name=boot.script[0], path=boot.script[1])))
    plugins = Plugins.discover(boot.blocked)
    return Config.unpacked(boot.config, plugins), plugins


def main(channel_fd: int, journal_fd: int) -> None:
    """Run the zygote: the entry point of a process of its own."""
    channel = socket.socket(fileno=channel_fd)
    boot = decode_boot(channel.recv(MESSAGE))
    die_with_parent(boot.parent)
    forget_exit_handlers()
    try:
        config, plugins = adopt(boot)
        setup.configure(config)
        serve(channel, Journal(journal_fd, boot.slots), boot, config, plugins)
    except BaseException as exc:  # noqa: BLE001 - reported to the user
        _give_up(channel, exc)
    finally:
        # As the forked zygote: a thread that a user's module has started would hold up the end.
        flush_streams()
        os._exit(0)


def serve(channel: socket.socket, journal: Journal, boot: Boot, config: Config, plugins: Plugins) -> None:
    """Import what the tasks need, then fork workers until the supervisor closes the channel."""
    ignore_signals()
    try:
        for module in boot.preload:
            channel.send(encode(Notice("importing", text=module)))
            import_user_module(module)
        setup.complete(config)
        if config.scheduler:
            _send_declared(channel, scheduler_of(plugins).gather(App, config, plugins))
        quiet_stdin()
        prepared = Prepared(config, plugins)
        prepared.warm_up()
        prepared.plan_ahead(boot.preload)
    except BaseException as exc:  # noqa: BLE001 - whatever an import raises is reported to the user
        _give_up(channel, exc)
        return
    if threading.active_count() > 1:
        names = ", ".join(thread.name for thread in threading.enumerate()[1:])
        _log.warning("importing %s started threads (%s); they do not run in workers", boot.preload, names)
    gc.collect()
    gc.freeze()  # so that collections in workers do not copy shared memory
    Zygote(channel, journal, prepared).run()


def _send_declared(channel: socket.socket, found: bytes) -> None:
    """Send the schedules that the user's modules declare to the supervisor, which has not imported them."""
    for start in range(0, len(found), _PART):
        channel.send(encode(Notice("declared", body=found[start : start + _PART])))


def _give_up(channel: socket.socket, exc: BaseException) -> None:
    if isinstance(exc, ModuleFailed):
        text = f"{exc.trace}\n{exc}"
    elif isinstance(exc, ModuleNotFoundError):
        text = f"no module {exc.name!r} on its path: correct `preload`, or start the cluster where it is"
    elif isinstance(exc, QcoreError):
        text = str(exc)
    else:
        text = "".join(traceback.format_exception(exc))
    channel.send(encode(Notice("failed", text=text[-60000:])))


class Zygote:
    """Forks, reaps and signals workers, and does nothing else."""

    def __init__(self, channel: socket.socket, journal: Journal, prepared: Prepared) -> None:
        self._channel = channel
        self._journal = journal
        self._config = prepared.config
        self._prepared = prepared
        self._pid = os.getpid()
        #: pid -> slot of workers that were forked and not yet reaped
        self._slots: dict[int, int] = {}
        #: slot -> the worker that is forked there next, and each time it is replaced
        self._workers: dict[int, Worker] = {}
        #: the next worker of any slot, while workers are being replaced
        self._spare: Spare | None = None
        self._wake, wake = os.pipe()
        os.set_blocking(self._wake, False)
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def run(self) -> None:
        """Serve the supervisor until it closes the channel."""
        # It ends when the channel does, and before that it has to end what the workers have started.
        wake_with_parent()
        self._prepared.runtime.made_reporters.connect(lambda fd: self._send(Notice("ready"), fd))
        while True:
            seconds = None if self._spare is None else self._spare.seconds_left()
            readable, _, _ = select.select([self._channel.fileno(), self._wake], [], [], seconds)
            if self._wake in readable:
                os.read(self._wake, 4096)
            self._reap()
            if self._channel.fileno() in readable:
                if not (data := self._receive()):
                    break
                self._execute(decode_order(data))
            elif not readable:
                self._dismiss_spare()
        for pid in self._slots:
            # Before a worker is reaped its pid cannot be the group of another process.
            (kill_group if self._config.daemonize_workers else kill)(pid)

    def _receive(self) -> bytes:
        try:
            return self._channel.recv(MESSAGE)
        except ConnectionResetError:
            # The supervisor died with notices unread.
            return b""

    def _execute(self, order: Order) -> None:
        pid = next((pid for pid, slot in self._slots.items() if slot == order.slot), 0)
        if order.signal:
            # Only this process reaps, so the pid is still that worker's.
            if pid:
                os.kill(pid, order.signal)
            return
        replaces = order.slot in self._workers
        if not replaces:
            self._make_worker(order.slot)
            self._dismiss_spare()  # it was forked before, without this slot's worker
        spare, self._spare = self._spare, None
        if spare is not None and spare.become(encode(order)):
            pid = spare.pid
        else:
            try:
                pid = self._fork(lambda: order)
            except OSError as exc:
                self._send(Notice("down", order.slot, 0, EX_SOFTWARE, f"cannot fork: {exc}"))
                return
        self._slots[pid] = order.slot
        # This process has not reaped the worker, so the pidfd is that worker's.
        pidfd = pidfd_of(pid)
        self._send(Notice("up", order.slot, pid), pidfd)
        if pidfd is not None:
            os.close(pidfd)
        if replaces:
            self._fork_ahead()

    def _dismiss_spare(self) -> None:
        if self._spare is not None:
            self._spare.dismiss()
            self._spare = None

    def _fork_ahead(self) -> None:
        """Fork the next worker, which waits until one is to be replaced: that one's slot waits less."""
        try:
            spare = Spare()
        except OSError as exc:
            _log.debug("no worker could be forked ahead, there are too many open files: %s", exc)
            return
        try:
            spare.forked(self._fork(lambda: _read_order(spare)))
        except OSError as exc:
            _log.debug("no worker could be forked ahead: %s", exc)
            spare.forked(0)
            spare.dismiss()
            return
        self._spare = spare

    def _fork(self, order: Callable[[], Order | None]) -> int:
        """Fork a process that becomes the worker that `order` says, and ends if it says none."""
        # The signal is blocked until the worker has a handler. It is ignored here, so it would be lost.
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        try:
            pid = os.fork()
            if pid == 0:
                self._become_worker(order)
            return pid
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])

    def _make_worker(self, slot: int) -> None:
        """Make all of a slot's worker that can be made before a fork."""
        worker = self._workers[slot] = Worker(self._prepared, self._journal.page(slot), slot)
        if (backends := self._prepared.backends) is not None:
            worker.assemble(backends)
        gc.freeze()

    def _reap(self) -> None:
        while True:
            try:
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if found is None:
                return
            pid = found.si_pid
            if self._config.daemonize_workers and pid in self._slots:
                # Before the worker is reaped its pid cannot be the group of another process.
                kill_group(pid)
            _, status = os.waitpid(pid, 0)
            slot = self._slots.pop(pid, None)
            if slot is not None:
                self._send(Notice("down", slot, pid, os.waitstatus_to_exitcode(status)))

    def _send(self, notice: Notice, fd: int | None = None) -> None:
        try:
            socket.send_fds(self._channel, [encode(notice)], [] if fd is None else [fd])
        except (BrokenPipeError, ConnectionResetError):
            _log.debug("the supervisor has ended")

    def _become_worker(self, find: Callable[[], Order | None]) -> None:
        """Run as the forked child, and never return."""
        code, slot = EX_SOFTWARE, -1
        try:
            die_with_parent(self._pid)
            forget_finalizers()
            signal.set_wakeup_fd(-1)
            set_handler(signal.SIGCHLD, DEFAULT)
            set_handler(signal.SIGHUP, DEFAULT)
            os.setsid()
            self._channel.close()
            os.close(self._wake)
            offer_to_oom_killer()
            order = find()
            if order is None:
                os._exit(0)
            slot = order.slot
            code = self._workers[slot].main(order.owner, order.cpus)
        except BaseException:  # noqa: BLE001 - the last frame of the process
            _log.critical("worker %d could not continue", slot, exc_info=True)
        finally:
            flush_streams()
            os._exit(code)


def _read_order(spare: Spare) -> Order | None:
    data = spare.await_order()
    return decode_order(data) if data else None
