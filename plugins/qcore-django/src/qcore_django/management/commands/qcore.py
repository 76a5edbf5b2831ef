"""`manage.py qcore`: any command of qcore, for this site."""

from __future__ import annotations

from argparse import REMAINDER
from typing import TYPE_CHECKING, Any

from qcore_django.site_command import SiteCommand

if TYPE_CHECKING:
    from argparse import ArgumentParser


class Command(SiteCommand):
    """Pass everything on."""

    help = "Runs a command of qcore for the queue of this site: manage.py qcore doctor."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take whatever follows."""
        parser.add_argument("arguments", nargs=REMAINDER, help="As for qcore; none lists the commands.")

    def handle(self, *_: Any, **options: Any) -> None:
        """Run it."""
        self.run_verb(options["arguments"] or ["--help"])
