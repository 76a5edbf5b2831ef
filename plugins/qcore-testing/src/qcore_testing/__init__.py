"""Contracts: the tests that a plugin of qcore must pass."""

import sys
from typing import TYPE_CHECKING

from qcore.lazy import on_demand

if TYPE_CHECKING:
    from qcore_testing.broker import BrokerContract
    from qcore_testing.commit import CommitContract
    from qcore_testing.coordination import CoordinationStoreContract
    from qcore_testing.fire import FireContract
    from qcore_testing.reporters import ErrorReporterContract
    from qcore_testing.results import ResultStoreContract
    from qcore_testing.schedules import ScheduleStoreContract
    from qcore_testing.serializers import SerializerContract
    from qcore_testing.task_transaction import TaskTransactionContract
    from qcore_testing.transaction import TransactionContract
else:
    _find = on_demand(
        __name__,
        BrokerContract=".broker",
        ErrorReporterContract=".reporters",
        CommitContract=".commit",
        CoordinationStoreContract=".coordination",
        FireContract=".fire",
        ResultStoreContract=".results",
        ScheduleStoreContract=".schedules",
        SerializerContract=".serializers",
        TaskTransactionContract=".task_transaction",
        TransactionContract=".transaction",
    )

    def __getattr__(name: str) -> object:
        if name in __all__:
            import pytest  # noqa: PLC0415 - where qcore runs, nobody asks for a contract

            # Before they are imported: an assertion that fails then shows its values.
            modules = (f"{__name__}.{one}" for one in _MODULES)
            pytest.register_assert_rewrite(*(one for one in modules if one not in sys.modules))
        return _find(name)


_MODULES = (
    "broker",
    "commit",
    "coordination",
    "fire",
    "reporters",
    "results",
    "schedules",
    "serializers",
    "task_transaction",
    "transaction",
)

__all__ = [
    "BrokerContract",
    "CommitContract",
    "CoordinationStoreContract",
    "ErrorReporterContract",
    "FireContract",
    "ResultStoreContract",
    "ScheduleStoreContract",
    "SerializerContract",
    "TaskTransactionContract",
    "TransactionContract",
]
