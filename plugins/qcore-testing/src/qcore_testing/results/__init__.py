"""Whether a result store keeps to its interface."""

from qcore_testing.results.prune import PruneRules
from qcore_testing.results.read import ReadRules
from qcore_testing.results.save import SaveRules


class ResultStoreContract(SaveRules, ReadRules, PruneRules):
    """What every store must keep to, one test a sentence of `qcore.interfaces.ResultStore`.

    Override the fixture `make`. It returns a function that takes fields of
    `qcore.interfaces.Settings` (`poll` is used) and returns a new store; every store it
    returns in one test keeps the same results, none at the start.
    """


__all__ = ["ResultStoreContract"]
