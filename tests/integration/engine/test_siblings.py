"""Several mover processes share one AE title and port: instances find the process that waits for them."""

from datetime import timedelta

from pydicom.filereader import read_file_meta_info
from pynetdicom.ae import ApplicationEntity

from actors.dimse.handover import HandoverClient
from infra.simulator import Faults, Simulator, synthetic_archive

LEASE = timedelta(seconds=2)


def send(paths, port: int, called_ae: str) -> list[int]:
    """The statuses of these files, sent over one association."""
    metas = [read_file_meta_info(path) for path in paths]
    scu = ApplicationEntity("STRANGER")
    for pair in sorted({(str(meta.MediaStorageSOPClassUID), str(meta.TransferSyntaxUID)) for meta in metas}):
        scu.add_requested_context(*pair)
    association = scu.associate("127.0.0.1", port, ae_title=called_ae)
    statuses = [association.send_c_store(path).Status for path in paths]
    association.release()
    return statuses


def test_two_movers_behind_one_title_hand_over_and_everything_arrives(engine, free_port, monkeypatch):
    handed = []
    offer = HandoverClient.offer

    def counted(self, incoming):
        status = offer(self, incoming)
        handed.append(status)
        return status

    monkeypatch.setattr(HandoverClient, "offer", counted)
    receiver_port = free_port()
    archive = synthetic_archive(studies=16, seed=18, instances=3, side=16)
    with Simulator(archive, destinations={"MIG01": ("127.0.0.1", receiver_port)}) as pacs:
        job = engine(pacs.port, receiver_port=receiver_port, processes=2, associations=3)

        job.run()

    assert handed and set(handed) == {0}
    job.assert_delivered(archive.manifest())
    assert job.kinds() == set()
    assert job.quarantined() == []


def test_movers_in_processes_of_their_own_hand_over_and_keep_what_nobody_waits_for(engine, free_port, tmp_path):
    receiver_port = free_port()
    archive = synthetic_archive(studies=12, seed=18, instances=3, side=16)
    stranger = synthetic_archive(studies=1, seed=99, instances=1, side=16)
    files = stranger.export(tmp_path / "stranger")
    with Simulator(archive, destinations={"MIG01": ("127.0.0.1", receiver_port)}) as pacs:
        job = engine(pacs.port, receiver_port=receiver_port, processes=2, associations=2)
        job.take_inventory()
        job.plan()
        job.spawn_all()
        job.start_validator()
        statuses = [status for _ in range(4) for status in send(files, receiver_port, "MIG01")]
        job.finish()
        job.stop()

    assert set(job.rows("select actor from custody where event = 'written'")) == {("mover-0",), ("mover-1",)}
    assert set(statuses) == {0}
    job.assert_delivered(archive.manifest())
    [problem] = job.problems()
    assert (problem.kind, problem.times_seen) == ("UNSOLICITED", 4)
    assert {e["sop_uid"] for e in job.evidence()} == {instance.sop_uid for instance in stranger.manifest()}
    assert len(job.quarantined()) == 4


def test_a_mover_that_dies_leaves_its_studies_to_its_sibling(engine, free_port):
    receiver_port = free_port()
    archive = synthetic_archive(studies=10, seed=18, instances=3, side=16)
    with Simulator(archive, destinations={"MIG01": ("127.0.0.1", receiver_port)}) as pacs:
        pacs.faults = Faults(store_latency=0.05)
        job = engine(
            pacs.port, receiver_port=receiver_port, processes=2, associations=2, limits={"lease": LEASE, "attempts": 9}
        )
        job.take_inventory()
        job.plan()
        first, _ = job.spawn_all()
        job.start_validator()
        job.wait_until(lambda: any(c.worker == first.name for c in job.ledger.status.live_claims()), what="a claim")
        first.kill()
        job.finish()
        job.stop()

    job.assert_delivered(archive.manifest())
    assert job.kinds() == set()
