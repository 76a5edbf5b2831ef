"""How a command is named in messages."""

from __future__ import annotations

import socket

import pytest

from qcore_text import wording
from qcore_text.wording import Typed, if_nobody_listens


def test_a_command_is_typed_behind_its_program() -> None:
    """A framework that has commands of its own says how they are typed."""
    typed = Typed()

    plain = typed("schedule list"), typed("run")
    typed.through("manage.py qcore", {"run": "manage.py qcluster"})

    assert plain == ("qcore schedule list", "qcore run")
    assert (typed("schedule list"), typed("run")) == ("manage.py qcore schedule list", "manage.py qcluster")
    assert typed("run MODULE:APP") == "manage.py qcluster"
    assert typed("run --queues mail MODULE:APP") == "manage.py qcore run --queues mail"


def test_a_number_is_no_secret() -> None:
    """Whatever it is about."""
    assert wording.shown(5, "unknown_key_limit") == "5"
    assert wording.shown(5, "secret_key") != "5"


def test_who_finds_nobody_at_an_address_is_told_which_setting_has_it() -> None:
    """The commonest reasons are a server that was not started, and an address that is wrong."""
    with pytest.raises(OSError, match="refused") as nobody:
        socket.create_connection(("127.0.0.1", 1))
    with pytest.raises(OSError, match=r".") as nowhere:
        socket.create_connection(("name.invalid", 1))

    for error in (nobody.value, nowhere.value):
        assert if_nobody_listens(str(error), "`redis`") == "; start it, or correct `redis`"


@pytest.mark.parametrize("text", ["timed out", "Connection reset by peer", "the password was refused", ""])
def test_who_is_answered_late_or_refused_is_not_told_to_start_a_server(text: str) -> None:
    """It is there; and what it refuses has a message of its own."""
    assert if_nobody_listens(text, "`redis`") == ""
