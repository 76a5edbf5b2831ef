"""Decides which database and which queues the models are about."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db.models import Q

from qcore_django import settings
from qcore_django.queue_names import queue_name
from qcore_django.shared import app

if TYPE_CHECKING:
    from qcore.runtime import Runtime


def results_alias() -> str | None:
    """Return the alias of the database with the results, None if they are in another store."""
    return _alias() if app.runtime.result_store == "orm" else None


def queue_alias() -> str | None:
    """Return the alias of the database with the messages, None if another broker has them."""
    config = app.config
    return _alias() if config.broker == "orm" and not config.broker_class else None


def _alias() -> str:
    return str(app.config.settings().section("orm"))


def queues() -> list[str]:
    """Return the names of the site's queues: that of this process, its main one, those of `ALT_CLUSTERS`."""
    others = settings.cluster_table().get("ALT_CLUSTERS") or {}
    names = [settings.main_cluster(), *others]
    return list(dict.fromkeys([app.config.name, *(queue_name(str(one)) for one in names)]))


def of_queues(column: str) -> Q:
    """Return the condition that a row is of one of the site's queues."""
    names = queues()
    # An index is used in its order for one queue, and not for several.
    return Q((column, names[0])) if len(names) == 1 else Q((f"{column}__in", names))


def runtime_of(queue: str) -> Runtime:
    """Return what reads and writes what is of a queue."""
    return app.runtime.of(queue)
