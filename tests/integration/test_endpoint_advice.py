"""An endpoint that cannot be used is told with its place, its cause, the setting to look at and the next command."""

import dataclasses
import re
import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from cluster.advice import advice
from cluster.check import Mark, check_surroundings
from cluster.cli.faults import expected
from cluster.job import build_job
from cluster.services import services
from storage.errors import Rejected, Retryable, StorageError
from storage.ledger.address import LedgerAddress
from storage.ledger.migrate import migrate
from storage.ledger.reach import unreached


def changed(url: str, **parts: Any) -> str:
    """The address with another user, password, port or path."""
    old = urlsplit(url)
    user, password = parts.get("user", old.username), parts.get("password", old.password)
    place = f"{user}:{password}@{old.hostname}:{parts.get('port', old.port)}"
    return old._replace(netloc=place, path=parts.get("path", old.path)).geturl()


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.parametrize(
    ("parts", "kind", "code", "told", "setting"),
    [
        ({"password": "wrong"}, Rejected, "password", "refuses the password of", "password in [ledger]"),
        ({"path": "/nothere"}, Rejected, "database", "has no database nothere", "database in url of [ledger]"),
        ({"port": 0}, Retryable, "port", "nothing listens there", "host and port in url of [ledger]"),
    ],
    ids=["password", "database", "port"],
)
def test_a_ledger_that_cannot_be_opened_says_why_and_which_setting_to_look_at(
    postgres_url: str, parts: dict[str, Any], kind: type[StorageError], code: str, told: str, setting: str
) -> None:
    given = {**parts, "port": closed_port()} if "port" in parts else parts
    url = changed(postgres_url, **given)

    with pytest.raises(kind) as caught:
        migrate(url)

    ended = expected(caught.value)
    assert caught.value.code == code
    assert ended is not None and ended[0].startswith(f"open ledger at 127.0.0.1:{urlsplit(url).port}: {told}")
    assert setting in ended[0] and re.search(r" Then: limosa check \S+$", ended[0])
    assert "wrong" not in ended[0]


@pytest.mark.parametrize(
    ("told", "code"),
    [
        ("connection failed: fe_sendauth: no password supplied", "no_password"),
        ('FATAL:  no pg_hba.conf entry for host "10.1.2.3", user "limosa", database "limosa"', "host_rule"),
        ("[Errno -2] Name or service not known", "host"),
        ("connection timeout expired", "silent"),
        ("FATAL:  the database system is starting up", "starting"),
        ("something nobody has met", ""),
    ],
    ids=lambda text: text[:24],
)
def test_what_postgres_says_at_the_door_has_a_cause_and_each_cause_an_advice(told: str, code: str) -> None:
    error = unreached("postgresql://limosa@db.example/limosa", told)

    assert error.code == code
    assert "[ledger]" in advice(error) or code == "starting"


def test_a_secret_that_is_not_there_is_told_with_its_reference() -> None:
    with pytest.raises(Rejected) as caught:
        LedgerAddress("postgresql://limosa@db/limosa", "env:LIMOSA_NO_SUCH_SECRET").resolved()

    told = expected(caught.value)
    assert told is not None and "env:LIMOSA_NO_SUCH_SECRET" in told[0] and "correct that setting" in told[0]


@pytest.fixture
def job_of(tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A job with one destination."""
    parts = urlsplit(postgres_url)
    monkeypatch.setenv("LIMOSA_TEST_DB", parts.password or "")
    address = parts._replace(netloc=f"{parts.username}@{parts.hostname}:{parts.port}").geturl()

    def made(**destination: Any) -> Any:
        table = {
            "job": {"name": "advice", "state_dir": str(tmp_path)},
            "ledger": {"url": address, "password": "env:LIMOSA_TEST_DB"},
            "source": {"host": "127.0.0.1", "port": 104, "ae_title": "PACS"},
            "receivers": [{"ae_title": "LIMOSA", "port": 11112}],
            "destinations": [{"name": "archive", **destination}],
        }
        return build_job(table, tmp_path / "move.toml")

    return made


def failed(job: Any) -> Any:
    with services(job) as running:
        rows = check_surroundings(job, running, lambda: datetime.now(UTC))
    return next(row for row in rows if row.what.startswith("destination") and row.mark is Mark.FAIL)


@pytest.mark.parametrize(
    ("wrong", "detail", "step"),
    [
        ({"bucket": "not-there"}, "there is no such bucket", "Correct bucket"),
        ({"secret_key": "guess"}, "403", "access_key and secret_key"),
        ({"endpoint_url": "closed"}, "EndpointConnectionError", "endpoint_url"),
    ],
    ids=["bucket", "secret", "endpoint"],
)
def test_a_bucket_that_cannot_be_used_is_told_with_the_setting_to_correct(
    s3: Any, job_of: Any, monkeypatch: pytest.MonkeyPatch, wrong: dict[str, str], detail: str, step: str
) -> None:
    given = dataclasses.asdict(s3) | wrong
    if wrong.get("endpoint_url"):
        given["endpoint_url"] = f"http://127.0.0.1:{closed_port()}"
    monkeypatch.setenv("LIMOSA_TEST_ACCESS", given["access_key"])
    monkeypatch.setenv("LIMOSA_TEST_SECRET", given["secret_key"])
    job = job_of(
        kind="s3",
        endpoint_url=given["endpoint_url"],
        bucket=given["bucket"],
        access_key="env:LIMOSA_TEST_ACCESS",
        secret_key="env:LIMOSA_TEST_SECRET",
    )

    row = failed(job)

    assert detail in row.detail
    assert step in row.next_step and "limosa check" in row.next_step


def test_a_device_that_is_not_there_is_told_with_what_to_mount(job_of: Any, tmp_path: Path) -> None:
    row = failed(job_of(kind="seed", devices=[str(tmp_path / "away")]))

    assert "device away" in row.detail and "not mounted" in row.detail
    assert "Mount it" in row.next_step
