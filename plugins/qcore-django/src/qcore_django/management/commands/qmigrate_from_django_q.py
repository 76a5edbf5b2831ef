"""`manage.py qmigrate_from_django_q`: moves what Django-Q has in the database of this site."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.conf import settings as site
from django.core.management.base import CommandError
from django.db import DEFAULT_DB_ALIAS, DatabaseError

from qcore.cli.exit_codes import Exit
from qcore.cli.text import counted
from qcore_django import settings
from qcore_django.moving.messages import move_messages, waiting
from qcore_django.moving.results import move_results
from qcore_django.moving.schedules import move_schedules
from qcore_django.shared import app
from qcore_django.site_command import SiteCommand, explained

if TYPE_CHECKING:
    from argparse import ArgumentParser

    from qcore_django.moving.report import Report


class Command(SiteCommand):
    """Move what Django-Q has stored."""

    help = (
        "Moves the schedules of Django-Q to the queue of this site, and with --results and --queue what it"
        " has stored and what still waits. Stop the clusters of Django-Q first. It may be run again."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Offer what is moved, and from where."""
        parser.add_argument("--dry-run", action="store_true", help="Say what would be moved; change nothing.")
        parser.add_argument("--results", action="store_true", help="Move successes and failures too.")
        parser.add_argument("--queue", action="store_true", help="Move what waits in django_q_ormq too.")
        parser.add_argument("--database", help="Alias of the database that has the tables of Django-Q.")
        parser.add_argument("--name", help="The name that Q_CLUSTER had, if it has another now.")

    def handle(self, *_: Any, **options: Any) -> None:
        """Move it.

        Raises:
            SystemExit: with exit code 1, if something could not be moved.

        """
        with explained(), settings.as_main_cluster():
            # What a variable of the shell has selected is not where the site's tasks are.
            app.reread()
            try:
                reports = self._moved(**options)
            except DatabaseError as exc:
                raise CommandError(f"the database refuses: {exc}", returncode=Exit.UNAVAILABLE) from exc
            finally:
                app.reread()
        if any(one.problems for one in reports):
            raise SystemExit(int(Exit.FAILED))

    def _moved(self, *, dry_run: bool, **options: Any) -> list[Report]:
        given = options["database"]
        tables = given or DEFAULT_DB_ALIAS
        queue = given or settings.cluster_table().get("orm") or DEFAULT_DB_ALIAS
        reports = [self._said(move_schedules(tables, dry_run=dry_run), dry_run=dry_run)]
        if options["results"]:
            reports.append(self._said(move_results(tables, dry_run=dry_run), dry_run=dry_run))
        if options["queue"]:
            table = getattr(site, "Q_CLUSTER", None) or {}
            name = options["name"] or table.get("name") or settings.DEFAULT
            own = options["name"] or table.get("cluster_name") or name
            reports.append(
                self._said(move_messages(queue, name=name, own=own, dry_run=dry_run), dry_run=dry_run)
            )
        elif left := waiting(queue):
            self.stdout.write(
                f"queue: {counted(left, 'message')} in django_q_ormq; move with --queue, or let a cluster of"
                " Django-Q finish"
            )
        return reports

    def _said(self, report: Report, *, dry_run: bool) -> Report:
        for line in report.lines(dry_run=dry_run):
            self.stdout.write(line)
        return report
