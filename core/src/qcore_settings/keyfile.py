"""Decides which secret keys are valid, and reads key files."""

from __future__ import annotations

import logging
import os
import pwd
import re
import secrets
from pathlib import Path
from typing import Final

from qcore_settings.anchor import absolute
from qcore_settings.rules import EnvText, InvalidValue, Rule, is_none, parsed
from qcore_text.wording import counted, typed

_log = logging.getLogger("qcore.config")

#: characters; a shorter key can be found by brute force
MIN_LENGTH = 16
#: characters; a shorter key logs a warning
RECOMMENDED = 32
#: prefix of the path of a file that holds keys, one a line
FILE = "file:"
#: matches keys that consist only of words that templates and tutorials use as placeholders
_PLACEHOLDER: Final = re.compile(
    r"(?:a|change|default|example|here|insert|is|key|me|my|password|placeholder|please|put|replace|secret"
    r"|some|super|the|this|top|very|your)+"
)
_ONE: Final = "'[\"the, key\"]'"


def rule() -> Rule:
    """Return the rule of `secret_key`, whose value is a tuple of keys."""

    def read(value: object) -> tuple[str, ...]:
        if is_none(value):
            return ()
        split = isinstance(value, EnvText) and "," in value and not value.lstrip().startswith("[")
        if split:
            value = [part.strip() for part in str(value).split(",")]
        value = parsed(value)
        keys = [value] if isinstance(value, str) else value
        if not isinstance(keys, list | tuple) or not keys or not all(isinstance(key, str) for key in keys):
            must = "must be a text or a list of texts, the first signs, all verify"
            raise InvalidValue(f"{must}; {_make_one()}")
        for number, key in enumerate(keys, 1):
            if why := problem_of(key):
                hint = f"; in a variable commas separate keys, write {_ONE} for one that holds a comma"
                which = f"key {number} of {len(keys)}: " if len(keys) > 1 else ""
                raise InvalidValue(f"{which}{why}{hint if split else ''}")
        return tuple(str(key) for key in keys)

    return Rule("text or list of texts", read)


def problem_of(key: str) -> str:
    """Return why a key cannot be used, "" if it can."""
    if key.startswith(FILE):
        return "" if key.removeprefix(FILE).strip() else "it names no file; write 'file:PATH'"
    if any("\ud800" <= char <= "\udfff" for char in key):
        return f"it contains characters that cannot be encoded; {_make_one()}"
    if _PLACEHOLDER.fullmatch(re.sub(r"[^a-z]", "", key.lower())):
        return f"it is a well-known placeholder; {_make_one()}"
    if len(key) < MIN_LENGTH:
        has = counted(len(key), "character")
        return f"it has {has}, {MIN_LENGTH} are needed and {RECOMMENDED} are better; {_make_one()}"
    return ""


def new() -> str:
    """Return a new random key of 64 characters."""
    return secrets.token_urlsafe(48)


def anchored(keys: tuple[str, ...], folder: Path | None) -> tuple[str, ...]:
    """Return keys; the relative path of a key file starts from this folder, if there is one."""
    if folder is None:
        return keys
    return tuple(
        f"{FILE}{absolute(folder, Path(key.removeprefix(FILE).strip()))}" if key.startswith(FILE) else key
        for key in keys
    )


def resolved(keys: tuple[str, ...]) -> tuple[str, ...]:
    """Return keys, with each `file:PATH` replaced by the keys in the file.

    Raises:
        InvalidValue: a file cannot be read or contains no valid key.

    """
    found: list[str] = []
    for key in keys:
        found += read_file(Path(key.removeprefix(FILE)).expanduser()) if key.startswith(FILE) else (key,)
    for key in found:
        if len(key) < RECOMMENDED:
            _log.warning(
                "secret_key has %s, %d or more are recommended", counted(len(key), "character"), RECOMMENDED
            )
    return tuple(found)


