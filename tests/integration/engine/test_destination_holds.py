"""What a destination holds is held against what the ledger says it should."""

from cluster.exit import Exit
from cluster.summary import list_destination, summarise
from infra.simulator import Simulator, workload_archive


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
