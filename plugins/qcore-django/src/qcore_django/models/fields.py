"""How columns of qcore's tables are read: ids, times, states."""

# ruff: noqa: ANN401 - Django calls these methods with values of any type

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar, Final

from django.conf import settings
from django.core import exceptions
from django.db import models
from django.db.models.lookups import Lookup
from django.utils import timezone

from qcore.model import State

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

#: characters of a task's id
ID: Final = 32
_HEX: Final = frozenset("0123456789abcdef")
#: bytes of an id that are its time, milliseconds since 1970
_TIME: Final = 6
_TRUE: Final = frozenset({True, "True", "true", "1"})


def is_id(text: object) -> bool:
    """Return whether a text can be the id of a task."""
    return isinstance(text, str) and len(text) == ID and not set(text.lower()) - _HEX


def moment(seconds: float) -> datetime:
    """Return a time as Django's models do: aware, or in the site's zone without saying so."""
    made = datetime.fromtimestamp(seconds, UTC)
    return made if settings.USE_TZ else timezone.make_naive(made, timezone.get_default_timezone())


def seconds_of(value: datetime) -> float:
    """Return a time of Django's as seconds since 1970."""
    aware = timezone.make_aware(value, timezone.get_default_timezone()) if timezone.is_naive(value) else value
    return aware.timestamp()


class TaskId(models.Field):
    """The id of a task: 16 bytes in a table, 32 hexadecimal digits for everybody else."""

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> str:
        """Return the digits."""
        del expression, connection
        return bytes(value).hex()

    def to_python(self, value: Any) -> Any:
        """Return the digits, of a UUID too."""
        return value if value is None else str(getattr(value, "hex", value)).lower()

    def get_prep_value(self, value: Any) -> Any:
        """Return the digits."""
        return self.to_python(super().get_prep_value(value))

    def get_db_prep_value(self, value: Any, connection: Any, prepared: bool = False) -> Any:  # noqa: FBT001, FBT002 - Django's
        """Return the bytes; a text that is not an id has none, and no row is found by it."""
        value = value if prepared else self.get_prep_value(value)
        if value is None:
            return None
        return connection.Database.Binary(bytes.fromhex(value) if is_id(value) else b"")


class LetterId(models.Field):
    """What a broker calls a dead letter: a number in a table, and a text for everybody else."""

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> str:
        """Return the text."""
        del expression, connection
        return str(value)

    def get_prep_value(self, value: Any) -> Any:
        """Return the text."""
        value = super().get_prep_value(value)
        return None if value is None else str(value)

    def get_db_prep_value(self, value: Any, connection: Any, prepared: bool = False) -> Any:  # noqa: FBT001, FBT002 - Django's
        """Return the number; 0, which no letter has, for another text."""
        del connection
        value = value if prepared else self.get_prep_value(value)
        return int(value) if value and value.isascii() and value.isdigit() and len(value) < ID else 0


class Moment(models.DateTimeField):
    """A time: seconds since 1970 in a table."""

    def get_internal_type(self) -> str:
        """Return what the table has."""
        return "FloatField"

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> datetime | None:
        """Return a time as Django's models do."""
        del expression, connection
        return None if value is None else moment(value)

    def get_db_prep_value(self, value: Any, connection: Any, prepared: bool = False) -> Any:  # noqa: FBT001, FBT002 - Django's
        """Return seconds."""
        del connection
        value = value if prepared else self.get_prep_value(value)
        return seconds_of(value) if isinstance(value, datetime) else value

    def get_transform(self, lookup_name: str) -> Any:
        """Offer no parts such as `year`: databases cannot take them out of a number."""
        del lookup_name


class EnqueuedAt(Moment):
    """The time in the first bytes of an id, which are milliseconds since 1970."""

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> datetime | None:
        """Return a time as Django's models do."""
        del expression, connection
        return moment(int.from_bytes(bytes(value)[:_TIME], "big") / 1000)

    def get_lookup(self, lookup_name: str) -> Any:
        """Return how ids are compared with a time, None for what they cannot be compared by."""
        return _BY_TIME.get(lookup_name)


def _up(value: datetime) -> int:
    return math.ceil(round(seconds_of(value) * 1000, 3))


def _beyond(value: datetime) -> int:
    return math.floor(round(seconds_of(value) * 1000, 3)) + 1


class _ByTime(Lookup):
    """Compares an id with the first ids of milliseconds."""

    #: operators, each with what makes milliseconds since 1970 of a time
    BOUNDS: ClassVar[Sequence[tuple[str, Callable[[datetime], int]]]] = ()

    def times(self) -> Sequence[datetime]:
        """Return the time for each of the bounds."""
        return [self.rhs for _ in self.BOUNDS]

    def as_sql(self, compiler: Any, connection: Any) -> Any:
        """Return the comparison."""
        left, params = self.process_lhs(compiler, connection)
        texts, values = [], []
        for (operator, milliseconds), time in zip(self.BOUNDS, self.times(), strict=True):
            texts.append(f"{left} {operator} %s")
            first = max(0, milliseconds(time)).to_bytes(_TIME, "big") + bytes(ID // 2 - _TIME)
            values += [*params, connection.Database.Binary(first)]
        return f"({' AND '.join(texts)})", values


class _From(_ByTime):
    lookup_name = "gte"
    BOUNDS = ((">=", _up),)


class _After(_ByTime):
    lookup_name = "gt"
    BOUNDS = ((">=", _beyond),)


class _Before(_ByTime):
    lookup_name = "lt"
    BOUNDS = (("<", _up),)


class _Until(_ByTime):
    lookup_name = "lte"
    BOUNDS = (("<", _beyond),)


class _At(_ByTime):
    lookup_name = "exact"
    BOUNDS = ((">=", _up), ("<", _beyond))


class _Between(_ByTime):
    lookup_name = "range"
    prepare_rhs = False
    BOUNDS = ((">=", _up), ("<", _beyond))

    def times(self) -> Sequence[datetime]:
        """Return the first and the last."""
        return [self.lhs.output_field.to_python(one) for one in self.rhs]


_BY_TIME: Final = {one.lookup_name: one for one in (_From, _After, _Before, _Until, _At, _Between)}


class Succeeded(models.Field):
    """Whether a task has returned; a table has the state of its result."""

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> bool:
        """Return whether it is that of a success."""
        del expression, connection
        return bool(value == State.SUCCESS)

    def to_python(self, value: Any) -> Any:
        """Return a boolean."""
        if value is None or isinstance(value, bool):
            return value
        if value in (0, 1, "0", "1", "True", "False", "true", "false"):
            return value in _TRUE
        raise exceptions.ValidationError(f"{value!r} is neither True nor False", code="invalid")

    def get_prep_value(self, value: Any) -> Any:
        """Return a boolean."""
        return self.to_python(super().get_prep_value(value))

    def get_db_prep_value(self, value: Any, connection: Any, prepared: bool = False) -> Any:  # noqa: FBT001, FBT002 - Django's
        """Return the state of results that are final."""
        del connection
        value = value if prepared else self.get_prep_value(value)
        return None if value is None else int(State.SUCCESS if value else State.FAILED)
