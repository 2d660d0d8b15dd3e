"""What killed processes left behind is removed, and nothing that is in use."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from cluster.leftovers import sweep_sessions, sweep_sockets

NOW = float(2**33)
"""Later than any folder of a test was changed."""


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder whose path leaves room for a socket's, which must stay under 108 bytes."""
    with TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.fixture
def dead() -> int:
    """The id of a process that has ended."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def session(home: Path, pid: int) -> Path:
    folder = home / f"session_2026-11-24_12-00-39_503683_{pid}"
    (folder / "sockets").mkdir(parents=True)
    (folder / "logs").mkdir()
    (folder / "logs" / "raylet.out").write_text("said")
    return folder


def listening(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    return listener


def test_sessions_of_dead_drivers_go_and_others_stay(place: Path, dead: int) -> None:
    gone, mine = session(place, dead), session(place, os.getpid())
    foreign = place / "somebody-elses"
    foreign.mkdir()
    (place / "session_latest").symlink_to(mine)

    assert sweep_sessions(place) == 1

    assert not gone.exists()
    assert mine.exists() and foreign.exists() and (place / "session_latest").exists()


def test_a_session_whose_sockets_answer_stays_although_its_driver_cannot_be_seen(place: Path, dead: int) -> None:
    folder = session(place, dead)

    with listening(folder / "sockets" / "raylet"):
        swept = sweep_sessions(place)

    assert swept == 0 and folder.exists()
    assert sweep_sessions(place) == 1


def test_nothing_to_sweep_is_no_error(place: Path) -> None:
    assert sweep_sessions(place / "absent") == sweep_sockets(place / "absent") == 0


def test_socket_folders_without_a_listener_go_and_others_stay(place: Path) -> None:
    empty, stale, served, filled, foreign = (
        place / name
        for name in (
            f"limosa-{os.getuid()}-000000000000",
            f"limosa-{os.getuid()}-000000000001",
            f"limosa-{os.getuid()}-000000000002",
            f"limosa-{os.getuid()}-000000000003",
            f"limosa-{os.getuid() + 1}-000000000000",
        )
    )
    for folder in (empty, stale, served, filled, foreign):
        folder.mkdir()
    listening(stale / "mover-0.sock").close()
    (filled / "notes.txt").write_text("not ours")

    with listening(served / "mover-0.sock"):
        swept = sweep_sockets(place, before=NOW)

    assert swept == 2
    assert sorted(place.iterdir()) == sorted([served, filled, foreign])


def test_a_folder_that_was_changed_lately_may_be_about_to_be_used(place: Path) -> None:
    fresh = place / f"limosa-{os.getuid()}-0123456789ab"
    fresh.mkdir()

    assert sweep_sockets(place) == 0
    assert fresh.exists()
