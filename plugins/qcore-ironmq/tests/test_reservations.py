"""Where reservations are noted is nobody else's."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from qcore.errors import BackendRejected, BackendUnavailable
from qcore_ironmq.reservations import Tickets

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return the folder reservations are noted in, which is not there yet."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path / f"qcore-ironmq-{os.getuid()}"


def note(tickets: Tickets, **told: str) -> None:
    """Note reservations of a process."""
    with tickets.of("owner") as known:
        known.update(told)


def noted(tickets: Tickets) -> dict[str, str]:
    """Return the reservations of a process."""
    with tickets.of("owner") as known:
        return dict(known)


def test_reservations_are_noted_where_only_their_user_can_look(folder: Path) -> None:
    """In a folder that bears the user's number."""
    note(Tickets("place"), message="newest")

    assert noted(Tickets("place")) == {"message": "newest"}
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_runtime_folder_that_has_gone_matters_not(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes away when the user logs out, and the cluster may survive that."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder.parent / "gone"))

    note(Tickets("place"), message="newest")

    assert len(list(folder.iterdir())) == 1


def test_a_folder_others_can_write_to_is_refused(folder: Path) -> None:
    """Whoever made it could put anything there."""
    folder.mkdir()
    folder.chmod(0o777)

    with pytest.raises(BackendRejected, match=r"qcore-ironmq-[0-9]+ is not a folder of this user's alone"):
        note(Tickets("place"), message="newest")

    assert not list(folder.iterdir())


def test_a_folder_of_another_user_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its owner could change what is noted."""
    folder.mkdir(mode=0o700)
    another = os.getuid() + 1
    monkeypatch.setattr("os.getuid", lambda: another)

    with pytest.raises(BackendRejected, match=r"qcore-ironmq-[0-9]+ is not a folder of this user's alone"):
        note(Tickets("place"), message="newest")


def test_a_link_in_place_of_the_folder_is_not_followed(folder: Path, tmp_path: Path) -> None:
    """Neither to note anything nor to clear away what is old."""
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    precious = tmp_path / "elsewhere" / "precious"
    precious.write_text("old")
    os.utime(precious, (0, 0))
    folder.symlink_to(tmp_path / "elsewhere")
    tickets = Tickets("place")

    with pytest.raises(BackendRejected, match="is not a folder of this user's alone"):
        note(tickets, message="newest")
    tickets.forget("owner")

    assert [path.name for path in (tmp_path / "elsewhere").iterdir()] == ["precious"]


def test_a_link_in_place_of_a_file_is_not_followed(folder: Path, tmp_path: Path) -> None:
    """What it points to stays as it is."""
    tickets = Tickets("place")
    note(tickets, message="first")
    (file,) = folder.iterdir()
    target = tmp_path / "target"
    target.write_text("{}")
    file.unlink()
    file.symlink_to(target)

    with pytest.raises(BackendUnavailable, match="cannot be noted"):
        note(tickets, message="newest")

    assert target.read_text() == "{}"


@pytest.mark.parametrize("torn", ['{"message": "new', "[1, 2]", '{"a": "b"}"c"}', "\udcff"])
def test_what_cannot_be_read_counts_as_nothing(folder: Path, torn: str) -> None:
    """A process died while it wrote: its messages come back in their time."""
    tickets = Tickets("place")
    note(tickets, message="a reservation with a long name")
    (file,) = folder.iterdir()
    file.write_bytes(torn.encode("utf-8", "surrogateescape"))

    assert noted(tickets) == {}
    note(tickets, other="short")
    assert noted(tickets) == {"other": "short"}
