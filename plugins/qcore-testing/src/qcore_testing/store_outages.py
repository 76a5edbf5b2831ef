"""What any store does while its server is away or hangs."""

from __future__ import annotations

import threading
from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from qcore.errors import BackendUnavailable
from qcore_testing.contract import Contract, Stopwatch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from qcore_testing.contract import Outage


class StoreOutageRules(Contract):
    """Rules that need the fixtures `restart_server` and `freeze_server`, see `OutageRules`."""

    @abstractmethod
    def calls(self, store: Any) -> Mapping[str, Callable[[], object]]:  # noqa: ANN401 - a store of any kind
        """Return calls that cannot be answered without the server, by name; each is harmless."""

    def test_a_server_that_is_away_is_reported(self, new: Callable[..., Any], restart_server: Outage) -> None:
        """Every call raises `BackendUnavailable`, and the same store works again once the server is back."""
        calls = self._connected(new)

        with restart_server():
            wrong = self._wrong(calls)
            assert not wrong, f"while the server was away: {'; '.join(wrong)}"

        for _ in self.deadline():
            failed = [name for name, call in calls.items() if outcome(name, call) is None]
            if not failed:
                return
            self.let_pass(0.02)
        raise AssertionError(f"the server is back, and these still fail: {', '.join(failed)}")

    def test_a_server_that_hangs_is_not_waited_for(
        self, new: Callable[..., Any], freeze_server: Outage
    ) -> None:
        """A call that the server does not answer raises `BackendUnavailable` in bounded time."""
        calls = self._connected(new)

        with freeze_server():
            wrong = self._wrong(calls)

        assert not wrong, f"while the server was frozen: {'; '.join(wrong)}"

    def _connected(self, new: Callable[..., Any]) -> dict[str, Callable[[], object]]:
        """Return each call on a store of its own that has been answered before."""
        calls = {}
        for name in self.calls(new()):
            calls[name] = self.calls(new())[name]
            calls[name]()
        return calls

    def _wrong(self, calls: Mapping[str, Callable[[], object]]) -> list[str]:
        """Make all calls at once, so that the time limit is waited for once; return what is wrong."""
        told: dict[str, str | None] = {}

        def ask(name: str) -> None:
            told[name] = outcome(name, calls[name])

        # a call that hangs for ever must not keep this process from its end
        threads = [threading.Thread(target=ask, args=(name,), daemon=True) for name in calls]
        since = Stopwatch()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(0.0, 2 * self.timeout - since.seconds))
        silent = [f"{name} did not return" for name in calls if name not in told]
        return silent + [said for said in told.values() if said]


def outcome(name: str, call: Callable[[], object]) -> str | None:
    """Return what is wrong with the way a call ended; None if it said that the server does not answer."""
    try:
        found = call()
    except BackendUnavailable:
        return None
    except Exception as exc:  # noqa: BLE001 - any other is what the test is about
        return f"{name} raised {type(exc).__name__}: {exc}"
    return f"{name} returned {found!r}"
