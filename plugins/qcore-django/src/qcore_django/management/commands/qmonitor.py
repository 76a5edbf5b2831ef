"""`manage.py qmonitor`: watches queue and clusters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qcore_django.site_command import SiteCommand, chosen

if TYPE_CHECKING:
    from argparse import ArgumentParser


class Command(SiteCommand):
    """Show queue and clusters on a full screen."""

    help = "Watches queue and clusters on a full screen; the package qcore-monitor offers it."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Offer the option of Django-Q."""
        parser.add_argument("--run-once", action="store_true", help="Print plain lines once.")

    def handle(self, *_: Any, **options: Any) -> None:
        """Show it."""
        self.run_verb(["monitor", *chosen(once=options["run_once"])])
