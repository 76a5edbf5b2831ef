"""Decides which values messages show, hide and suggest."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

#: shown instead of a secret
HIDDEN = "***"
#: a setting whose name contains one of these words is never shown
_SECRET_NAME = re.compile(r"passw|secret|token|key|auth|dsn|credential", re.IGNORECASE)
#: how many, and how long: what ends so is none, whatever it is about
_NUMBERS = ("_limit", "_ttl")
#: user and password of a URL; greedy, because a password may contain `@`
_USERINFO = re.compile(r"(?<=://)[^/\s]*@")
#: most characters of a value that a message shows
_MAX_SHOWN = 60
#: characters; shorter secrets are not hidden in messages, because common words would be hidden as well
_MIN_SECRET = 4
#: what systems and drivers say where nothing listens at an address, or no host has it
_NOBODY = re.compile(
    r"connection refused|no route to host|network is unreachable|name or service not known|name resolution"
    r"|no address associated|failed to resolve|could not translate host|could not connect to the endpoint"
    r"|no such file",
    re.IGNORECASE,
)


class Typed:
    """How a command of qcore is typed here, for messages: `qcore schedule list`."""

    def __init__(self) -> None:
        self._program = "qcore"
        self._own: Mapping[str, str] = {}

    def through(self, program: str, own: Mapping[str, str]) -> None:
        """Have commands typed behind another program from now on, in this process.

        Args:
            program: such as `manage.py qcore`.
            own: command of qcore -> what is typed instead.

        """
        self._program, self._own = program, own

    def __call__(self, command: str) -> str:
        """Return what is typed for a command."""
        if self._program != "qcore":
            # The App is known there.
            command = command.removesuffix(" MODULE:APP")
        return self._own.get(command) or f"{self._program} {command}"


#: that of this process
typed = Typed()


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """Return `; did you mean 'x'?` for the choice nearest to `name`, "" if none is near."""
    import difflib  # noqa: PLC0415 - only for a message

    near = difflib.get_close_matches(name, sorted(choices), n=1, cutoff=0.66)
    return f"; did you mean {near[0]!r}?" if near else ""


def listed(names: Iterable[str]) -> str:
    """Return names sorted and separated by commas, or `none`."""
    return ", ".join(sorted(names)) or "none"


def counted(count: float, noun: str, plural: str = "") -> str:
    """Return a number and what it counts, such as `1 task`, `2,000 tasks` or `0.5 seconds`."""
    number = f"{count:,}" if isinstance(count, int) else f"{count:g}"
    return f"{number} {noun if count == 1 else plural or f'{noun}s'}"


def is_secret(name: str) -> bool:
    """Return whether the value of a setting with this name is hidden."""
    return bool(_SECRET_NAME.search(name)) and not name.endswith(_NUMBERS)


def shown(value: object, path: str = "") -> str:
    """Return the value of the setting at `path` as a message may show it."""
    if is_secret(path) and value is not None and not isinstance(value, bool):
        return HIDDEN
    if isinstance(value, Mapping):
        return "a table" if value else "an empty table"
    if isinstance(value, list | tuple):
        return "a list" if value else "an empty list"
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 200:
        return "a very large number"
    if not isinstance(value, str | int | float | None):
        return f"a value of type {type(value).__name__}"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    # str.__str__ returns the text of a subclass, whose repr may be different
    text = repr(_USERINFO.sub(f"{HIDDEN}@", str.__str__(value)) if isinstance(value, str) else value)
    return text if len(text) <= _MAX_SHOWN else f"{text[: _MAX_SHOWN - 4]}...{text[-1]}"


def described(value: object) -> str:
    """Return the type of `value` in words, for a value that may be a secret."""
    if isinstance(value, str):
        return "a text"
    return "a number" if isinstance(value, int | float) and not isinstance(value, bool) else shown(value)


def redacted(value: Any, name: str = "") -> Any:  # noqa: ANN401 - a section may contain any value
    """Return a copy of `value`, the setting `name`, without its secrets."""
    if value is None or isinstance(value, bool):
        return value
    if is_secret(name):
        return HIDDEN
    if isinstance(value, Mapping):
        return {key: redacted(inner, str(key)) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [redacted(inner) for inner in value]
    return _USERINFO.sub(f"{HIDDEN}@", value) if isinstance(value, str) else value


def secrets_of(value: object, name: str = "") -> set[str]:
    """Return every text in `value`, the setting `name`, that must not be shown."""
    if isinstance(value, Mapping):
        return {text for key, inner in value.items() for text in secrets_of(inner, f"{name}.{key}")}
    if isinstance(value, list | tuple):
        return {text for inner in value for text in secrets_of(inner, name)}
    if not isinstance(value, str):
        return set()
    if is_secret(name):
        # the path of a key file is not a secret, and the user has to see it
        return set() if value.startswith("file:") else {str(value)}
    return {part[:-1] for part in _USERINFO.findall(value)}


def without(text: str, secrets: Iterable[str]) -> str:
    """Return `text` with every secret in it hidden, in its repr form as well."""
    forms = {form for secret in secrets for form in (secret, repr(secret)[1:-1])}
    for form in sorted(forms, key=len, reverse=True):
        if len(form) >= _MIN_SECRET:
            text = text.replace(form, HIDDEN)
    return text


def fault(path: str, value: str, what: str, origin: str = "") -> str:
    """Return the sentence for a bad value: setting, value as `shown`, what is wrong and what to do."""
    source = f" from {origin}" if origin else ""
    return f"{path}: got {value}{source}; {what}"


def if_nobody_listens(text: str, setting: str) -> str:
    """Return the end of a message: what to do if the text of an error says that nothing listens."""
    return f"; start it, or correct {setting}" if _NOBODY.search(text) else ""


def reason(error: BaseException) -> str:
    """Return `Type: text` on one line, whatever the error's own methods raise."""
    try:
        text = " ".join(str.__str__(str(error)).split())
    except Exception:  # noqa: BLE001 - the error is a plugin's or a user's; its type is shown
        text = "(its text cannot be shown)"
    name = type(error).__name__
    # without lone surrogates, because the text may become part of a message
    return (f"{name}: {text}" if text else name).encode("utf-8", "backslashreplace").decode()
