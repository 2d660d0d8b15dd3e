"""The embedded S3 endpoint keeps what it acknowledged and lets nobody in from outside."""

import http.client
from collections.abc import Callable
from typing import Any

import boto3
import psutil
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from infra.embedded.seaweedfs import EmbeddedS3

BODY = bytes(range(256)) * 20_000


def connect(server: EmbeddedS3, secret: str | None = None) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=server.endpoint_url,
        aws_access_key_id=server.access_key,
        aws_secret_access_key=secret or server.secret_key,
        region_name=server.region,
        config=Config(retries={"total_max_attempts": 1}),
    )


def test_objects_survive_a_kill(own_s3: EmbeddedS3) -> None:
    url = own_s3.endpoint_url
    connect(own_s3).create_bucket(Bucket="kept")
    connect(own_s3).put_object(Bucket="kept", Key="pack", Body=BODY)

    own_s3.kill()
    assert own_s3.pid is None
    own_s3.start()

    assert own_s3.endpoint_url == url
    assert connect(own_s3).get_object(Bucket="kept", Key="pack")["Body"].read() == BODY


def test_no_listener_can_be_reached_from_outside(s3_server: EmbeddedS3) -> None:
    server = psutil.Process(s3_server.pid)

    listeners = [c for c in server.net_connections("inet") if c.status == psutil.CONN_LISTEN]

    assert len(listeners) >= 4
    assert {c.laddr.ip for c in listeners} == {"127.0.0.1"}


def test_listens_only_where_it_was_told_to(s3_server: EmbeddedS3) -> None:
    """A port of the program's own choice would be the same one on every server of a machine."""
    server = psutil.Process(s3_server.pid)
    told = {int(word.split("=")[1]) for word in server.cmdline() if ".port" in word}

    listeners = {c.laddr.port for c in server.net_connections("inet") if c.status == psutil.CONN_LISTEN}

    assert listeners <= told


def test_runs_as_an_unprivileged_user_and_reports_to_nobody(s3_server: EmbeddedS3) -> None:
    server = psutil.Process(s3_server.pid)

    assert server.uids().effective != 0
    assert "-master.telemetry=false" in server.cmdline()


def test_the_key_is_needed_and_not_in_the_process_list(s3_server: EmbeddedS3) -> None:
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        connect(s3_server, secret="guess").list_buckets()

    assert s3_server.secret_key not in " ".join(psutil.Process(s3_server.pid).cmdline())


def test_the_console_lets_nobody_in_and_its_password_is_not_in_the_process_list(
    s3_server: EmbeddedS3, wait_until: Callable[..., None]
) -> None:
    words = psutil.Process(s3_server.pid).cmdline()
    port = int(next(word for word in words if word.startswith("-admin.port=")).partition("=")[2])
    answers: list[int] = []

    def answered() -> bool:
        console = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            console.request("GET", "/api/cluster/topology")
            answers.append(console.getresponse().status)
        except ConnectionRefusedError:
            # It listens some time after S3 does.
            return False
        finally:
            console.close()
        return True

    wait_until(answered, what="the console")

    assert answers[0] in (401, 404)
    assert [word for word in words if "password" in word] == []


def test_a_bucket_of_ones_own_is_empty(s3: Any, s3_server: EmbeddedS3) -> None:
    listing = connect(s3_server).list_objects_v2(Bucket=s3.bucket)

    assert listing["KeyCount"] == 0
