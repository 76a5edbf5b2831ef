"""Which Lua scripts there are, and the form a server takes."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Final

import attrs

_FOLDER: Final = Path(__file__).parent / "lua"
#: Redis 7 and later: consumers must be able to drain a server that is at its `maxmemory`
_ALLOW_OOM: Final = b"#!lua flags=allow-oom\n"
#: Redis 6.2 refuses to fill memory unless something was written before
_WRITE_FIRST: Final = b"redis.call('DEL', KEYS[1] .. '-')\n"


@attrs.frozen
class Form:
    """A script as one kind of server takes it."""

    text: bytes
    #: the name the server gives it
    sha: bytes = attrs.field(init=False)

    @sha.default
    def _hash(self) -> bytes:
        return hashlib.sha1(self.text).hexdigest().encode()  # noqa: S324 - the server's own choice


@attrs.frozen
class Script:
    """One script in the two forms there are."""

    #: for Redis 7 and later
    flagged: Form
    #: for Redis 6.2
    plain: Form


@cache
def script(*names: str, fills: bool = False, alone: bool = False) -> Script:
    """Return the script made of these files.

    Args:
        names: of the files.
        fills: it fills memory, so that a full server refuses it.
        alone: it needs nothing of `prelude`.

    """
    files = names if alone else ("prelude", *names)
    code = b"\n".join((_FOLDER / f"{name}.lua").read_bytes() for name in files)
    if fills:
        return Script(Form(b"#!lua\n" + code), Form(code))
    return Script(Form(_ALLOW_OOM + code), Form(_WRITE_FIRST + code))
