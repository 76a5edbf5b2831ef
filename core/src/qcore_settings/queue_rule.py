"""Decides which queues a cluster may have."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from qcore_settings.rules import InvalidValue, Rule, numeric, parsed, texts
from qcore_text import wording

_MOST: Final = 1_000_000


def queues(pattern: str, name_rule: str) -> Rule:
    """Return the rule of `queues`.

    Args:
        pattern: of a queue's name.
        name_rule: what it must be, in words.

    """
    shape = re.compile(pattern)
    named = texts(f"each queue {name_rule}", pattern, none=None)

    def read(value: object) -> tuple[str, ...] | dict[str, int] | None:
        value = parsed(value)
        if not isinstance(value, Mapping):
            found: tuple[str, ...] | None = named.read(value)
            if found and len(set(found)) < len(found):
                twice = next(name for name in found if found.count(name) > 1)
                raise InvalidValue(f"must name a queue once; {wording.shown(twice)} is there twice")
            return found
        if not value:
            raise InvalidValue("must have a queue; leave it out for all queues")
        return dict(map(weight, value.items()))

    def weight(item: tuple[object, object]) -> tuple[str, int]:
        name, given = item
        if not isinstance(name, str) or not shape.fullmatch(name):
            raise InvalidValue(f"each queue {name_rule}; {wording.shown(name)} is not one")
        number = numeric(given)
        if number is None or number != int(number) or not 1 <= number <= _MOST:
            raise InvalidValue(
                f"each weight must be a whole number from 1 to {_MOST}; that of {wording.shown(name)} is "
                f"{wording.shown(given)}; leave a queue out that is not to be worked on"
            )
        return name, int(number)

    return Rule("list of texts, or table of whole numbers", read)
