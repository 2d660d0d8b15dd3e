"""Devices on the near side: prepared, read back, sealed, shipped; damage is named and mended before anything leaves."""

import re
from pathlib import Path
from typing import Any

import pytest

from cluster.job import load_job
from cluster.registry import register_job
from cluster.seeding import sealing
from imaging.uid import Uid
from storage.ledger.resolving import Resolution
from storage.packs.model import Container, PackId
from storage.packs.naming import pack_key
from storage.seeds.opening import open_seed
from storage.sinks.device import PAYLOAD, Device


def test_a_shipment_is_sealed_and_every_chain_says_so(shipment) -> None:
    shipment.load()

    sealed = shipment.seal("SN-1")
    shipped = shipment.do("ship", str(shipment.file), "SN-1", "--carrier", "Courier Ltd", "--by", "m.keller")

    assert (sealed["sealed"], sealed["packs"], sealed["instances"], sealed["deliveries"]) == (True, 2, 4, 2)
    assert shipped["deliveries"] == 2
    assert shipment.states() == {"1.2.1/1": "shipped", "1.2.2/1": "shipped", "1.2.3/1": "validated"}
    assert shipment.events("1.2.1") == ["written", "validated", "sealed", "shipped"]
    assert shipment.device_states() == {"disk-1": "shipped", "disk-2": "loading"}
    assert all(chain.broken() is None for chain in shipment.ledger.custody.chains())
    note = Path(sealed["seal_file"]).read_text()
    opened = open_seed(shipment.roots[0], note, None, shipment.folder)
    assert (opened.seal.serial, opened.seal.job, str(opened.key)) == ("SN-1", "move", sealed["key"])
    assert sealed["seal_file"] not in (str(path) for path in shipment.roots[0].rglob("*"))


def test_a_device_that_others_are_fed_from_leaves_only_when_told_so(shipment) -> None:
    bucket = '[[destinations]]\nkind = "s3"\nname = "cloud"\nendpoint_url = "http://127.0.0.1:1"\nbucket = "images"\n'
    shipment.file.write_text(f"{shipment.file.read_text()}\n{bucket}")
    shipment.job = load_job(shipment.file)
    register_job(shipment.job, shipment.ledger)
    shipment.load()
    ship = ("ship", str(shipment.file), "SN-1", "--carrier", "hand")

    sealed = shipment.seal("SN-1")
    refused = shipment.do(*ship, rc=1)

    assert sealed["unfed"] == 2
    assert "2 deliveries to other destinations still to be written from device disk-1" in refused
    assert shipment.device_states()["disk-1"] == "sealed"
    assert shipment.do(*ship, "--leave-unfed")["deliveries"] == 2
    assert shipment.do(*ship)["deliveries"] == 0


def test_the_slip_says_what_is_counted_and_names_nobody(shipment) -> None:
    shipment.load()

    sealed = shipment.seal("SN-1")

    slip = Path(sealed["slip"]).read_text()
    shown = re.sub(r"<[^>]+>", " ", slip)
    for told in ("SN-1", sealed["device_id"], sealed["read_out"], sealed["root"]):
        assert told in shown
    assert "<svg" in slip
    assert not re.search(r"Doe|MRN1|1\.2\.[123]\b|https?://(?!www\.w3\.org/)", slip)


def test_damage_is_named_by_pack_and_instance_and_mended_by_a_new_revision(shipment) -> None:
    shipment.load()
    shipment.flip("1.2.1", 700)

    read = shipment.do("verify", str(shipment.file), rc=3)
    refused = shipment.do("seal", str(shipment.file), "SN-1", "--key", str(shipment.key), rc=2)

    (damage,) = read["damaged"]
    assert (damage["serial"], damage["study_uid"], damage["instances"]) == ("SN-1", "1.2.1", ["1.2.1.1.1"])
    assert damage["key"] == shipment.receipts["1.2.1"].key
    assert "1 packs need a person" in refused
    assert shipment.states()["1.2.1/1"] == "exception"
    (problem,) = shipment.ledger.exceptions.list_open()
    assert (problem.kind, problem.evidence["instances"]) == ("DIGEST_MISMATCH", ["1.2.1.1.1"])

    shipment.ledger.exceptions.resolve(problem.exception_id, Resolution.RENEW, by="m.keller")
    old = shipment.path("1.2.1")
    shipment.deliver("1.2.1", shipment.roots[0], revise=True)
    sealed = shipment.seal("SN-1")

    assert (sealed["packs"], sealed["withdrawn"]) == (2, 1)
    assert not old.exists()
    assert shipment.states() == {
        "1.2.1/1": "void", "1.2.1/2": "sealed", "1.2.2/1": "sealed", "1.2.3/1": "validated"
    }  # fmt: skip
    assert "withdrawn" in shipment.events("1.2.1")


