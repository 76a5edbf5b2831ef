"""Whether a broker keeps to its interface."""

from qcore_testing.broker.capabilities import CapabilityRules
from qcore_testing.broker.commit import CommitRules
from qcore_testing.broker.connections import ConnectionRules
from qcore_testing.broker.crashes import CrashRules
from qcore_testing.broker.dead_letters import DeadLetterRules
from qcore_testing.broker.ended import EndedRules
from qcore_testing.broker.enqueue import EnqueueRules
from qcore_testing.broker.garbage import GarbageRules
from qcore_testing.broker.lease import LeaseRules
from qcore_testing.broker.namespaces import NamespaceRules
from qcore_testing.broker.outages import OutageRules
from qcore_testing.broker.physical import PhysicalRules
from qcore_testing.broker.precision import PrecisionRules
from qcore_testing.broker.queue_calls import QueueCallRules
from qcore_testing.broker.queues import DECLARED, QueueRules
from qcore_testing.broker.receipts import ReceiptRules
from qcore_testing.broker.refusals import RefusalRules
from qcore_testing.broker.remove import RemoveRules
from qcore_testing.broker.settle import SettleRules
from qcore_testing.broker.signals import SignalRules
from qcore_testing.broker.steps import StepRules


class BrokerContract(
    EnqueueRules,
    LeaseRules,
    SettleRules,
    SignalRules,
    ReceiptRules,
    RefusalRules,
    PrecisionRules,
    DeadLetterRules,
    CommitRules,
    RemoveRules,
    EndedRules,
    CapabilityRules,
    NamespaceRules,
    ConnectionRules,
    OutageRules,
    CrashRules,
    GarbageRules,
    StepRules,
    QueueRules,
    QueueCallRules,
):
    """What every broker must keep to, one test a sentence of `qcore.interfaces.Broker`.

    Override the fixture `make`. It returns a function that takes fields of
    `qcore.interfaces.Settings` (`name`, `retry`, `poll`, `owner` and `replay_window` are used) and
    returns a new broker; every broker of one name it returns in one test serves the same queue,
    empty at the start, and most tests give no name:

        class TestSpoolBroker(BrokerContract):
            @pytest.fixture
            def make(self, tmp_path):
                sections = {"spool": SpoolSettings(path=tmp_path)}
                return lambda name="kit", **fields: SpoolBroker(
                    Settings(name=name, sections=sections, **fields)
                )

    With the fixtures `restart_server` and `freeze_server` it is tried what the broker does while its
    server is away or hangs; each returns a function that returns a context manager.

    Override the fixture `put_raw` too where bytes can be put into the queue past the broker: it
    returns a function that takes a body and puts it there as anybody may who reaches the backend.

    Where the backend's clock is coarse, set `tick` to what it can tell (SQS: 1.0). Where it
    keeps no order, set `ordered` to False. Tests of what the broker's capabilities exclude
    are skipped; what they claim is tried.
    """


class QueueContract(QueueRules, QueueCallRules, DeadLetterRules, ReceiptRules):
    """The part of the contract that a broker with queues adds, for one that has them if they are declared.

    Its fixtures are those of `BrokerContract`; declare the queues `DECLARED`.
    """


class PhysicalQueueContract(PhysicalRules, QueueContract):
    """The same for a broker of `qcore_queues.physical`, and what such brokers have in common.

    Override the fixture `declare` and the method `physical_names`, and set `queues_setting` and
    `priorities_setting`; the fixture `make` is made of `declare`.
    """


__all__ = ["DECLARED", "BrokerContract", "PhysicalQueueContract", "QueueContract"]
