"""Whether a coordination store keeps to its interface."""

from qcore_testing.coordination.clearing import ClearRules
from qcore_testing.coordination.fan_in import BarrierRules
from qcore_testing.coordination.outages import CoordinationOutageRules
from qcore_testing.coordination.permits import PermitRules
from qcore_testing.coordination.rate_limit import RateLimitRules
from qcore_testing.stored_junk import JunkCoordinationRules


class CoordinationStoreContract(
    PermitRules,
    RateLimitRules,
    BarrierRules,
    ClearRules,
    JunkCoordinationRules,
    CoordinationOutageRules,
):
    """What every store must keep to, one test a sentence of `qcore.coordination.CoordinationStore`.

    Override the fixture `make`. It returns a function without arguments that returns a new store;
    every store it returns in one test keeps the same state, none at the start.

    Override the fixture `put_junk` too where rows can be written past the store: it returns a function
    that takes a key and writes junk where its flag, permits, rate slots and barrier are kept.
    """


__all__ = ["CoordinationStoreContract"]
