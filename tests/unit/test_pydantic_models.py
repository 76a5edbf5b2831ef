"""Models of pydantic travel as the type that a parameter or a return value is annotated with."""

from __future__ import annotations

import datetime as dt
import enum
import pathlib
import subprocess
import sys
import uuid
from typing import Any, TypedDict

import pydantic
import pytest

from qcore.errors import EncodeError
from qcore_values.annotations import convert_arguments, declared_data, declared_result, restored
from qcore_values.msgpack_serializer import MsgpackSerializer

SERIALIZER = MsgpackSerializer()


class Colour(enum.Enum):
    """A field's type."""

    RED = "red"


class Address(pydantic.BaseModel):
    """A model in a model."""

    street: str
    since: dt.datetime


class Order(pydantic.BaseModel):
    """Has an alias, defaults, and a default that is made anew."""

    number: int
    buyer: str = pydantic.Field(default="nobody", alias="buyerName")
    address: Address | None = None
    colours: list[Colour] = pydantic.Field(default_factory=list)
    file: pathlib.Path | None = None
    token: uuid.UUID = pydantic.Field(default_factory=uuid.uuid4)


class Strict(pydantic.BaseModel):
    """Converts nothing by itself."""

    model_config = {"strict": True}

    colour: Colour
    sizes: tuple[int, ...] = (1,)


class Open(pydantic.BaseModel):
    """Takes further fields."""

    model_config = {"extra": "allow"}

    number: int = 1


class Numbers(pydantic.RootModel[list[int]]):
    """Is its one value."""


class Derived(pydantic.BaseModel):
    """Has a default that is made of its other fields."""

    number: int
    double: int = pydantic.Field(default_factory=lambda data: 2 * data["number"])


class Secretive(pydantic.BaseModel):
    """Has what no field says."""

    number: int = 1
    _seen: int = pydantic.PrivateAttr(default=0)


class Cart(TypedDict):
    """A dict that has a model."""

    order: Order


def take(  # noqa: PLR0917 - one for each type
    order: Order | None = None,
    orders: list[Order] | None = None,
    strict: Strict | None = None,
    more: Open | None = None,
    numbers: Numbers | None = None,
    secretive: Secretive | None = None,
    derived: Derived | None = None,
    cart: Cart | None = None,
) -> Order:
    """Take models, and return one."""
    raise NotImplementedError


FULL = Order(
    number=2,
    buyerName="Ann",
    address=Address(street="High Street", since=dt.datetime(2026, 1, 1, tzinfo=dt.UTC)),
    colours=[Colour.RED],
    file=pathlib.Path("/tmp/a"),
)
MODELS: list[dict[str, Any]] = [
    {"order": Order(number=1)},
    {"order": FULL},
    {"orders": [FULL, Order(number=1)]},
    {"strict": Strict(colour=Colour.RED, sizes=(1, 2))},
    {"more": Open.model_validate({"number": 2, "further": "text"})},
    {"numbers": Numbers([1, 2])},
    {"secretive": Secretive(number=3)},
    {"derived": Derived(number=3)},
    {"cart": {"order": FULL}},
]


def sent(value: object) -> Any:
    """Return a value as a worker decodes it."""
    return SERIALIZER.loads(SERIALIZER.dumps(value))


@pytest.mark.parametrize("given", MODELS, ids=lambda given: next(iter(given)))
def test_an_argument_arrives_as_an_equal_model(given: dict[str, Any]) -> None:
    """Down to its fields, their types, and which of them were set."""
    convert = convert_arguments(take)
    assert convert

    _, arrived = convert((), sent(declared_data(take, (), given)[1]))

    assert arrived == given
    for name, value in given.items():
        assert type(arrived[name]) is type(value)


def test_what_was_not_set_is_not_set_there() -> None:
    """A change of some fields stays a change of these."""
    convert = convert_arguments(take)
    assert convert

    _, arrived = convert((), sent(declared_data(take, (), {"more": Open()})[1]))

    assert arrived["more"].model_fields_set == set()


def test_a_result_is_a_model_where_it_is_read() -> None:
    """As the annotation of the function says."""
    assert restored(take, sent(declared_result(take, FULL))) == FULL


def test_what_no_field_has_is_refused() -> None:
    """A private attribute would be lost."""
    model = Secretive()
    model._seen = 5

    with pytest.raises(EncodeError, match="Secretive, a class with fields, would arrive as a dict"):
        sent(declared_data(take, (), {"secretive": model})[1])


def test_pydantic_is_not_imported_for_others() -> None:
    """Whoever has no models does not pay for them."""
    program = (
        "import sys, qcore, qcore_values.annotations; qcore_values.annotations.declared_data(len, (), {});"
    )
    subprocess.run([sys.executable, "-c", f"{program} assert 'pydantic' not in sys.modules"], check=True)
