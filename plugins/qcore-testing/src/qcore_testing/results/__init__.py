"""Whether a result store keeps to its interface."""

from qcore_testing.coordination.fan_in import BarrierRules
from qcore_testing.coordination.permits import PermitRules
from qcore_testing.coordination.rate_limit import RateLimitRules
from qcore_testing.results.prune import PruneRules
from qcore_testing.results.read import ReadRules
from qcore_testing.results.save import SaveRules


class ResultStoreContract(SaveRules, ReadRules, PruneRules, PermitRules, RateLimitRules, BarrierRules):
    """What every store must keep to, one test a sentence of `qcore.interfaces.ResultStore`.

    Override the fixture `make`. It returns a function that takes fields of
    `qcore.interfaces.Settings` (`poll` is used) and returns a new store; every store it
    returns in one test keeps the same results, none at the start.

    Where the store's `notes` is not None, the rules of `qcore.coordination.CoordinationStore` are tried too.
    """


__all__ = ["ResultStoreContract"]