def test_sealing_reads_every_byte_itself_and_seals_nothing_that_is_damaged(shipment) -> None:
    shipment.load()
    shipment.flip("1.2.2", 100)

    told = shipment.do("seal", str(shipment.file), "SN-1", "--key", str(shipment.key), rc=3)

    assert (told["sealed"], [each["study_uid"] for each in told["damaged"]]) == (False, ["1.2.2"])
    assert not Device(shipment.roots[0]).sealed
    assert shipment.states()["1.2.2/1"] == "exception"


def test_what_nobody_wrote_stops_a_seal_and_what_a_crash_left_is_taken_off(shipment) -> None:
    shipment.load()
    disk = shipment.roots[0]
    leftover = disk / pack_key(PackId(study_uid=Uid("1.9"), revision=1), Container.TAR, PAYLOAD)
    leftover.parent.mkdir(parents=True)
    leftover.write_bytes(b"half a pack")
    (disk / "Holiday Photos").mkdir()

    refused = shipment.do("seal", str(shipment.file), "SN-1", "--key", str(shipment.key), rc=2)
    (disk / "Holiday Photos").rmdir()
    shipment.seal("SN-1")

    assert "Holiday Photos" in refused
    assert not leftover.exists()


def test_a_link_among_the_packs_is_never_shipped(shipment) -> None:
    shipment.load()
    (shipment.roots[0] / "data" / "studies" / "passwd").symlink_to("/etc/passwd")

    refused = shipment.do("seal", str(shipment.file), "SN-1", "--key", str(shipment.key), rc=2)

    assert "neither a file nor a folder" in refused


