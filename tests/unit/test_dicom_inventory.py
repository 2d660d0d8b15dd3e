"""What a DICOM Inventory claims is read as it stands, whole or not at all, and nothing beyond its folder is touched."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from actors.files import inventories
from actors.files.inventories import INVENTORY, Inventory, UnusableInventory
from actors.source import StudyFound


def item(**values: Any) -> Dataset:
    made = Dataset()
    for keyword, value in values.items():
        setattr(made, keyword, Items(value) if keyword.endswith("Sequence") else value)
    return made


def study(uid: str, series: Sequence[int] = (), at: str = "20260101", **values: Any) -> Dataset:
    """A record; `series` are the numbers of instances in each."""
    listed = [
        item(
            SeriesInstanceUID=f"{uid}.{n}",
            InventoriedInstancesSequence=[item(SOPInstanceUID=f"{uid}.{n}.{i}") for i in range(count)],
        )
        for n, count in enumerate(series)
    ]
    more = {"InventoriedSeriesSequence": listed} if listed else {}
    return item(StudyInstanceUID=uid, ItemInventoryDateTime=at, PatientID=f"P{uid}", **more, **values)


def written(
    path: Path, uid: str, studies: Sequence[Dataset], refers: Sequence[str] = (), syntax: Any = None, **values: Any
) -> Path:
    syntax = syntax or ExplicitVRLittleEndian
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID, meta.TransferSyntaxUID = INVENTORY, uid, syntax
    dataset = FileDataset(path, {}, preamble=bytes(128), file_meta=meta)
    dataset.SOPClassUID, dataset.SOPInstanceUID = INVENTORY, uid
    dataset.InventoryLevel, dataset.InventoryCompletionStatus = "INSTANCE", "COMPLETE"
    dataset.NumberOfStudyRecordsInInstance = len(studies)
    dataset.InventoriedStudiesSequence = Items(studies)
    references = [item(ReferencedSOPClassUID=INVENTORY, ReferencedSOPInstanceUID=each) for each in refers]
    if references:
        dataset.IncorporatedInventoryInstanceSequence = Items(references)
    for keyword, value in values.items():
        setattr(dataset, keyword, Items(value) if keyword.endswith("Sequence") else value)
    dataset.save_as(path, enforce_file_format=True)
    return path


def read(path: Path) -> tuple[Inventory, dict[str, StudyFound]]:
    inventory = Inventory(path, "ISO_IR 100")
    found = [one for one in inventory.studies() if one is not None]
    assert len({one.study_uid for one in found}) == len(found)
    return inventory, {one.study_uid: one for one in found}


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
def test_studies_series_and_instances_are_counted_as_they_are_listed(tmp_path: Path, syntax: Any) -> None:
    records = [
        study("1.1", (2, 3), PatientName="Müller^Eva", SpecificCharacterSet="ISO_IR 192", NumberOfStudyRelatedSeries=9),
        study("1.2", ModalitiesInStudy=["CT", "SR"], NumberOfStudyRelatedInstances=7, AccessionNumber="A1"),
    ]

    inventory, found = read(written(tmp_path / "inventory.dcm", "2.1", records, syntax=syntax))

    assert (found["1.1"].series_count, found["1.1"].instance_count) == (2, 5)
    assert found["1.1"].patient_name == "Müller^Eva"
    assert (found["1.2"].series_count, found["1.2"].instance_count) == (None, 7)
    assert (found["1.2"].modalities, found["1.2"].accession) == (("CT", "SR"), "A1")
    assert inventory.complete


def test_parts_are_found_beside_the_first_and_each_is_read_once(tmp_path: Path) -> None:
    first = written(tmp_path / "a", "2.1", [study("1.1")], refers=["2.2", "2.3"])
    written(tmp_path / "b", "2.2", [study("1.2")], refers=["2.3", "2.1"])
    written(tmp_path / "c", "2.3", [study("1.3")])
    (tmp_path / "notes.txt").write_text("nothing")

    for path in (first, tmp_path):
        inventory, found = read(path)
        assert found.keys() == {"1.1", "1.2", "1.3"}
        assert inventory.parts == 3


def test_a_part_that_is_not_there_is_said_and_where_it_is_said_to_be_is_not_looked(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    written(elsewhere / "b", "2.2", [study("1.2")])
    reference = item(ReferencedSOPInstanceUID="2.2", FileAccessURI=f"file://{elsewhere}/b")
    first = written(tmp_path / "a", "2.1", [], IncorporatedInventoryInstanceSequence=[reference])

    with pytest.raises(UnusableInventory, match="1 Inventories that do not lie beside it"):
        Inventory(first, "")


def test_the_latest_record_of_a_study_counts(tmp_path: Path) -> None:
    records = [
        study("1.1", (1,), at="20260101"),
        study("1.1", (1, 1), at="20260102"),
        study("1.1", (1, 1), at="20260102"),
    ]

    inventory, found = read(written(tmp_path / "a", "2.1", records))

    assert found["1.1"].series_count == 2
    assert inventory.superseded == 2


def test_what_was_taken_out_of_use_is_not_claimed(tmp_path: Path) -> None:
    used = study("1.2", (1, 4))
    used.InventoriedSeriesSequence[1].RemovedFromOperationalUse = "Y"

    inventory, found = read(written(tmp_path / "a", "2.1", [study("1.1", RemovedFromOperationalUse="Y"), used]))

    assert (found["1.2"].series_count, found["1.2"].instance_count) == (1, 1)
    assert found.keys() == {"1.2"}
    assert inventory.removed == 1


@pytest.mark.parametrize(
    "values",
    [{"InventoryCompletionStatus": "PARTIAL"}, {"ScopeOfInventorySequence": [item(StudyDate="20260101-20260201")]}],
)
def test_an_inventory_of_a_part_of_the_archive_says_so(tmp_path: Path, values: dict[str, Any]) -> None:
    assert not read(written(tmp_path / "a", "2.1", [study("1.1")], **values))[0].complete


def test_a_record_without_a_uid_is_one_that_cannot_be_used(tmp_path: Path) -> None:
    path = written(tmp_path / "a", "2.1", [item(PatientID="X"), study("1.1")])

    assert [one and one.study_uid for one in Inventory(path, "").studies()] == [None, "1.1"]


def test_fewer_records_than_it_says_are_an_inventory_that_was_cut(tmp_path: Path) -> None:
    path = written(tmp_path / "a", "2.1", [study("1.1")], NumberOfStudyRecordsInInstance=2)

    with pytest.raises(UnusableInventory, match="2 records of studies, and has 1"):
        list(Inventory(path, "").studies())


@pytest.mark.parametrize("cut", [140, 300, 700, -3])
def test_a_damaged_inventory_is_refused_by_name(tmp_path: Path, cut: int) -> None:
    path = written(tmp_path / "a.dcm", "2.1", [study("1.1", (5,)), study("1.2", (5,))])
    path.write_bytes(path.read_bytes()[:cut])

    with pytest.raises(UnusableInventory, match=r"a\.dcm"):
        list(Inventory(path, "").studies())


def test_another_object_is_no_inventory(tmp_path: Path) -> None:
    path = written(tmp_path / "a", "2.1", [])
    path.write_bytes(path.read_bytes().replace(INVENTORY.encode(), b"1.2.840.10008.5.1.4.1.1.88.11"[: len(INVENTORY)]))

    with pytest.raises(UnusableInventory):
        Inventory(path, "")


def test_a_chain_without_end_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inventories, "PARTS", 5)
    first = written(tmp_path / "a", "2.1", [], refers=["3.0"])
    for n in range(7):
        written(tmp_path / f"b{n}", f"3.{n}", [], refers=[f"3.{n + 1}", f"4.{n}"])

    with pytest.raises(UnusableInventory, match="more than 5"):
        Inventory(first, "")
