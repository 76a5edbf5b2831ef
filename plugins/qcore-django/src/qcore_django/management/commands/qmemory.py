"""`manage.py qmemory`: shows the memory of the clusters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qcore_django.site_command import SiteCommand, chosen

if TYPE_CHECKING:
    from argparse import ArgumentParser


class Command(SiteCommand):
    """Show the memory of the clusters once."""

    help = "Shows the memory that the clusters use; the package qcore-monitor offers it."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Offer the options of Django-Q."""
        parser.add_argument("--run-once", action="store_true", help="It is always shown once.")
        parser.add_argument("--workers", action="store_true", help="A row for each worker.")

    def handle(self, *_: Any, **options: Any) -> None:
        """Show it."""
        self.run_verb(["memory", *chosen(workers=options["workers"])])
