"""Where Ray keeps its sockets."""

import os
import tempfile
from pathlib import Path

import pytest

from cluster.runtime import ray_temp_dir

LONGEST_SOCKET_PATH = 107
RAYS_OWN = "/session_2026-11-24_14-34-56_123456_1234567/sockets/plasma_store.12"


def test_a_long_temporary_folder_does_not_make_socket_paths_too_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("a" * 60)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))

    folder = ray_temp_dir()

    assert len(os.fsencode(str(folder) + RAYS_OWN)) <= LONGEST_SOCKET_PATH
    assert list(long.iterdir()) == []


def test_a_short_temporary_folder_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as short:
        monkeypatch.setattr(tempfile, "tempdir", short)

        folder = ray_temp_dir()

        assert folder.parent.parent == Path(short)
        assert folder.parent.stat().st_mode & 0o077 == 0
