"""Bytes that change at a destination are found by the read-back, and only the damaged instances are named."""

import boto3
import pytest

from infra.simulator import Simulator, synthetic_archive
from storage.ledger.lifecycle import StudyStatus


def objects(options):
    import os

    client = boto3.client(
        "s3",
        endpoint_url=options.endpoint_url,
        aws_access_key_id=os.environ["TEST_S3_ACCESS"],
        aws_secret_access_key=os.environ["TEST_S3_SECRET"],
        region_name=options.region,
    )
    return client, [item["Key"] for item in client.list_objects_v2(Bucket=options.bucket)["Contents"]]


@pytest.mark.parametrize("suffix", [".tar.zst", ".tar"])
def test_one_flipped_byte_names_one_instance(engine, free_port, suffix):
    receiver_port = free_port()
    archive = synthetic_archive(studies=12, seed=11, instances=4)
    with Simulator(archive, destinations={"MIG01": ("127.0.0.1", receiver_port)}) as pacs:
        job = engine(pacs.port, receiver_port=receiver_port)
        job.take_inventory()
        job.plan()
        job.start_movers()
        job.wait_until(lambda: not job.ledger.status.left_of("pull"), 60, "every study to be written")
    options = job.job.destinations[0]
    client, keys = objects(options)
    packs = {key: client.get_object(Bucket=options.bucket, Key=key)["Body"].read() for key in keys}
    key = max((key for key in packs if key.endswith(suffix) and "/r0" not in key), key=lambda key: len(packs[key]))
    body = bytearray(packs[key])
    body[700] ^= 0x40
    client.put_object(Bucket=options.bucket, Key=key, Body=bytes(body))

    job.start_validator()
    job.finish()
    job.stop()

    damaged = [uid for uid, status in job.statuses().items() if status is not StudyStatus.DONE]
    assert len(damaged) == 1 and damaged[0] in key
    (problem,) = job.problems("DIGEST_MISMATCH")
    assert problem.study_uid == damaged[0] and problem.blocking
    assert problem.evidence["counts"]["unreadable"] == 1
    assert problem.evidence["counts"]["missing"] == 0


@pytest.mark.parametrize("name", ["r0001/1.2.3/9.9.dcm", "9.9.dcm", "r0001/notes.txt"])
def test_what_a_stranger_put_among_loose_instances_is_named(engine, free_port, name):
    receiver_port = free_port()
    archive = synthetic_archive(studies=2, seed=11, instances=2, side=16)
    with Simulator(archive, destinations={"MIG01": ("127.0.0.1", receiver_port)}) as pacs:
        job = engine(pacs.port, receiver_port=receiver_port, layout="p10")
        job.take_inventory()
        job.plan()
        job.start_movers()
        job.wait_until(lambda: not job.ledger.status.left_of("pull"), 60, "every study to be written")
    options = job.job.destinations[0]
    client, keys = objects(options)
    chosen = sorted(job.statuses())[0]
    folder = next(key for key in keys if f"/{chosen}/r0001/" in key).partition("/r0001/")[0]
    # Another revision of the study is a delivery of its own.
    for placed in (name, "r0002/1.2.3/8.8.dcm"):
        client.put_object(Bucket=options.bucket, Key=f"{folder}/{placed}", Body=b"DICM?")

    job.start_validator()
    job.finish()
    job.stop()

    (problem,) = job.problems()
    assert (problem.kind, problem.study_uid) == ("DIGEST_MISMATCH", chosen)
    assert problem.evidence["strangers"] == [name]
    assert (problem.evidence["counts"]["strangers"], problem.evidence["counts"]["missing"]) == (1, 0)
    assert list(job.statuses().values()).count(StudyStatus.DONE) == 1
