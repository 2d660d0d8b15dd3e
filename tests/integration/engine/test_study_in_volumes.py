"""A study that no device takes whole goes from the source, or from the cloud's pack, onto several, and is read back."""

import pytest

from infra.simulator import Simulator
from storage.sinks.device import Device
from storage.sinks.options import SeedOptions

DEVICE = 6 << 20


@pytest.fixture(autouse=True)
def small_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    def used(device: Device) -> int:
        return sum(path.stat().st_size for path in device.root.rglob("*") if path.is_file())

    monkeypatch.setattr(Device, "capacity", lambda device: DEVICE)
    monkeypatch.setattr(Device, "free", lambda device: DEVICE - used(device))


@pytest.mark.parametrize("way", ["pulled", "fed"])
def test_a_study_of_15_mib_lies_on_three_devices_of_6_and_every_byte_is_proven(way, engine, free_port, large, tmp_path):
    receiver_port = free_port()
    devices = tuple(tmp_path / f"disk-{number}" for number in (1, 2, 3))
    with Simulator(large, destinations={"MIG01": ("127.0.0.1", receiver_port)}) as pacs:
        if way == "fed":
            job = engine(pacs.port, receiver_port=receiver_port, devices=devices, seed_options={"reserve": 0})
        else:
            for device in devices:
                device.mkdir()
                Device(device)
            disks = SeedOptions(name="disk", devices=devices, reserve=0)
            job = engine(pacs.port, receiver_port=receiver_port, alone=disks)

        job.run()

    job.assert_delivered(large.manifest())
    assert job.kinds() == set()
    assert job.rows("select number, ended from volume order by number") == [(1, "device"), (2, "device"), (3, "last")]
    assert len({row[0] for row in job.rows("select device from volume")}) == 3
    assert job.rows("select count(*), sum(digests_compared)::int from validation v join receipt r using (delivery_id)"
                    " where r.device = '' and r.crc64 is not null and v.object_sha256 is not null"
                    " and exists (select from volume w where w.delivery_id = v.delivery_id)") == [(1, 90)]  # fmt: skip
