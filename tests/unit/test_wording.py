"""How a command is named in messages."""

from __future__ import annotations

from qcore_text import wording
from qcore_text.wording import Typed


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
