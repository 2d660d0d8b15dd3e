"""Bytes that change at a destination are found by the read-back, and only the damaged instances are named."""

import hashlib
from urllib.parse import urlsplit

import boto3
import pytest
from blake3 import blake3

from cluster.cli.imports import jobs_at
from infra.proxy import Proxy, Signer, WeakStore, on
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


def test_a_byte_that_changed_on_the_way_into_a_weak_store_is_found_and_the_rest_is_proven(engine, free_port, s3):
    receiver_port = free_port()
    archive = synthetic_archive(studies=4, seed=11, instances=3, side=16)
    spoilt = min(archive.manifest().study_uids)
    # It ignores conditions and checksums: nobody but the read-back can notice.
    signer = Signer(access_key=s3.access_key, secret_key=s3.secret_key, region=s3.region)
    store = WeakStore(signer, damages=lambda asked: on("put")(asked) and f"/{spoilt}.r0001.tar" in asked.path)
    with (
        Simulator(archive, destinations={"MIG01": ("127.0.0.1", receiver_port)}) as pacs,
        Proxy(urlsplit(s3.endpoint_url).port, store=store) as proxy,
    ):
        weak = {"endpoint_url": proxy.url, "if_none_match": False}
        job = engine(pacs.port, receiver_port=receiver_port, s3_options=weak)
        job.run()

    client, _ = objects(job.job.destinations[0].model_copy(update={"endpoint_url": s3.endpoint_url}))
    (problem,) = job.problems()
    assert (problem.kind, problem.study_uid) == ("DIGEST_MISMATCH", spoilt)
    assert sorted(job.statuses().values()).count(StudyStatus.DONE) == 3
    proven = job.rows(
        "select r.key, v.object_sha256, v.object_blake3, c.payload from validation v join receipt r using (delivery_id)"
        " join delivery d using (delivery_id) join custody c using (study_key)"
        " where v.mismatches = 0 and c.event = 'validated'"
    )
    assert len(proven) == 3
    for key, sha256, whole, noted in proven:
        body = client.get_object(Bucket=s3.bucket, Key=key)["Body"].read()
        assert (sha256, whole) == (hashlib.sha256(body).digest(), blake3(body).digest())
        assert (noted["object_sha256"], noted["object_blake3"]) == (sha256.hex(), whole.hex())


@pytest.mark.parametrize(
    ("layout", "name"),
    [
        ("p10", "r0001/1.2.3/9.9.dcm"),
        ("p10", "9.9.dcm"),
        ("p10", "r0001/notes.txt"),
        ("imaging-service", "r0001/b0001/9.9.dcm"),
    ],
)
def test_what_a_stranger_put_among_loose_instances_is_named(engine, free_port, layout, name):
    receiver_port = free_port()
    archive = synthetic_archive(studies=2, seed=11, instances=2, side=16)
    with Simulator(archive, destinations={"MIG01": ("127.0.0.1", receiver_port)}) as pacs:
        job = engine(pacs.port, receiver_port=receiver_port, layout=layout)
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

    if layout == "imaging-service":
        [proven] = [uid for uid, status in job.statuses().items() if status is StudyStatus.DONE]
        [taken] = jobs_at(job.ledger, job.sink("cloud"), "cloud")
        taken_in = [key for key in keys if key.startswith(taken.prefix)]
        assert taken.files == len(taken_in) > 0
        assert all(f"/{proven}/" in key for key in taken_in)
    (problem,) = job.problems()
    assert (problem.kind, problem.study_uid) == ("DIGEST_MISMATCH", chosen)
    assert problem.evidence["strangers"] == [name]
    assert (problem.evidence["counts"]["strangers"], problem.evidence["counts"]["missing"]) == (1, 0)
    assert list(job.statuses().values()).count(StudyStatus.DONE) == 1
