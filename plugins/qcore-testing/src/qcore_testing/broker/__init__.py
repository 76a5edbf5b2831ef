"""Whether a broker keeps to its interface."""

from qcore_testing.broker.capabilities import CapabilityRules
from qcore_testing.broker.commit import CommitRules
from qcore_testing.broker.crashes import CrashRules
from qcore_testing.broker.dead_letters import DeadLetterRules
from qcore_testing.broker.enqueue import EnqueueRules
from qcore_testing.broker.lease import LeaseRules
from qcore_testing.broker.remove import RemoveRules
from qcore_testing.broker.settle import SettleRules


class BrokerContract(
    EnqueueRules,
    LeaseRules,
    SettleRules,
    DeadLetterRules,
    CommitRules,
    RemoveRules,
    CapabilityRules,
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
