"""Members of enumerations that are compared for each task."""

from __future__ import annotations

from typing import Final

from qcore.model import Action, Kind, State

# Python 3.11 makes two calls to find a member, a tenth of a microsecond; here each is found once.
ACTION_ACK: Final = Action.ACK
KIND_SUCCESS: Final = Kind.SUCCESS
STATE_SUCCESS: Final = State.SUCCESS
