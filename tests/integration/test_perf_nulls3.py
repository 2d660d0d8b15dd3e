"""The forgetting S3 endpoint keeps the promises that boto3 and Limosa's own writers rely on."""

import io
import os
from collections.abc import Iterator

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from imaging.octets import MemoryOctets
from perf.nulls3 import NullS3Process
from storage.errors import AlreadyThere, UploadLost
from storage.packs.crc64 import combine_parts, crc64
from storage.packs.model import Part
from storage.sinks.options import S3Options
from storage.sinks.s3_client import Bucket

MEGABYTE = 1 << 20


@pytest.fixture(scope="module")
def server() -> Iterator[NullS3Process]:
    with NullS3Process() as started:
        yield started


@pytest.fixture
def endpoint(server: NullS3Process) -> NullS3Process:
    server.forget()
    return server


@pytest.fixture
def bucket(endpoint: NullS3Process, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    monkeypatch.setenv("NULL_KEY", "any")
    return Bucket(
        S3Options(
            name="null",
            endpoint_url=endpoint.endpoint_url,
            bucket="bench",
            access_key="env:NULL_KEY",
            secret_key="env:NULL_KEY",
        )
    )


def client(endpoint: NullS3Process, **config: object) -> object:
    return boto3.session.Session().client(
        "s3",
        endpoint_url=endpoint.endpoint_url,
        region_name="us-east-1",
        aws_access_key_id="any",
        aws_secret_access_key="any",
        config=Config(s3={"addressing_style": "path"}, **config),  # type: ignore[arg-type]
    )


def test_a_put_is_counted_with_its_size_and_keeps_its_checksum(bucket: Bucket, endpoint: NullS3Process) -> None:
    body = os.urandom(3 * MEGABYTE + 7)

    bucket.put("a b/ü", MemoryOctets(body), crc64(body), create=True)

    assert endpoint.objects() == {"bench/a b/ü": len(body)}
    assert bucket.head("a b/ü").crc64 == crc64(body)


def test_an_existing_object_is_not_overwritten_where_that_is_forbidden(bucket: Bucket) -> None:
    bucket.put("key", MemoryOctets(b"one"), None, create=True)

    with pytest.raises(AlreadyThere):
        bucket.put("key", MemoryOctets(b"two"), None, create=True)


def test_parts_become_one_object(bucket: Bucket, endpoint: NullS3Process) -> None:
    bodies = [os.urandom(5 * MEGABYTE), os.urandom(MEGABYTE)]
    upload = bucket.open_upload("key")

    parts = [
        Part(
            number=number,
            offset=0,
            size=len(body),
            crc64=crc64(body),
            etag=bucket.put_part("key", upload, number, MemoryOctets(body), crc64(body)),
        )
        for number, body in enumerate(bodies, start=1)
    ]
    bucket.complete("key", upload, parts, combine_parts(parts))

    assert endpoint.objects() == {"bench/key": 6 * MEGABYTE}
    assert bucket.head("key").crc64 == combine_parts(parts)


def test_a_part_that_never_came_is_refused(bucket: Bucket) -> None:
    upload = bucket.open_upload("key")

    with pytest.raises(UploadLost):
        bucket.complete("key", upload, [Part(number=1, offset=0, size=1, crc64=0, etag='"0"')], 0)


def test_an_aborted_upload_is_gone(bucket: Bucket) -> None:
    upload = bucket.open_upload("key")
    bucket.abort("key", upload)

    with pytest.raises(UploadLost):
        bucket.put_part("key", upload, 1, MemoryOctets(b"late"), crc64(b"late"))


def test_a_deleted_object_is_gone(bucket: Bucket) -> None:
    bucket.put("key", MemoryOctets(b"one"), None, create=False)
    bucket.delete("key")

    assert list(bucket.keys("")) == []
    with pytest.raises(FileNotFoundError):
        bucket.head("key")


@pytest.mark.parametrize("size", [0, 20_000, 20 * MEGABYTE])
@pytest.mark.parametrize("signing", [True, False])
def test_boto3_as_most_people_use_it_is_understood(endpoint: NullS3Process, size: int, signing: bool) -> None:
    s3 = client(endpoint)
    s3.meta.config.s3["payload_signing_enabled"] = signing  # type: ignore[attr-defined]

    s3.upload_fileobj(io.BytesIO(bytes(size)), "bench", "file")  # type: ignore[attr-defined]

    assert endpoint.objects() == {"bench/file": size}


def test_a_body_in_chunks_with_a_trailer_counts_without_its_framing(endpoint: NullS3Process) -> None:
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", endpoint.port)

    def framed() -> Iterator[bytes]:
        yield b"5\r\nhello\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n"

    headers = {"X-Amz-Decoded-Content-Length": "5", "Content-Encoding": "aws-chunked", "Transfer-Encoding": "chunked"}
    connection.request("PUT", "/bench/framed", body=framed(), headers=headers, encode_chunked=True)
    status = connection.getresponse().status
    connection.close()

    assert status == 200
    assert endpoint.objects() == {"bench/framed": 5}


def test_an_absent_object_is_absent(endpoint: NullS3Process) -> None:
    s3 = client(endpoint)

    with pytest.raises(ClientError, match="404"):
        s3.head_object(Bucket="bench", Key="nothing")  # type: ignore[attr-defined]
