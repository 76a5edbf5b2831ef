"""Decides what a stored task of Django-Q becomes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from qcore.errors import EncodeError
from qcore.messages.envelope import Opened
from qcore.messages.head import Head
from qcore.messages.saving import save_each
from qcore.model import Kind, Outcome, State
from qcore.tasks.arguments import write_arguments
from qcore.tasks.task import id_of
from qcore_django.models.fields import seconds_of
from qcore_django.moving import pickled
from qcore_django.moving.report import Report
from qcore_django.moving.tables import OldTask, Table, title_of
from qcore_django.shared import app

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qcore.model import StoredResult
    from qcore_django.moving.tables import Row

#: results that are stored at once
_BATCH: Final = 500
#: characters of a value that is stored as a text
_TEXT: Final = 10_000
#: what begins the traceback in the text that Django-Q made of an error
_TRACEBACK: Final = " : Traceback "
_BETWEEN: Final = " : "


def move_results(alias: str, *, dry_run: bool) -> Report:
    """Store the results that a database has under their old ids; the old rows stay.

    Of the successes there are as many as `save_limit` keeps, the newest.
    """
    report, table = Report("results"), Table(OldTask, alias)
    batch: list[StoredResult] = []
    for row in _rows(table, report):
        try:
            batch.append(_stored(row, report))
        except (pickled.UnreadableError, ValueError) as exc:
            report.problems.append(f"task {title_of(row)}: {exc}")
            continue
        report.moved += 1
        if len(batch) == _BATCH:
            _save(batch, dry_run=dry_run)
    _save(batch, dry_run=dry_run)
    return report


def _rows(table: Table, report: Report) -> Iterator[Row]:
    yield from table.newest(None, success=False)
    config = app.config
    limit = None if config.save_limit_per or config.save_limit == 0 else max(config.save_limit, 0)
    left = table.count(success=True) - limit if limit is not None else 0
    if left > 0:
        report.notes.append(
            f"save_limit={config.save_limit} keeps no more, so the {left} oldest successes stay"
        )
    yield from table.newest(limit, success=True)


def _save(batch: list[StoredResult], *, dry_run: bool) -> None:
    if batch and not dry_run:
        with app.runtime.stores.connection(create=True) as store:
            save_each(store, batch, app.runtime.results)
    batch.clear()


def _stored(row: Row, report: Report) -> StoredResult:
    key, results = id_of(row["id"]), app.runtime.results
    outcome = _outcome(row, report)
    outcome, value = results.dump(outcome)
    state = State.SUCCESS if outcome.kind is Kind.SUCCESS else State.FAILED
    created = int(1000 * seconds_of(row["started"]))
    return results.seal(
        key,
        Head(row["func"], row["name"], row["group"]),
        state,
        outcome,
        value,
        created=created,
        attempts=max(row.get("attempt_count") or 1, 1),
        crashes=0,
        message=_message(key, row, created, report),
    )


def _outcome(row: Row, report: Report) -> Outcome:
    started, finished = seconds_of(row["started"]), seconds_of(row["stopped"])
    found = pickled.column(row["result"])
    if row["success"]:
        value = _storable(found, f"the result of task {title_of(row)}", report)
        return Outcome(Kind.SUCCESS, value, started=started, finished=finished)
    error, mark, traceback = str(found).partition(_TRACEBACK)
    traceback = mark.removeprefix(_BETWEEN) + traceback
    return Outcome(Kind.FAILURE, error=error, traceback=traceback, started=started, finished=finished)


def _storable(value: object, what: str, report: Report) -> object:
    """Return a value, or its text if the serializer refuses it."""
    try:
        app.runtime.serializer.dumps(value)
    except EncodeError as exc:
        report.notes.append(f"{what} becomes a text: {exc}")
        return repr(value)[:_TEXT]
    return value


def _message(key: bytes, row: Row, created: int, report: Report) -> Opened | None:
    """Return what keeps the arguments beside the result; None if they cannot be written."""
    serializer = app.runtime.serializer
    try:
        args: Any = pickled.column(row["args"]) or ()
        kwargs: Any = pickled.column(row["kwargs"]) or {}
        data = write_arguments(args, kwargs, serializer)
    except (pickled.UnreadableError, EncodeError) as exc:
        report.notes.append(f"the arguments of task {title_of(row)} are not kept: {exc}")
        return None
    return Opened(key, b"", data, serializer.code, bool(kwargs), created)
