"""A dose report that Limosa adds, on the whole way: pack in S3, pack on a device, read-back, custody."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from actors.coercion_options import CoercionOptions
from actors.dose_options import DoseOptions
from imaging.dose.reading import DOSE_REPORT_CLASS
from imaging.dose.template import defects
from imaging.header import read_header
from imaging.octets import MemoryOctets
from imaging.part10 import split_part10
from infra.simulator import Simulator, folder_archive
from storage.ledger.lifecycle import StudyStatus

pytestmark = pytest.mark.filterwarnings("ignore")

WITHOUT, WITH, OTHER = "1.2.840.1", "1.2.840.2", "1.2.840.3"
"""A CT study without a dose report, one with, and one that is no CT."""


def image(study: str, number: int, sop_class: str = "1.2.840.10008.5.1.4.1.1.2", modality: str = "CT") -> Dataset:
    made = Dataset()
    made.SOPClassUID, made.StudyInstanceUID = sop_class, study
    series = f"{study}.{sop_class.split('.')[-1]}"
    made.SeriesInstanceUID, made.SOPInstanceUID = series, f"{series}.{number}"
    made.Modality, made.Manufacturer, made.ManufacturerModelName = modality, "TOSHIBA", "Aquilion"
    made.ImageType, made.AcquisitionNumber = ["ORIGINAL", "PRIMARY", "AXIAL"], "2"
    made.PatientName, made.PatientID, made.StudyDate, made.StudyTime = "Doe^Jane", "7", "20200102", "090000"
    made.AcquisitionDate, made.AcquisitionTime, made.KVP = "20200102", f"0910{number:02d}", "120"
    block = made.private_block(0x7005, "TOSHIBA_MEC_CT3", create=True)
    block.add_new(0x63, "FD", 18.700000762939453)
    block.add_new(0x40, "FD", 612.2999877929688)
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return made


@pytest.fixture
def archive(tmp_path):
    folder = tmp_path / "archive"
    folder.mkdir()
    made = [
        *(image(study, number) for study in (WITHOUT, WITH) for number in (1, 2, 3)),
        image(WITH, 9, DOSE_REPORT_CLASS, "SR"),
        image(OTHER, 1, "1.2.840.10008.5.1.4.1.1.4", "MR"),
    ]
    for one in made:
        one.save_as(folder / f"{one.SOPInstanceUID}.dcm", enforce_file_format=True)
    return folder_archive(folder)


@pytest.fixture
def moving(engine, free_port, archive):
    @contextmanager
    def start(reports: str, **options: Any) -> Iterator[Any]:
        port = free_port()
        with Simulator(archive, destinations={"MIG01": ("127.0.0.1", port)}) as pacs:
            job = engine(pacs.port, receiver_port=port, **options)
            job.job = replace(job.job, dose=DoseOptions(reports=reports))
            yield job

    return start


def reports_of(job, destination: str, study: str) -> list[bytes]:
    files = job.datasets(destination, study)
    return [part10 for part10 in files.values() if read(part10).SOPClassUID == DOSE_REPORT_CLASS]


def read(part10: bytes) -> Dataset:
    return pydicom.dcmread(io.BytesIO(part10))


def custody(job, study: str) -> dict[str, Any]:
    [(payload,)] = job.rows(
        f"select payload from custody join study using (study_key) where event = 'written' and study_uid = '{study}'"
    )
    return payload


def test_a_study_without_a_dose_report_gets_one_everywhere_and_no_other_does(moving, archive):
    with moving("add", seed=True) as job:
        job.run()

    assert set(job.statuses().values()) == {StudyStatus.DONE}, job.problems()
    for destination in [options.name for options in job.job.destinations]:
        [report] = reports_of(job, destination, WITHOUT)
        octets = MemoryOctets(report)
        envelope = split_part10(octets)
        assert defects(read_header(octets, envelope.dataset_offset, envelope.transfer_syntax)) == ()
        assert len(job.datasets(destination, WITHOUT)) == 4
        assert len(reports_of(job, destination, WITH)) == 1
        assert job.datasets(destination, OTHER).keys() == archive.manifest().sop_uids(OTHER)
    [(added,)] = job.rows("select sop_uid from instance where 'ADDED' = any (flags)")
    note = custody(job, WITHOUT)
    assert note["added"] == [{"sop_uid": added, "what": "dose report", "by": "Limosa"}]
    assert note["dose"]["status"] == "readable"
    assert note["dose"]["total_dlp"] == "612.2999877929688"
    assert note["dose"]["events"][0]["ctdivol"]["value"] == "18.700000762939453"
    assert custody(job, WITH)["dose"]["status"] == "report"
    assert "dose" not in custody(job, OTHER)


def test_measuring_notes_dose_and_adds_nothing(moving, archive):
    with moving("measure") as job:
        job.run()

    assert custody(job, WITHOUT)["dose"]["status"] == "readable"
    assert job.rows("select count(*) from instance") == [(len(archive.manifest()),)]


def test_the_report_is_of_the_patient_as_the_rules_want_it(moving):
    rules = {"rules": [{"name": "r", "actions": [{"kind": "set", "attribute": "PatientID", "value": "NH-7"}]}]}
    with moving("add") as job:
        job.job = replace(job.job, coercion=CoercionOptions(**rules))
        job.run()

    [report] = reports_of(job, "cloud", WITHOUT)
    assert read(report).PatientID == "NH-7"


def test_without_the_setting_nothing_is_read_or_noted(moving, archive):
    with moving("off") as job:
        job.run()

    assert "dose" not in custody(job, WITHOUT)
    assert job.rows("select count(*) from instance") == [(len(archive.manifest()),)]


def test_studies_are_counted_by_the_dose_they_offer(moving):
    with moving("add") as job:
        job.run()
        counts = {one.status: one for one in job.ledger.doses.counts()}
        quality = job.ledger.baselines.quality()

    assert {status: (one.studies, one.added, one.proven) for status, one in counts.items()} == {
        "readable": (1, 1, 1),
        "report": (1, 0, 1),
    }
    # The report that was added is no surplus of the archive's.
    assert (quality["pulled"], quality["count_differs"]) == (3, 0)
