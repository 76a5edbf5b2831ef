"""What plugins and users of qcore test their own code with."""

import pytest

# before they are imported: an assertion that fails then shows its values
pytest.register_assert_rewrite(
    "qcore.testing.broker",
    "qcore.testing.exchange",
    "qcore.testing.fire",
    "qcore.testing.reporters",
    "qcore.testing.results",
    "qcore.testing.schedules",
    "qcore.testing.serializers",
)

from qcore.testing.broker import BrokerContract  # noqa: E402 - see above
from qcore.testing.exchange import ExchangeContract  # noqa: E402 - see above
from qcore.testing.fire import FireContract  # noqa: E402 - see above
from qcore.testing.reporters import ErrorReporterContract  # noqa: E402 - see above
from qcore.testing.results import ResultStoreContract  # noqa: E402 - see above
from qcore.testing.schedules import SchedulerContract  # noqa: E402 - see above
from qcore.testing.serializers import SerializerContract  # noqa: E402 - see above
from qcore.testing.tasks import Captured, Enqueued, captured, inline  # noqa: E402 - see above

__all__ = [
    "BrokerContract",
    "Captured",
    "Enqueued",
    "ErrorReporterContract",
    "ExchangeContract",
    "FireContract",
    "ResultStoreContract",
    "SchedulerContract",
    "SerializerContract",
    "captured",
    "inline",
]
