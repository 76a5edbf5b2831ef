"""Decides how a table of settings becomes a plugin's own type."""

from __future__ import annotations

import logging
import re
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from qcore_settings import shapes
from qcore_settings.rules import (
    EnvText,
    InvalidValue,
    NotATable,
    boolean,
    is_none,
    numeric,
    parsed,
    plain,
    problem_with,
    unquoted,
)
from qcore_text import wording

if TYPE_CHECKING:
    from cattrs import Converter

_log = logging.getLogger("qcore.config")

# cattrs is imported where it is used, because a process that only enqueues does not need it.


class InvalidSection(Exception):
    """A plugin's settings are not valid; `problems` has a sentence for each problem."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__(*problems)


def structure(raw: object, kind: Any, path: str, origin: Callable[[str], str]) -> tuple[Any, Any]:  # noqa: ANN401 - a plugin's type
    """Return the section as the plugin's type, and in its raw form without EnvText.

    Raises:
        InvalidSection: with all problems.

    """
    from cattrs.errors import StructureHandlerNotFoundError  # noqa: PLC0415 - see above

    converter = _converter()
    try:
        section = converter.structure(raw, kind)
        # Text of the environment has no type, so the raw form has the types it was converted to.
        return section, plain(converter.unstructure(section) if _from_environment(raw) else raw)
    except StructureHandlerNotFoundError as error:
        found = [f"{path}: its plugin declares a type that qcore cannot read; {wording.reason(error)}"]
    except Exception as error:  # noqa: BLE001 - validators and converters of a plugin may raise anything
        found = list(_problems(error, raw, path, origin))
    # Raised outside the handler, because the handled error may show a password.
    raise InvalidSection(found)


def unstructured(section: object) -> Any:  # noqa: ANN401 - plain values of any type
    """Return a section in its raw form."""
    return plain(_converter().unstructure(section))


def _from_environment(raw: object) -> bool:
    if isinstance(raw, Mapping):
        return any(_from_environment(inner) for inner in raw.values())
    return isinstance(raw, EnvText)


def _converter() -> Converter:
    """Return a converter that does not convert between types silently."""
    from cattrs import Converter  # noqa: PLC0415 - see above
    from cattrs.cols import is_mapping, is_sequence, list_structure_factory  # noqa: PLC0415 - see above
    from cattrs.gen import make_dict_structure_fn, make_mapping_structure_fn  # noqa: PLC0415 - see above

    converter = Converter(forbid_extra_keys=True)
    factory = converter.register_structure_hook_factory
    factory(lambda kind: kind is Any)(lambda _: lambda value, _: plain(value))
    for kind, read in ((bool, _boolean), (int, _integer), (float, _number), (str, _text), (Path, _path)):
        converter.register_structure_hook(kind, lambda value, _, read=read: read(value))
    converter.register_unstructure_hook(Path, str)
    factory(shapes.is_choice)(lambda kind: lambda value, _: _choice(value, typing.get_args(kind)))
    factory(shapes.is_union)(lambda kind: lambda value, _: _union(converter, value, kind))
    factory(shapes.is_class)(lambda kind: _table(make_dict_structure_fn(kind, converter)))
    factory(is_mapping)(lambda kind: _table(make_mapping_structure_fn(kind, converter)))
    factory(is_sequence)(lambda kind: _list(list_structure_factory(kind, converter)))
    factory(shapes.is_group)(lambda kind: _group(converter, kind))
    return converter


def _boolean(value: object) -> bool:
    found = boolean(value)
    if found is None:
        raise InvalidValue("must be true or false")
    return found


def _integer(value: object) -> int:
    found = numeric(value)
    if found is None or found != int(found):
        raise InvalidValue(f"must be a whole number{unquoted(value)}")
    return int(found)


def _number(value: object) -> float:
    found = numeric(value)
    if found is None:
        raise InvalidValue(f"must be a number{unquoted(value)}")
    return float(found)


def _text(value: object) -> str:
    if not isinstance(value, str | PurePath):
        raise InvalidValue("must be a text")
    return str(value)


def _path(value: object) -> Path:
    return Path(_text(value))


def _table(inner: Callable[..., Any]) -> Callable[..., Any]:
    def read(value: object, kind: Any) -> Any:  # noqa: ANN401 - a plugin's type
        value = parsed(value)
        if not isinstance(value, Mapping):
            raise NotATable("must be a table of settings")
        return inner(value, kind)

    return read


def _list(inner: Callable[..., Any]) -> Callable[..., Any]:
    def read(value: object, kind: Any) -> Any:  # noqa: ANN401 - a plugin's type
        if isinstance(value, EnvText) and not value.lstrip().startswith("["):
            value = [EnvText(part.strip()) for part in value.split(",")]
        value = parsed(value)
        if not isinstance(value, list | tuple):
            raise InvalidValue("must be a list")
        return inner(value, kind)

    return read


def _group(converter: Converter, kind: Any) -> Callable[..., Any]:  # noqa: ANN401 - a plugin's type
    items: Any = types.GenericAlias(list, typing.get_args(kind)[:1])
    return lambda value, _: typing.get_origin(kind)(converter.structure(value, items))


def _choice(value: object, choices: Sequence[object]) -> object:
    for choice in choices:
        if (type(choice), choice) == (type(value), value) or (
            isinstance(value, EnvText) and str(choice) == value
        ):
            return choice
    hint = wording.did_you_mean(value, map(str, choices)) if isinstance(value, str) else ""
    raise InvalidValue(f"must be one of {', '.join(map(repr, choices))}{hint}")


def _union(converter: Converter, value: object, kind: Any) -> Any:  # noqa: ANN401 - a plugin's type
    """Return a value as the first member of a union that accepts it."""
    members = typing.get_args(kind)
    if is_none(value) and type(None) in members:
        return None
    shape = _shape_of(parsed(value))
    fitting = [member for member in members if _shape(member) == shape]
    if len(fitting) == 1 and shape:
        # a problem inside it is reported with its own path
        return converter.structure(value, fitting[0])
    for member in fitting:
        try:
            return converter.structure(value, member)
        except Exception as error:  # noqa: BLE001 - a plugin's type may raise anything
            _log.debug("not %s: %s", member, type(error).__name__)
    said = f"must be {' or '.join(dict.fromkeys(map(_name, members)))}"
    if "table" in map(_shape, members):
        raise NotATable(said)
    raise InvalidValue(said + (unquoted(value) if {int, float} & set(members) else ""))


def _shape_of(value: object) -> str:
    return "table" if isinstance(value, Mapping) else "list" if isinstance(value, list | tuple) else ""


def _shape(kind: Any) -> str:  # noqa: ANN401 - a plugin's type
    """Return "table" or "list" for a type that is read from one, "" for other types."""
    origin = typing.get_origin(kind) or kind
    if shapes.is_class(kind) or typing.is_typeddict(kind) or origin in {dict, Mapping}:
        return "table"
    return "list" if origin in {list, tuple, set, frozenset, Sequence} else ""


def _name(kind: Any) -> str:  # noqa: ANN401 - a plugin's type
    if shape := _shape(kind):
        return f"a {shape}"
    plain_names = {
        str: "a text",
        Path: "a text",
        bool: "true or false",
        int: "a whole number",
        float: "a number",
    }
    return "nothing" if kind is type(None) else plain_names.get(kind, str(kind))


# -- problems, each with its path -----------------------------------------------------------


def _problems(error: BaseException, value: object, path: str, origin: Callable[[str], str]) -> Iterator[str]:
    """Yield a sentence for each leaf of cattrs' tree of errors."""
    from cattrs import errors  # noqa: PLC0415 - see above

    if isinstance(error, errors.ForbiddenExtraKeysError):
        known = shapes.keys(error.cl)
        for extra in sorted(map(str, error.extra_fields)):
            hint = wording.did_you_mean(extra, known) or f"; there are {wording.listed(known)}"
            source = origin(f"{path}.{extra}")
            yield f"{path}.{extra}: unknown key{source and f' from {source}'}{hint}"
    elif isinstance(error, errors.ClassValidationError | errors.IterableValidationError):
        noted, others = error.group_exceptions()
        for inner, note in noted:
            key = note.name if isinstance(note, errors.AttributeValidationNote) else note.index
            step = f".{key}" if isinstance(key, str) else f"[{key}]"
            yield from _problems(inner, _item(value, key), path + step, origin)
        for inner in others:
            yield from _problems(inner, value, path, origin)
    elif isinstance(error, KeyError) and path.endswith(f".{error.args[0]}"):
        yield f"{path}: missing; it has no default"
    elif isinstance(error, InvalidValue):
        yield problem_with(path, value, error, origin(path))
    else:
        yield _plugin_problem(error, value, path, origin)


def _plugin_problem(error: BaseException, value: object, path: str, origin: Callable[[str], str]) -> str:
    """Return the sentence for an error of a plugin's validator or converter."""
    # attrs' validators add more arguments after the text, and write the value into it
    text = str(error.args[0]) if error.args else type(error).__name__
    said = re.match(r"'(\w+)' (must .*?)(?: \(got .*|: .*)?$", text, re.DOTALL)
    if said and isinstance(value, Mapping) and said[1] in value:
        path, value, text = f"{path}.{said[1]}", value[said[1]], said[2]
    return wording.fault(path, wording.shown(value, path), text, origin(path))


def _item(value: object, key: str | int) -> object:
    if isinstance(value, Mapping):
        return value.get(key)
    return value[key] if isinstance(value, Sequence) and isinstance(key, int) and key < len(value) else None
