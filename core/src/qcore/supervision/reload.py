"""How one zygote takes over from another, and which the supervisor hears."""

from __future__ import annotations

import logging
import os
import selectors
from functools import partial
from typing import TYPE_CHECKING

from qcore.supervision import zygote
from qcore.supervision.zygote_link import ZygoteLink, can_fork

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    from qcore.journal.memory import Journal
    from qcore.runtime import Runtime
    from qcore.supervision.pool import Pool
    from qcore.supervision.protocol import Boot
    from qcore.supervision.slot import WorkerExit

_log = logging.getLogger("qcore.reload")

_GO_ON = "the workers go on with the code as it was"


def first_zygote(
    made: ZygoteLink | None, boot: Boot, journal: Journal, runtime: Runtime, selector: selectors.BaseSelector
) -> ZygoteLink:
    """Return the zygote that a cluster begins with: `made` has imported the user's module already."""
    if made is not None:
        made.hand_over(boot, journal)
        return made
    # Only one thread has run yet, so this process can fork. Later there are threads, and no fork.
    if not can_fork():
        return ZygoteLink.start(boot, journal)

    def become(channel: socket.socket) -> None:
        # Without the files that only the supervisor uses.
        for key in list(selector.get_map().values()):
            os.close(key.fd)
        selector.close()
        zygote.serve(channel, journal, boot, runtime.config, runtime.plugins)

    return ZygoteLink.fork(boot.parent, become)


class Reload:
    """Replaces the zygote by one that has imported the user's modules as they are now."""

    def __init__(
        self,
        pool: Pool,
        selector: selectors.BaseSelector,
        handle: Callable[[Sequence[WorkerExit]], None],
        on_replaced: Callable[[bytes, bytes], None],
    ) -> None:
        """Listen to the zygotes of a pool.

        Args:
            pool: the pool.
            selector: what the supervisor waits for.
            handle: called with the workers that have ended.
            on_replaced: called with the schedules that were declared before, and those that are now.

        """
        self._pool = pool
        self._selector = selector
        self._handle = handle
        self._on_replaced = on_replaced
        #: a zygote that still imports
        self._next: ZygoteLink | None = None
        self._heard: list[ZygoteLink] = []
        self.listen()

    def begin(self, before: Callable[[], None]) -> None:
        """Start a zygote, which takes over once it has imported all; `before` is called before it starts."""
        self.cancel()
        before()
        self._next = self._pool.start_zygote()
        self.listen()

    def cancel(self) -> None:
        """End a zygote that still imports."""
        link, self._next = self._next, None
        if link is not None:
            self.listen()
            link.close()

    def check(self) -> None:
        """Log now and then that an import takes long."""
        if self._next is not None:
            self._next.log_delay(_GO_ON)

    def listen(self) -> None:
        """Listen to the zygotes that there are, and no longer to those that have ended."""
        self._pool.release_retired()
        there = [*self._all(), *([self._next] if self._next else [])]
        for link in [one for one in self._heard if one not in there]:
            self._selector.unregister(link.channel)
        for link in [one for one in there if one not in self._heard]:
            self._selector.register(link.channel, selectors.EVENT_READ, partial(self._receive, link))
        self._heard = there

    def _all(self) -> list[ZygoteLink]:
        return [self._pool.zygote, *self._pool.retired]

    def _receive(self, link: ZygoteLink) -> None:
        if link is self._next:
            self._follow(link)
        elif link in self._all():
            # Else it has ended since the supervisor began to look who can be heard.
            self._handle(self._pool.receive(link))

    def _follow(self, link: ZygoteLink) -> None:
        """Handle a notice of the zygote that imports."""
        notice, fd = link.receive()
        if notice is None:
            self.cancel()
            _log.error("the process that imports your changed modules has died; %s", _GO_ON)
        elif notice.what == "failed":
            self.cancel()
            _log.error(
                "your changed modules cannot be imported; %s until that is mended:\n%s", _GO_ON, notice.text
            )
        elif notice.what == "ready":
            self._next = None
            self._pool.on_ready(fd)
            if self._pool.stopping:
                self.listen()
                link.close()
                return
            before = self._pool.zygote.declared
            self._pool.hand_over(link)
            self.listen()
            _log.info("your changed modules are imported; each worker is replaced once its task has ended")
            self._on_replaced(before, link.declared)
