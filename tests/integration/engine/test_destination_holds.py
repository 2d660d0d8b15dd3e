"""What a destination holds is held against what the ledger says it should."""

import pytest

from actors import packing
from cluster.exit import Exit
from cluster.summary import list_destination, summarise
from imaging.octets import MemoryOctets
from infra.simulator import Simulator, workload_archive
from storage.packs.crc64 import crc64
from storage.packs.model import Container


def test_a_proven_pack_that_is_no_longer_there_ends_with_3(engine, free_port):
    receiver_port = free_port()
    archive = workload_archive(studies=3, instances=2)
    with Simulator(archive, destinations={"MIG01": ("127.0.0.1", receiver_port)}) as pacs:
        job = engine(pacs.port, receiver_port=receiver_port, seed=True)
        job.run()
    whole = {name: list_destination(job.ledger, job.sink(name)) for name in ("cloud", "disk")}

    job.sink("cloud")._bucket.delete(min(job.objects()))
    less = whole | {"cloud": list_destination(job.ledger, job.sink("cloud"))}

    assert summarise(job.ledger, whole).exit is Exit.DONE
    assert [(each.packs, each.gone) for each in less.values()] == [(2, 1), (3, 0)]
    assert summarise(job.ledger, less).exit is Exit.INTEGRITY


def test_a_recount_leaves_work_and_no_pack_is_gone(engine, free_port):
    receiver_port = free_port()
    archive = workload_archive(studies=2, instances=2)
    with Simulator(archive, destinations={"MIG01": ("127.0.0.1", receiver_port)}) as pacs:
        job = engine(pacs.port, receiver_port=receiver_port)
        job.run()

    job.ledger.inventory.recount(job.rows("select min(study_key) from study")[0][0])
    job.plan()
    summary = summarise(job.ledger, {"cloud": list_destination(job.ledger, job.sink("cloud"))})

    assert (summary.gone, summary.unfinished) == (0, 1)
    assert summary.exit is Exit.EXCEPTIONS


@pytest.mark.parametrize("what", ["header", "end", "sidecar"])
def test_a_pack_that_other_tools_cannot_read_is_not_proven(engine, free_port, monkeypatch, what):
    monkeypatch.setattr(packing, "container_for", lambda syntax, raw: Container.TAR)
    receiver_port = free_port()
    archive = workload_archive(studies=1, instances=2)
    with Simulator(archive, destinations={"MIG01": ("127.0.0.1", receiver_port)}) as pacs:
        job = engine(pacs.port, receiver_port=receiver_port)
        job.take_inventory()
        job.plan()
        job.start_movers()
        job.wait_until(lambda: job.rows("select state from delivery") == [("written",)], what="the study to be written")
        job.stop()
    bucket = job.sink("cloud")._bucket
    [(key, size)] = job.rows("select key, size from receipt")
    body = bytearray(b"".join(bucket.stream(key, 0, size)))
    if what == "header":
        body[:512] = b"\xff" * 512
    if what == "end":
        body[-1024:] = b"\xee" * 1024
    bucket.put(key, MemoryOctets(bytes(body)), crc64(body), create=False)
    if what == "sidecar":
        (sidecar,) = bucket.keys("index/")
        bucket.delete(sidecar)

    job.start_validator()
    job.finish()

    (problem,) = job.problems()
    told = "sidecar" if what == "sidecar" else "object"
    assert (problem.kind, problem.evidence) == ("DIGEST_MISMATCH", {"what": told})
