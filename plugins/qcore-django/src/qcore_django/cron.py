"""Translates cron expressions of Django-Q."""

from __future__ import annotations

from typing import Final

#: fields of an expression with seconds
_WITH_SECONDS: Final = 6


def cron_of(expression: str) -> str:
    """Return an expression as qcore writes it: of six fields Django-Q has the seconds last, qcore first."""
    fields = expression.split()
    if len(fields) != _WITH_SECONDS:
        return expression
    return " ".join([fields[-1], *fields[:-1]])


def cron_for_django_q(expression: str) -> str:
    """Return an expression of qcore as Django-Q writes it."""
    fields = expression.split()
    if len(fields) != _WITH_SECONDS:
        return expression
    return " ".join([*fields[1:], fields[0]])
