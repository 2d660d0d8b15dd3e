"""What a client says on the wire under each profile and setting; a proxy reads it, where SeaweedFS would not mind."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import boto3
import pytest
from botocore.awsrequest import AWSResponse

from infra.proxy import Asked, Fault, Kind, Proxy
from storage.errors import AlreadyThere, StorageError
from storage.packs.model import Container
from storage.packs.reader import PackReader
from storage.sinks.open import open_sink
from storage.sinks.options import S3Options
from storage.sinks.s3 import S3Sink

MIB = 1 << 20
SIZES = [3 * MIB] * 3
NewOptions = Callable[..., S3Options]


@pytest.fixture
def proxy(s3: Any) -> Iterator[Proxy]:
    with Proxy(urlsplit(s3.endpoint_url).port or 0) as listening:
        yield listening


def write(sink: Any, study: Any, journal: Any) -> Any:
    writer = sink.writer(study.pack, Container.TAR, 0, journal, journal.row)
    try:
        study.feed(writer)
        return writer.finish()
    finally:
        writer.close()


def storing(proxy: Proxy) -> list[Asked]:
    """Requests that make an object or an upload."""
    return [each.asked for each in proxy.passed if each.asked.operation in ("put", "create upload")]


def test_a_snowball_is_asked_for_nothing_that_its_adapter_does_not_know(
    proxy: Proxy, s3_options: NewOptions, kit: SimpleNamespace
) -> None:
    options = s3_options(profile="snowball", endpoint_url=proxy.url, checksum="none", region="snow")
    sink = S3Sink(options)
    large, small = kit.Study(SIZES, number=1), kit.Study([1000], number=2)

    receipts = [write(sink, study, kit.Journal()) for study in (large, small)]
    assert all(row.ok for row in sink.probe())
    assert {held.pack.study_uid for held in sink.packs()} == {large.pack.study_uid, small.pack.study_uid}
    assert sink.sweep(frozenset()) == 0

    for study, receipt in zip((large, small), receipts, strict=True):
        reader = PackReader(sink, study.pack, receipt.container, receipt.key)
        assert len([b"".join(pieces) for _, pieces in reader.walk()]) == len(study.instances)
    asked = [each.asked for each in proxy.passed]
    assert {each.operation for each in asked} >= {"list", "list uploads", "upload part", "complete upload", "get"}
    for each in asked:
        assert each.path.startswith(f"/{options.bucket}"), "the bucket is in the path"
        assert "list-type" not in each.query and "continuation-token" not in each.query
        assert "transfer-encoding" not in each.headers and "content-encoding" not in each.headers
        assert not each.headers.get("x-amz-content-sha256", "").startswith(("STREAMING", "UNSIGNED"))
        unknown = ("x-amz-checksum", "x-amz-sdk-checksum", "x-amz-tagging", "x-amz-object-lock", "x-amz-trailer")
        assert not [name for name in each.headers if name.startswith(unknown) or name == "if-none-match"]


def test_an_object_that_opening_an_upload_would_delete_is_compared_and_left(
    proxy: Proxy, s3_options: NewOptions, kit: SimpleNamespace
) -> None:
    sink = S3Sink(s3_options(profile="snowball", endpoint_url=proxy.url))
    study, other = kit.Study(SIZES), kit.Study([*SIZES[:2], 3 * MIB + 1])
    first = write(sink, study, kit.Journal())
    proxy.forget()

    again = write(sink, study, kit.Journal())
    with pytest.raises(AlreadyThere):
        write(sink, other, kit.Journal())

    assert (again.key, again.crc64) == (first.key, first.crc64)
    assert not [each for each in proxy.passed if each.asked.operation in ("create upload", "upload part")]


def test_half_a_list_is_no_list(proxy: Proxy, s3_options: NewOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    sink: Any = S3Sink(s3_options(profile="snowball", endpoint_url=proxy.url))
    monkeypatch.setattr(sink._bucket._client, "list_objects", lambda **asked: {"IsTruncated": True, "Contents": []})

    with pytest.raises(StorageError, match="cut off"):
        list(sink.packs())


def test_class_key_tags_and_lock_go_with_every_object_and_upload(
    proxy: Proxy, s3_options: NewOptions, kit: SimpleNamespace
) -> None:
    sink = S3Sink(
        s3_options(
            endpoint_url=proxy.url,
            storage_class="STANDARD_IA",
            sse="aws:kms",
            kms_key="alias/images",
            tags={"owner": "radiology", "retention class": "30 years"},
            lock_mode="COMPLIANCE",
            lock_days=30,
        )
    )
    proxy.plan(Fault(Kind.ANSWER, lambda asked: asked.method in ("PUT", "POST"), status=403, code="Refused", times=9))

    for study in (kit.Study([1000], number=1), kit.Study(SIZES, number=2)):
        with suppress(StorageError):
            write(sink, study, kit.Journal())

    assert {each.operation for each in storing(proxy)} == {"put", "create upload"}
    for each in storing(proxy):
        said = each.headers
        assert said["x-amz-storage-class"] == "STANDARD_IA"
        assert said["x-amz-server-side-encryption"] == "aws:kms"
        assert said["x-amz-server-side-encryption-aws-kms-key-id"] == "alias/images"
        assert said["x-amz-server-side-encryption-bucket-key-enabled"] == "true"
        assert parse_qs(said["x-amz-tagging"]) == {"owner": ["radiology"], "retention class": ["30 years"]}
        assert said["x-amz-object-lock-mode"] == "COMPLIANCE"
        left = datetime.fromisoformat(said["x-amz-object-lock-retain-until-date"]) - datetime.now(UTC)
        assert timedelta(days=29, hours=23) < left <= timedelta(days=30)
        assert "x-amz-checksum-crc64nvme" in said or said["x-amz-checksum-algorithm"] == "CRC64NVME"


def test_a_pack_is_locked_and_tagged_at_the_endpoint_and_probes_are_not(
    s3_server: Any, s3_options: NewOptions, kit: SimpleNamespace
) -> None:
    client: Any = boto3.client(
        "s3",
        endpoint_url=s3_server.endpoint_url,
        region_name=s3_server.region,
        aws_access_key_id=s3_server.access_key,
        aws_secret_access_key=s3_server.secret_key,
    )
    options = s3_options(lock_mode="GOVERNANCE", lock_days=1, tags={"owner": "radiology"})
    locking = options.model_copy(update={"bucket": f"{options.bucket}-locks"})
    client.create_bucket(Bucket=locking.bucket, ObjectLockEnabledForBucket=True)
    sink: Any = open_sink(locking)

    receipts = [write(sink, kit.Study(sizes, number=n), kit.Journal()) for n, sizes in enumerate(([1000], SIZES), 1)]

    assert all(row.ok for row in sink.probe()), [row for row in sink.probe() if not row.ok]
    for receipt in receipts:
        kept = client.get_object_retention(Bucket=locking.bucket, Key=receipt.key)["Retention"]
        assert kept["Mode"] == "GOVERNANCE" and kept["RetainUntilDate"] > datetime.now(UTC)
        tags = client.get_object_tagging(Bucket=locking.bucket, Key=receipt.key)["TagSet"]
        assert tags == [{"Key": "owner", "Value": "radiology"}]
    unlocked = {row.what: row.ok for row in open_sink(options).probe()}
    assert unlocked == unlocked | {"Object Lock on": False, "put, get": True}


def test_aws_is_asked_by_the_name_of_the_bucket(s3_options: NewOptions) -> None:
    sink: Any = S3Sink(s3_options(profile="aws", endpoint_url=None, region="eu-central-1", bucket="hospital-images"))
    asked: list[str] = []

    def answered(request: Any, **rest: Any) -> AWSResponse:
        """In place of AWS, which no test speaks to."""
        asked.append(request.url)
        return AWSResponse(request.url, 200, {}, SimpleNamespace(stream=lambda: iter(())))

    sink._bucket._client.meta.events.register("before-send.s3", answered)

    sink._bucket.reach()

    assert asked == ["https://hospital-images.s3.eu-central-1.amazonaws.com/"]
