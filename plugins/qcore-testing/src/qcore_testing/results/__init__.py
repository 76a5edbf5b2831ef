"""Whether a result store keeps to its interface."""

from qcore_testing.results.outages import ResultOutageRules
from qcore_testing.results.prune import PruneRules
from qcore_testing.results.read import ReadRules
from qcore_testing.results.save import SaveRules
from qcore_testing.stored_junk import JunkResultRules


class ResultStoreContract(SaveRules, ReadRules, PruneRules, JunkResultRules, ResultOutageRules):
    """What every store must keep to, one test a sentence of `qcore.interfaces.ResultStore`.

    Override the fixture `make`. It returns a function that takes fields of
    `qcore.interfaces.Settings` (`poll` is used) and returns a new store; every store it
    returns in one test keeps the same results, none at the start.

    Override the fixture `put_junk` too where rows can be written past the store: it returns a function
    that takes an id and a group and writes there what is not a result.
    """


__all__ = ["ResultStoreContract"]
