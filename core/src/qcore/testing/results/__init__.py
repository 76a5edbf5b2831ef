"""Whether a result store keeps to its interface."""

from qcore.testing.results.finding import FindingRules
from qcore.testing.results.gatherings import GatheringRules
from qcore.testing.results.keeping import KeepingRules
from qcore.testing.results.places import PlaceRules
from qcore.testing.results.saving import SavingRules
from qcore.testing.results.turns import TurnRules


class ResultStoreContract(SavingRules, FindingRules, KeepingRules, PlaceRules, TurnRules, GatheringRules):
    """What every store must keep to, one test a sentence of `qcore.interfaces.ResultStore`.

    Override the fixture `make`. It returns a function that takes fields of
    `qcore.interfaces.Settings` (`poll` is used) and returns a new store; every store it
    returns in one test keeps the same results, none at the start.

    Where the store's `notes` is not None, the sentences of `qcore.notes.Notes` are tried too.
    """


__all__ = ["ResultStoreContract"]
