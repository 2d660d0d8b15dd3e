"""The embedded Postgres keeps what it acknowledged and lets nobody in from outside."""

import os
import signal
import stat
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from infra.embedded.postgres import EmbeddedPostgres
from infra.embedded.process import Identity, ServerError, port_free


def test_committed_rows_survive_a_power_cut(postgres: EmbeddedPostgres) -> None:
    url = postgres.url
    with psycopg.connect(url) as connection:
        connection.execute("create table kept (n int)")
        connection.execute("insert into kept values (7)")

    postgres.kill()
    assert postgres.pid is None
    postgres.start()

    assert postgres.url == url
    with psycopg.connect(url) as connection:
        assert connection.execute("select n from kept").fetchall() == [(7,)]


def test_starts_over_the_leftovers_of_a_killed_postmaster(postgres: EmbeddedPostgres, wait_until: Any) -> None:
    pid = postgres.pid
    assert pid is not None
    with psycopg.connect(postgres.url) as connection:
        # Only the postmaster dies: its backends hold the shared memory until they notice.
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: postgres.pid is None, what="the end of the postmaster")
        postgres.start()

        with pytest.raises(psycopg.OperationalError):
            connection.execute("select 1").fetchall()
    assert postgres.pid not in (None, pid)


def test_a_second_start_finds_the_running_server(postgres_server: EmbeddedPostgres) -> None:
    other = EmbeddedPostgres(postgres_server.folder)

    other.start()

    assert other.pid == postgres_server.pid
    assert other.url == postgres_server.url


def test_no_listener_can_be_reached_from_outside(postgres_server: EmbeddedPostgres) -> None:
    server = psutil.Process(postgres_server.pid)

    listeners = [c for c in server.net_connections("all") if c.status == psutil.CONN_LISTEN]
    sockets = [c for c in server.net_connections("unix") if c.laddr]

    assert {c.laddr.ip for c in listeners} == {"127.0.0.1"}
    assert sockets == []


def test_runs_as_an_unprivileged_user_with_private_files(postgres_server: EmbeddedPostgres) -> None:
    server = psutil.Process(postgres_server.pid)

    data = (postgres_server.folder / "home" / "data").stat()

    assert server.uids().effective != 0
    assert data.st_uid == server.uids().effective
    assert stat.S_IMODE(data.st_mode) == 0o700
    assert stat.S_IMODE((postgres_server.folder / "password").stat().st_mode) == 0o600


def test_a_wrong_password_is_refused(postgres_server: EmbeddedPostgres) -> None:
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(postgres_server.url, password="guess")


def test_durability_settings_are_on(postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as connection:
        row = connection.execute(
            "select current_setting('fsync'), current_setting('full_page_writes'), current_setting('data_checksums')"
        ).fetchone()

    assert row == ("on", "on", "on")


def test_a_failing_statement_writes_no_value_into_the_log(postgres_url: str, postgres_server: EmbeddedPostgres) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("create table patient (mrn text primary key)")
        connection.execute("insert into patient values ('SECRET-77')")

        with pytest.raises(psycopg.errors.UniqueViolation):
            connection.execute("insert into patient values ('SECRET-77')")

    log = postgres_server.log.read_text(encoding="utf-8")
    assert "patient_pkey" in log
    assert "SECRET-77" not in log


def test_a_server_never_started_has_no_address(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path / "none")

    with pytest.raises(ServerError, match="ever started"):
        _ = server.url


def test_removing_frees_port_files_and_process(postgres: EmbeddedPostgres) -> None:
    server = psutil.Process(postgres.pid)
    port = int((postgres.folder / "port").read_text())
    home = (postgres.folder / "home").resolve()
    postgres.kill()

    postgres.remove()

    assert not server.is_running()
    assert not home.exists()
    assert not postgres.folder.exists()
    assert port_free(port)


def test_a_reused_process_number_is_not_taken_for_the_server(tmp_path: Path) -> None:
    """A reboot may give our own number to the old server's pid file; born a tick earlier is another process."""
    living = Identity.of(os.getpid())
    assert living is not None
    (tmp_path / "pg").mkdir()
    Identity(pid=living.pid, born=living.born - 1).write(tmp_path / "pg" / "pid")

    assert EmbeddedPostgres(tmp_path / "pg").pid is None
