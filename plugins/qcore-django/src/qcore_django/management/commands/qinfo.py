"""`manage.py qinfo`: shows the queue and its clusters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qcore_django.site_command import SiteCommand, chosen

if TYPE_CHECKING:
    from argparse import ArgumentParser


class Command(SiteCommand):
    """Show broker, queue, results and clusters."""

    help = "Shows broker, queue, results and clusters."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Offer the options of Django-Q."""
        parser.add_argument("--config", action="store_true", help="Show every setting, secrets hidden.")
        parser.add_argument("--ids", action="store_true", help="Print the ids of the clusters, one a line.")

    def handle(self, *_: Any, **options: Any) -> None:
        """Show it."""
        self.run_verb(["info", *chosen(config=options["config"], ids=options["ids"])])
