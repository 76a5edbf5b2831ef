"""Which clusters another name leads to, and which names cannot be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qcore.errors import NotSupported, ScheduleError
from qcore.settings import options as settings
from qcore_settings.rules import InvalidValue

if TYPE_CHECKING:
    from qcore.runtime import Runtime


def destination(runtime: Runtime, cluster: str) -> Runtime:
    """Return the runtime of the clusters that run tasks; an empty name is this one.

    Raises:
        NotSupported: those clusters could not be distinguished from these.
        ScheduleError: the name is not valid.

    """
    if not cluster or cluster == runtime.config.name:
        return runtime
    try:
        settings.every()["name"].read(cluster)
    except InvalidValue as exc:
        msg = f"cluster={cluster!r}: the name of a cluster {exc}"
        raise ScheduleError(msg) from exc
    config = runtime.config
    file = config.queue_file(cluster)
    if file is not None and file == config.queue_file(config.name):
        msg = (
            f"cluster={cluster!r}: a file holds one queue, and the settings of {config.broker!r} name one "
            f"file ({file}); leave the path out, so that each queue has a file of its own, or use a server"
        )
        raise NotSupported(msg)
    return runtime.of(cluster)
