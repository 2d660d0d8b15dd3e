"""Which destinations fit together in one job, and which of them is written while the archive sends."""

from pathlib import Path
from typing import Any

import pytest

from cluster.job import build_job
from cluster.job_errors import JobFileError

BUCKET = {"kind": "s3", "name": "archive", "endpoint_url": "embedded", "bucket": "images"}
WEB = {"kind": "dicomweb", "name": "vna", "url": "https://vna.example/dicom-web"}


def job_with(*destinations: dict[str, Any]):
    table = {
        "job": {"name": "test"},
        "source": {"host": "127.0.0.1", "port": 104, "ae_title": "PACS"},
        "receivers": [{"ae_title": "LIMOSA", "port": 11112}],
        "destinations": list(destinations),
    }
    return build_job(table, Path("job.toml"))


def test_a_pack_feeds_the_services_wherever_it_stands() -> None:
    assert job_with(WEB, BUCKET).inline_destination.name == "archive"
    assert job_with(BUCKET, WEB).inline_destination.name == "archive"


def test_a_service_may_be_the_only_destination() -> None:
    assert job_with(WEB).inline_destination.name == "vna"


@pytest.mark.parametrize(
    "destinations",
    [({**WEB, "inline": True}, BUCKET), (WEB, {**WEB, "name": "second"}), (WEB, {**BUCKET, "inline": False})],
)
def test_nothing_is_fed_from_a_service(destinations: tuple[dict[str, Any], ...]) -> None:
    with pytest.raises(JobFileError) as caught:
        job_with(*destinations)

    assert "fed from a DICOM service" in str(caught.value)


PACS = {"kind": "dimse", "name": "pacs", "host": "127.0.0.1", "port": 105, "ae_title": "NEW"}


def test_an_archive_that_nothing_would_prove_is_refused() -> None:
    with pytest.raises(JobFileError) as caught:
        job_with(PACS)

    assert "proves nothing" in str(caught.value)
    assert job_with({**PACS, "commitment": {"port": 11113}}).inline_destination.name == "pacs"
    assert job_with(BUCKET, {**PACS, "dicomweb": {"url": WEB["url"]}}).inline_destination.name == "archive"


def test_reports_have_a_port_of_their_own() -> None:
    with pytest.raises(JobFileError) as caught:
        job_with({**PACS, "commitment": {"port": 11112}})

    assert "11112" in str(caught.value)


def test_credentials_in_the_address_are_refused_and_not_repeated() -> None:
    with pytest.raises(JobFileError) as caught:
        job_with({**WEB, "url": "https://me:s3cr3t@vna.example/dicom-web"})

    assert "s3cr3t" not in str(caught.value)
    assert "token" in str(caught.value)


SNOWBALL = {
    "kind": "s3",
    "name": "ball",
    "profile": "snowball",
    "endpoint_url": "http://192.0.2.1:8080",
    "bucket": "ball",
}


def test_a_snowball_gets_no_more_connections_than_it_keeps() -> None:
    assert job_with({**SNOWBALL, "connections": 500}).destinations[0].connections == 500

    with pytest.raises(JobFileError) as caught:
        # One mover, one feeder, one validator.
        job_with({**SNOWBALL, "connections": 334}, WEB)

    assert "'ball' may be given 1002 connections at once and takes 1000" in str(caught.value)


def test_what_a_profile_does_not_take_is_told_with_the_rest_of_the_file() -> None:
    with pytest.raises(JobFileError) as caught:
        job_with({**SNOWBALL, "checksum": "crc64nvme", "storage_class": "STANDARD_IA"})

    told = str(caught.value)
    assert 'checksum: a snowball endpoint knows only "none"' in told
    assert "storage_class: a snowball endpoint has none" in told
