"""`limosa dose read`: numbers with their places, and reports as files."""

import json
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian
from typer.testing import CliRunner

from cluster.cli import build
from imaging.dose.reading import DOSE_REPORT_CLASS

pytestmark = pytest.mark.filterwarnings("ignore")


def slice_of(folder: Path, number: int, **values: str) -> str:
    made = Dataset()
    made.SOPClassUID, made.StudyInstanceUID = "1.2.840.10008.5.1.4.1.1.2", "1.2.3"
    made.SeriesInstanceUID, made.SOPInstanceUID = "1.2.3.1", f"1.2.3.1.{number}"
    made.Modality, made.Manufacturer = "CT", "TOSHIBA"
    made.ImageType, made.AcquisitionNumber = ["ORIGINAL", "PRIMARY", "AXIAL"], "2"
    made.AcquisitionDate, made.AcquisitionTime = "20200102", f"0910{number:02d}"
    for keyword, value in values.items():
        setattr(made, keyword, value)
    made.private_block(0x7005, "TOSHIBA_MEC_CT3", create=True).add_new(0x40, "FD", 612.2999877929688)
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    path = folder / f"{number}.dcm"
    made.save_as(path, enforce_file_format=True)
    return str(path)


def test_numbers_are_shown_with_their_places_and_the_report_is_written(tmp_path: Path) -> None:
    files = [slice_of(tmp_path, number) for number in (1, 2)]

    ended = CliRunner().invoke(build(), ["dose", "read", *files, "--out", str(tmp_path / "out"), "--json"])

    told = json.loads(ended.output)
    dlp = next(row for row in told["numbers"] if row["event"] == "1" and row["quantity"] == "dlp")
    assert dlp["value"] == "612.2999877929688"
    assert (dlp["where"], dlp["basis"], dlp["instances"]) == ("(7005,xx40) TOSHIBA_MEC_CT3", "copied", 2)
    assert told["studies"][0]["status"] == "readable"
    assert pydicom.dcmread(told["studies"][0]["file"]).SOPClassUID == DOSE_REPORT_CLASS


def test_a_study_of_which_no_report_can_be_made_says_why(tmp_path: Path) -> None:
    file = slice_of(tmp_path, 1, AcquisitionTime="")

    ended = CliRunner().invoke(build(), ["dose", "read", file], standalone_mode=False)

    assert ended.return_value == 2
    assert "no report: no_time" in ended.output


def test_a_file_that_is_no_dicom_is_told_and_hurts_nobody(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no image")

    ended = CliRunner().invoke(
        build(), ["dose", "read", slice_of(tmp_path, 1), str(tmp_path / "notes.txt")], standalone_mode=False
    )

    assert ended.return_value == 0
    assert "notes.txt is no instance" in ended.output
