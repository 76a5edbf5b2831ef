"""The three serializers of the built-in plugin."""

from qcore.builtin.serializers.jsontext import JsonSerializer
from qcore.builtin.serializers.messagepack import MsgpackSerializer
from qcore.builtin.serializers.pickled import PickleSerializer

__all__ = ["JsonSerializer", "MsgpackSerializer", "PickleSerializer"]
