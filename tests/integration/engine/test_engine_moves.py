"""A small archive moves from the simulator to S3 and a device, and is proven."""

import pytest

from infra.simulator import Simulator, synthetic_archive


@pytest.mark.parametrize("layout", ["pack", "p10"])
def test_every_instance_arrives_as_it_was_stored(engine, free_port, layout):
    receiver_port = free_port()
    archive = synthetic_archive(studies=20, seed=5)
    with Simulator(archive, destinations={"MIG01": ("127.0.0.1", receiver_port)}) as pacs:
        job = engine(pacs.port, receiver_port=receiver_port, seed=layout == "pack", layout=layout)

        job.run()

    job.assert_delivered(archive.manifest())
    assert job.kinds() == set()
    assert job.unfinished_uploads() == set()
