"""Servers that root starts live in a place that only root can arrange; nothing of a forgotten one stays."""

import io
import os
import shutil
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from infra.embedded import home
from infra.embedded.__main__ import main
from infra.embedded.postgres import EmbeddedPostgres
from infra.embedded.process import ServerError, choose_ports, log_tail, replace_text
from infra.embedded.seaweedfs import EmbeddedS3

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root's servers live elsewhere")


@AS_ROOT
def test_a_server_whose_folder_was_deleted_ends_when_the_next_one_settles(
    tmp_path: Path, wait_until: Callable[..., None]
) -> None:
    server = EmbeddedPostgres(tmp_path / "forgotten")
    server.start()
    process = psutil.Process(server.pid)
    place = (server.folder / "home").resolve()
    shutil.rmtree(server.folder)

    home.settle(tmp_path / "next")

    wait_until(lambda: not process.is_running(), what="the end of the forgotten server")
    assert not place.exists()
    home.clear(tmp_path / "next")


@AS_ROOT
def test_a_folder_that_was_moved_keeps_its_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(home, "TEMPORARY", tmp_path / "temporary")
    (home.settle(tmp_path / "here").folder("data") / "row").write_text("kept")
    (tmp_path / "here").rename(tmp_path / "there")

    home.settle(tmp_path / "another")

    assert (home.settle(tmp_path / "there").path / "data" / "row").read_text() == "kept"
    home.clear(tmp_path / "there")
    home.clear(tmp_path / "another")


@AS_ROOT
def test_the_folder_can_be_reached_without_opening_the_ones_above_it(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)

    settled = home.settle(tmp_path / "server")

    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700
    assert all(parent.stat().st_mode & stat.S_IXOTH for parent in settled.path.parents)
    assert settled.path.stat().st_uid == 0
    assert settled.folder("data").stat().st_uid == settled.account
    home.clear(tmp_path / "server")
    assert not settled.path.exists()


@AS_ROOT
def test_a_shared_folder_of_somebody_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Anyone may write to /var/tmp, and could have made the folder first."""
    monkeypatch.setattr(home, "SHARED", tmp_path)
    (tmp_path / "limosa-embedded").mkdir()
    os.chown(tmp_path / "limosa-embedded", 65534, 65534)

    with pytest.raises(ServerError, match="not root's own"):
        home.settle(tmp_path / "server")


@AS_ROOT
def test_a_link_to_elsewhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / "server").mkdir()
    (tmp_path / "server" / "home").symlink_to(tmp_path)

    with pytest.raises(ServerError, match="leads outside"):
        home.settle(tmp_path / "server")


def test_two_starts_at_once_make_one_server(tmp_path: Path) -> None:
    servers = [EmbeddedPostgres(tmp_path / "postgres") for _ in range(2)]
    threads = [threading.Thread(target=server.start) for server in servers]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert servers[0].pid is not None
    assert servers[0].pid == servers[1].pid
    assert main([str(tmp_path), "--yes"]) == 0
    assert list(tmp_path.iterdir()) == []


def test_only_what_bears_the_mark_is_removed_and_nothing_without_a_yes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "stranger" / "home").mkdir(parents=True)
    (tmp_path / "stranger" / "lock").touch()
    home.settle(tmp_path / "ours")
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))

    assert main([str(tmp_path / "stranger"), "--yes"]) == 0
    assert main([str(tmp_path)]) == 1
    assert (tmp_path / "ours" / "home").exists()
    assert main([str(tmp_path), "--yes"]) == 0

    assert [path.name for path in tmp_path.iterdir()] == ["stranger"]
    assert (tmp_path / "stranger" / "home").is_dir()
    told = capsys.readouterr().err
    assert "stranger holds no embedded server" in told
    assert f"{tmp_path / 'ours'}\nThese servers will be stopped and all that they hold removed." in told


def test_a_taken_port_is_named_by_the_servers_own_words(postgres_server: EmbeddedPostgres, tmp_path: Path) -> None:
    taken = int((postgres_server.folder / "port").read_text())
    server = EmbeddedPostgres(tmp_path / "second", port=taken)

    with pytest.raises(ServerError, match="Address already in use"):
        server.start()

    assert server.pid is None
    server.remove()


def test_an_endpoint_moves_when_its_port_was_taken_meanwhile(own_s3: EmbeddedS3, s3_server: EmbeddedS3) -> None:
    own_s3.stop()
    taken = (s3_server.folder / "ports").read_text()
    replace_text(own_s3.folder / "ports", taken)

    own_s3.start()

    assert own_s3.endpoint_url != s3_server.endpoint_url
    assert own_s3.pid is not None


def test_a_missing_wheel_is_named() -> None:
    with pytest.raises(ServerError, match=r"install limosa\[embedded\]"):
        home.wheel("no-such-wheel-of-ours")


def test_chosen_ports_are_distinct_and_below_the_ephemeral_ones() -> None:
    ports = choose_ports(50)

    assert len(set(ports)) == 50
    assert max(ports) < 32_768


def test_the_log_tail_is_bounded(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("x" * 100_000 + "\nlast words")

    tail = log_tail(tmp_path / "log")

    assert tail.endswith("last words")
    assert len(tail) < 5_000