def read_file(path: Path) -> tuple[str, ...]:
    """Return the keys in a file, one a line.

    Raises:
        InvalidValue: it cannot be read or contains no valid key.

    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        remedy = f"restore it, or make a new one with '{typed('keys new')} --write {path}'"
        raise InvalidValue(f"the key file {str(path)!r} does not exist; {remedy}") from None
    except PermissionError:
        raise InvalidValue(_forbidden(path)) from None
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text"
        raise InvalidValue(f"the key file {str(path)!r} cannot be read ({why}); restore it") from None
    keys = [line.strip() for line in lines if line.strip()]
    if not keys:
        raise InvalidValue(
            f"the key file {str(path)!r} is empty; delete it to create a new key, or restore yours"
        )
    for key in keys:
        if why := "it names another file; write the key itself" if key.startswith(FILE) else problem_of(key):
            raise InvalidValue(f"the key in the file {str(path)!r} cannot be used: {why}")
    return tuple(keys)


def _forbidden(path: Path) -> str:
    """Return whose key file this is, and who tried to read it; a new key would be the wrong remedy."""
    reader = _user(os.geteuid())
    try:
        owner = _user(path.stat().st_uid)
    except OSError:
        return f"the key file {str(path)!r} is in a folder that the user {reader!r} may not enter; let it"
    if owner == reader:
        return f"the key file {str(path)!r} is yours, but its mode forbids to read it: chmod 600 {path}"
    return (
        f"the key file {str(path)!r} belongs to the user {owner!r} and cannot be read by {reader!r}: run "
        f"this program as {owner!r}, or let {reader!r} read it"
    )


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def path_beside(queue: Path) -> Path:
    """Return the file that holds the key of a queue in a file."""
    return queue.with_suffix(".key")


def beside(queue: Path) -> tuple[str, ...]:
    """Return the keys of a queue in a file; create a new key if neither the queue nor its key exists.

    All processes that do this at the same time get the same key.

    Raises:
        InvalidValue: the key cannot be read or created, or the queue has lost its key.

    """
    path = path_beside(queue)
    # Whoever makes a queue has made its key before, so the queue is looked for first.
    there = exists(queue)
    # Path.exists would raise where the folder may not be entered.
    if not os.path.exists(path):  # noqa: PTH110 - as above
        if there:
            raise InvalidValue(
                f"the key file {str(path)!r} is gone, and nothing in the queue {str(queue)!r} can be read "
                f"without it: restore it from a backup, or start over with '{typed('purge')} --everything', "
                "which removes all that waits, all results and all schedules"
            )
        make(queue)
    keys = read_file(path)
    if path.stat().st_mode & 0o077:
        _log.warning("other users can read the key file path=%s; run chmod 600 on it", path)
    return keys


def make(queue: Path, text: str = "") -> Path | None:
    """Create the key file of a queue, with a new key or `text`, and return its path; None if there is one.

    Raises:
        InvalidValue: it cannot be created.

    """
    path = path_beside(queue)
    if os.path.exists(path):  # noqa: PTH110 - Path.exists would raise where the folder may not be entered
        return None
    try:
        _create(path, text or new())
    except PermissionError:
        raise InvalidValue(
            f"the key file {str(path)!r} can neither be read nor created by the user "
            f"{_user(os.geteuid())!r}; run this program as the owner of the queue, or name another path"
        ) from None
    except OSError as error:
        raise InvalidValue(
            f"the key file {str(path)!r} cannot be created ({error.strerror}); "
            f"make the folder writable, or set secret_key yourself: {_make_one()}"
        ) from None
    return path


def exists(queue: Path) -> bool:
    """Return whether there is a queue in a file; an empty file is none yet."""
    try:
        return queue.stat().st_size > 0
    except OSError:
        return False


def _create(path: Path, text: str) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w") as file:
            file.write(f"{text}\n")
            file.flush()
            os.fsync(handle)
        # A link is atomic and never replaces a file: a second process reads the key of the first.
        os.link(draft, path)
        _log.info("created a new key path=%s", path)
    except FileExistsError:
        _log.debug("another process created the key path=%s", path)
    finally:
        draft.unlink()


def _make_one() -> str:
    return f"make one with '{typed('keys new')}'"
