"""One wrong call of a broker is found."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final

import pytest

from qcore.errors import BackendError, NotSupported
from qcore.interfaces import Settings
from qcore_sqlite import SqliteBroker, SqliteSettings
from qcore_testing import BrokerContract
from qcore_testing.memory import MemoryBroker, MemoryServer
from tests.conformance import broken_calls, broken_files
from tests.conformance.running import each, run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.portable

#: what a test says of something broken
SAID: Final = (AssertionError, ValueError, BackendError, NotSupported, TimeoutError, pytest.fail.Exception)
#: seconds for what is sound, on a loaded machine
_SLOW: Final = 20.0


@pytest.mark.parametrize(("wrong", "test", "parameters"), each(broken_calls.IN_MEMORY))
def test_a_broker_with_a_wrong_call_fails(
    wrong: type[MemoryBroker], test: str, parameters: tuple[Any, ...]
) -> None:
    """Each is wrong in one call and fails a test that the sound one passes."""

    def maker(kind: type[MemoryBroker]) -> Callable[..., MemoryBroker]:
        server = MemoryServer()

        def make(name: str = "kit", retry: float = 60.0, owner: bytes = b"", **fields: Any) -> MemoryBroker:
            order = fields.get("queues")
            return kind(server.queue(name), retry=retry, backend="kit", owner=owner, order=order)

        return make

    # what is wrong may be a claim, without which the sound one is not asked
    with contextlib.suppress(pytest.skip.Exception):
        run(BrokerContract, test, maker(MemoryBroker), parameters, timeout=_SLOW)
    with pytest.raises(SAID):
        run(BrokerContract, test, maker(wrong), parameters)


@pytest.mark.parametrize(("wrong", "test", "parameters"), each(broken_files.IN_FILES))
def test_a_broker_of_several_processes_with_a_wrong_call_fails(
    wrong: type[SqliteBroker], test: str, parameters: tuple[Any, ...], tmp_path: Path
) -> None:
    """Each is wrong in one call and fails a test that the sound one passes."""

    def maker(kind: type[SqliteBroker], folder: str) -> Callable[..., SqliteBroker]:
        (tmp_path / folder).mkdir()

        def make(name: str = "kit", **fields: Any) -> SqliteBroker:
            sections = {"sqlite": SqliteSettings(path=tmp_path / folder / f"{name}.db")}
            return kind(Settings(name=name, sections=sections, **fields))

        return make

    def try_often() -> None:
        # the moment of a kill is not chosen: there are many chances for a bad one, and one is enough
        for number in range(20):
            run(BrokerContract, test, maker(wrong, f"{number}"), parameters)

    run(BrokerContract, test, maker(SqliteBroker, "sound"), parameters, timeout=_SLOW)
    with pytest.raises(SAID):
        try_often()
