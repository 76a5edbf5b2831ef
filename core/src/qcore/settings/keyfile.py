"""Secret keys: which are refused, and files that hold them."""

from __future__ import annotations

import logging
import os
import re
import secrets
from pathlib import Path
from typing import Final

from qcore.settings.rules import Rule, Wrong, is_none, parsed

_log = logging.getLogger("qcore.config")

#: a key of fewer characters can be searched for
SHORTEST = 16
#: a key of fewer characters is warned of
RECOMMENDED = 32
#: begins the name of a file that holds keys, one a line
FILE = "file:"
#: nothing but the words of which templates and tutorials make the text that stands for the key
_PLACEHOLDER: Final = re.compile(
    r"(?:a|change|default|example|here|insert|is|key|me|my|password|placeholder|please|put|replace|secret"
    r"|some|super|the|this|top|very|your)+"
)
_MAKE_ONE: Final = "make one with 'qcore keys new'"


def rule() -> Rule:
    """Make the rule of `secret_key`; the keys are kept as a tuple."""

    def read(value: object) -> tuple[str, ...]:
        if is_none(value):
            return ()
        value = parsed(value)
        keys = [value] if isinstance(value, str) else value
        if not isinstance(keys, list | tuple) or not keys or not all(isinstance(key, str) for key in keys):
            raise Wrong(f"must be a text or a list of texts, the first signs, all verify; {_MAKE_ONE}")
        for place, key in enumerate(keys):
            if why := complaint(key):
                raise Wrong(f"key {place + 1} of {len(keys)}: {why}" if len(keys) > 1 else why)
        return tuple(str(key) for key in keys)

    return Rule("text or list of texts", read)


def complaint(key: str) -> str:
    """Say why a key cannot be used, or nothing."""
    if key.startswith(FILE):
        return "" if key.removeprefix(FILE).strip() else "it names no file; write 'file:PATH'"
    if any("\ud800" <= char <= "\udfff" for char in key):
        return f"it holds characters that cannot be encoded; {_MAKE_ONE}"
    if _PLACEHOLDER.fullmatch(re.sub(r"[^a-z]", "", key.lower())):
        return f"it is a placeholder that everybody knows; {_MAKE_ONE}"
    if len(key) < SHORTEST:
        return f"it has {len(key)} characters, {SHORTEST} are needed and {RECOMMENDED} better; {_MAKE_ONE}"
    return ""


def new() -> str:
    """Return a fresh random key."""
    return secrets.token_urlsafe(48)


def resolved(keys: tuple[str, ...]) -> tuple[str, ...]:
    """Return keys with those that stand in files read.

    Raises:
        Wrong: a file cannot be read or holds no usable key.

    """
    found: list[str] = []
    for key in keys:
        found += read_file(Path(key.removeprefix(FILE)).expanduser()) if key.startswith(FILE) else (key,)
    for key in found:
        if len(key) < RECOMMENDED:
            _log.warning("secret_key has %d characters, %d or more are recommended", len(key), RECOMMENDED)
    return tuple(found)


def read_file(path: Path) -> tuple[str, ...]:
    """Return the keys in a file, one a line.

    Raises:
        Wrong: it cannot be read or holds no usable key.

    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text"
        raise Wrong(
            f"the key file {str(path)!r} cannot be read ({why}); make one with 'qcore keys new'"
        ) from None
    keys = [line.strip() for line in lines if line.strip()]
    if not keys:
        raise Wrong(
            f"the key file {str(path)!r} is empty; remove it to have a new key made, or put yours back"
        )
    for key in keys:
        if why := "it leads to another file; put the key there" if key.startswith(FILE) else complaint(key):
            raise Wrong(f"the key in the file {str(path)!r} cannot be used: {why}")
    return tuple(keys)


def read_or_make(path: Path) -> tuple[str, ...]:
    """Return the keys in a file, making it with a fresh key if it is not there.

    However many processes do this at once, all get the same key.

    Raises:
        Wrong: it cannot be read or made.

    """
    if not path.exists():
        try:
            _make(path)
        except OSError as error:
            raise Wrong(
                f"the key file {str(path)!r} cannot be made ({error.strerror}); "
                f"make the folder writable, or set secret_key yourself: {_MAKE_ONE}"
            ) from None
    keys = read_file(path)
    if path.stat().st_mode & 0o077:
        _log.warning("key file can be read by others: %s; chmod 600 it", path)
    return keys


def _make(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w") as file:
            file.write(f"{new()}\n")
            file.flush()
            os.fsync(handle)
        # A link appears whole or not at all and never replaces: whoever comes second reads the first's.
        os.link(draft, path)
        _log.info("made a new key: %s", path)
    except FileExistsError:
        _log.debug("another process made the key: %s", path)
    finally:
        draft.unlink()
