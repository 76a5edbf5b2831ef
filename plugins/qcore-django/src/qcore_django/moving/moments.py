"""Reads the times of a database."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.utils import timezone

if TYPE_CHECKING:
    from datetime import datetime


def seconds(moment: datetime) -> float:
    """Return epoch seconds; a time without a zone, on a site without USE_TZ, is of the site's."""
    aware = timezone.make_aware(moment) if timezone.is_naive(moment) else moment
    return aware.timestamp()
