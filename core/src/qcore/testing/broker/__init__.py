"""Whether a broker keeps to its interface."""

from qcore.testing.broker.claims import ClaimRules
from qcore.testing.broker.crashes import CrashRules
from qcore.testing.broker.enqueue import EnqueueRules
from qcore.testing.broker.exchange import ExchangeRules
from qcore.testing.broker.lease import LeaseRules
from qcore.testing.broker.letters import DeadLetterRules
from qcore.testing.broker.settle import SettleRules
from qcore.testing.broker.withdraw import WithdrawRules


class BrokerContract(
    EnqueueRules,
    LeaseRules,
    SettleRules,
    DeadLetterRules,
    ExchangeRules,
    WithdrawRules,
    ClaimRules,
    CrashRules,
):
    """What every broker must keep to, one test a sentence of `qcore.interfaces.Broker`.

    Override the fixture `make`. It returns a function that takes fields of
    `qcore.interfaces.Settings` (`retry`, `poll` and `owner` are used) and returns a new broker;
    every broker it returns in one test serves the same queue, empty at the start:

        class TestSpoolBroker(BrokerContract):
            @pytest.fixture
            def make(self, tmp_path):
                sections = {"spool": SpoolSettings(path=tmp_path)}
                return lambda **fields: SpoolBroker(Settings(name="kit", sections=sections, **fields))

    Where the backend's clock is coarse, set `tick` to what it can tell (SQS: 1.0). Where it
    keeps no order, set `ordered` to False. Tests of what the broker's capabilities exclude
    are skipped; what they claim is tried.
    """


__all__ = ["BrokerContract"]