def test_a_seal_that_the_ledger_did_not_learn_of_is_finished_by_the_next(shipment, monkeypatch) -> None:
    shipment.load()

    class Killed(BaseException):
        pass

    def die(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("storage.ledger.seeds.Seeds.seal_page", die)
        with pytest.raises(Killed):
            shipment.seal("SN-1")
    before = shipment.states()["1.2.1/1"]

    again = shipment.seal("SN-1")

    assert (before, again["deliveries"]) == ("validated", 2)
    assert shipment.states()["1.2.1/1"] == "sealed"


def test_a_device_with_nothing_but_replaced_packs_is_emptied_to_be_loaded_again(shipment) -> None:
    shipment.prepare()
    one, two = shipment.roots
    shipment.deliver("1.2.1", one)
    shipment.flip("1.2.1", 3000)
    shipment.do("verify", str(shipment.file), "SN-1", rc=3)
    (damage,) = shipment.ledger.exceptions.list_open()
    shipment.ledger.exceptions.resolve(damage.exception_id, Resolution.RENEW, by="m.keller")
    shipment.deliver("1.2.1", two, revise=True)

    refused = shipment.do("seal", str(shipment.file), "SN-1", "--key", str(shipment.key), rc=2)

    assert "no pack is on it" in refused
    assert not list(one.rglob("*.tar")) and "withdrawn" in shipment.events("1.2.1")


def test_what_a_worker_wrote_while_its_device_was_read_is_never_shipped_unlisted(shipment, monkeypatch) -> None:
    shipment.load()
    read = sealing.read_pack

    def busy(*args: Any) -> Any:
        if "1.2.4" not in shipment.receipts:
            shipment.deliver("1.2.4", shipment.roots[0])
        return read(*args)

    with monkeypatch.context() as patch:
        patch.setattr(sealing, "read_pack", busy)
        refused = shipment.do("seal", str(shipment.file), "SN-1", "--key", str(shipment.key), rc=2)
    before = shipment.states()["1.2.4/1"]
    again = shipment.seal("SN-1")

    assert "a worker writes on it" in refused
    assert (before, again["packs"]) == ("written", 3)


def test_a_sealed_device_gets_no_later_study(shipment) -> None:
    shipment.load()
    shipment.seal("SN-1")

    refused = shipment.do("init", str(shipment.file), str(shipment.roots[0]), "--serial", "SN-1", rc=1)

    assert "sealed" in refused
    with pytest.raises(Exception, match="no device has room"):
        shipment.deliver("1.2.4", shipment.roots[0])


def test_a_lost_device_gives_its_studies_back_to_be_fetched_again_or_is_taken_back(shipment) -> None:
    shipment.load()
    mounted = shipment.do("lost", str(shipment.file), "disk-1", "--note", "fell", rc=1)
    disk = shipment.roots[0]
    disk.rename(disk.with_name("at-the-bottom-of-the-lake"))

    told = shipment.do("lost", str(shipment.file), "disk-1", "--note", "fell", "--by", "m.keller", rc=2)
    again = shipment.do("lost", str(shipment.file), "disk-1", "--note", "fell")

    assert "is mounted" in mounted
    assert (told["studies"], told["instances"], again["studies"]) == (2, 4, 0)
    problems = shipment.ledger.exceptions.list_open(kind="DEVICE_LOST")
    assert {problem.study_uid for problem in problems} == {"1.2.1", "1.2.2"}
    by_uid = {problem.study_uid: problem.exception_id for problem in problems}
    shipment.ledger.exceptions.resolve(by_uid["1.2.1"], Resolution.RENEW, by="m.keller")
    shipment.deliver("1.2.1", shipment.roots[1], revise=True)
    shipment.ledger.exceptions.resolve(by_uid["1.2.2"], Resolution.RETRY, by="m.keller")
    assert shipment.states() == {
        "1.2.1/1": "void", "1.2.1/2": "written", "1.2.2/1": "written", "1.2.3/1": "validated"
    }  # fmt: skip
    assert "fell" in str(problems[0].evidence)


def test_a_lost_device_takes_a_study_with_it_that_had_stopped_for_another_reason(shipment) -> None:
    shipment.prepare()
    shipment.deliver("1.2.1", shipment.roots[0])
    shipment.flip("1.2.1", 3000)
    shipment.do("verify", str(shipment.file), "disk-1", rc=3)
    shipment.roots[0].rename(shipment.folder / "at-the-bottom-of-the-lake")

    told = shipment.do("lost", str(shipment.file), "disk-1", "--note", "fell", rc=2)
    again = shipment.do("lost", str(shipment.file), "disk-1", "--note", "fell")
    damage, loss = shipment.ledger.exceptions.list_open()
    shipment.ledger.exceptions.resolve(damage.exception_id, Resolution.RETRY, by="m.keller")

    assert (told["studies"], again["studies"], loss.kind) == (1, 0, "DEVICE_LOST")
    assert shipment.states() == {"1.2.1/1": "exception"}


MISTAKES = {
    "init {file} {folder} --serial X": "not among the devices",
    "init {file} {one} --serial a/b": "--serial takes",
    "verify {file} SN-9": "no mounted, prepared device",
    "seal {file} SN-1 --key {one}/seal.key": "lies on the device",
    "seal {file} SN-1 --key {folder}/absent": "read key",
    "ship {file} SN-1 --carrier x": "not one device",
    "status {file}.no": "does not exist",
}


def test_mistakes_are_told_in_a_sentence(shipment) -> None:
    shipment.prepare()
    places = {"file": shipment.file, "folder": shipment.folder, "one": shipment.roots[0]}

    told = {line: shipment.do(*line.format(**places).split(), rc=1) for line in MISTAKES}

    assert {line: says for line, says in MISTAKES.items() if says not in told[line]} == {}


def test_a_device_with_other_things_on_it_is_not_prepared(shipment) -> None:
    (shipment.roots[0] / "thesis.docx").write_bytes(b"precious")

    told = shipment.do("init", str(shipment.file), str(shipment.roots[0]), "--serial", "SN-1", rc=1)

    assert "thesis.docx" in told and "would be shipped" in told
    assert [path.name for path in shipment.roots[0].iterdir()] == ["thesis.docx"]


def test_devices_of_another_shipment_are_told_apart_by_the_ledger(shipment) -> None:
    shipment.load()

    rows = {row["serial"]: row for row in shipment.do("verify", str(shipment.file))["devices"]}

    assert {serial: row["packs"] for serial, row in rows.items()} == {"SN-1": 2, "SN-2": 1}
    assert shipment.ledger.status.study(Uid("1.2.1")) is not None
