"""The CT dose report: what stands in it, and that it follows its template."""

import io
import subprocess
from decimal import Decimal
from pathlib import Path

import pydicom
import pytest
from dose_objects import enhanced, headered, image, opened, philips_info, reported, study, toshiba
from pydicom.dataset import Dataset

from imaging.dose.content import NOT_KNOWN, Code, coded, container, decimal_string, number
from imaging.dose.context import context_of
from imaging.dose.reading import DOSE_REPORT_CLASS
from imaging.dose.report import report_uids
from imaging.dose.template import defects
from imaging.instance import identify
from imaging.octets import MemoryOctets
from imaging.part10 import split_part10

pytestmark = pytest.mark.filterwarnings("ignore")


def written(part10: bytes) -> Dataset:
    return pydicom.dcmread(io.BytesIO(part10))


def found(root: Dataset, *path: str) -> list[Dataset]:
    """The content items under a path of codes."""
    level = [root]
    for code in path:
        level = [
            child
            for item in level
            for child in item.get("ContentSequence", ())
            if child.ConceptNameCodeSequence[0].CodeValue == code
        ]
    return level


def value_of(item: Dataset) -> str:
    return str(item.MeasuredValueSequence[0].NumericValue)


# The report


STUDIES: dict[str, list[Dataset]] = {
    "toshiba": [toshiba(1), toshiba(2), toshiba(1, "2")],
    "toshiba, two acquisitions": [toshiba(1), toshiba(2, "2", AcquisitionNumber="3")],
    "philips": [philips_info(), image(Manufacturer="Philips")],
    "standard attributes only": [image(1, CTDIvol=9.5, ScanOptions="AXIAL MODE")],
    "with a localizer": [
        toshiba(1),
        image(2, "2", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"], AcquisitionNumber="1"),
    ],
    "enhanced": [enhanced([{"CTDIvol": 8.0, "XRayTubeCurrentInmA": 150.0}, {"CTDIvol": 9.0}])],
    "enhanced, two events": [enhanced([{"CTDIvol": 8.0, "event": "1.9.1"}, {"CTDIvol": 3.5, "event": "1.9.2"}])],
    "text outside ASCII": [toshiba(1, SpecificCharacterSet="ISO_IR 100", PatientName="Müller^Jörg")],
    "almost nothing": [image(1, CTDIvol=9.5, BodyPartExamined="", SoftwareVersions="", DeviceSerialNumber="")],
}  # fmt: skip


@pytest.mark.parametrize("made", STUDIES.values(), ids=STUDIES.keys())
def test_every_report_has_what_its_template_asks_for(made: list[Dataset]) -> None:
    part10 = reported(made)

    assert defects(opened(part10)) == ()


def test_the_template_check_misses_what_is_missing() -> None:
    part10 = reported(STUDIES["toshiba"])
    report = written(part10)
    acquisition = found(report, "113819")[0]
    acquisition.ContentSequence = [
        each for each in acquisition.ContentSequence if each.ConceptNameCodeSequence[0].CodeValue != "113829"
    ]
    found(report, "113811", "113812")[0].MeasuredValueSequence[0].NumericValue = "2"
    found(report, "113811", "113813")[0].RelationshipType = "HAS PROPERTIES"

    assert defects(headered(report)) == (
        "113701>113811>113813: related by HAS PROPERTIES instead of CONTAINS",
        "113701>113819>113829: is missing",
        "113812: counts 2 events where 1 are listed",
    )


def test_the_template_check_sees_order_conditions_and_fixed_codes() -> None:
    report = written(reported(STUDIES["toshiba"]))
    found(report, "113705")[0].ConceptCodeSequence[0].CodeValue = "113015"
    found(report, "113819", "113820")[0].ConceptCodeSequence[0].CodeValue = "113804"
    parameters = found(report, "113819", "113822")[0]
    parameters.ContentSequence = [
        each for each in parameters.ContentSequence if each.ConceptNameCodeSequence[0].CodeValue != "113828"
    ]
    report.ContentSequence = [report.ContentSequence[-1], *report.ContentSequence[:-1]]

    told = defects(headered(report))

    assert told[0] == "113701>121049: stands behind 113854"
    assert "113701>113705: is 113015 instead of 113014" in told
    assert "113701>113819>113822>113828: is missing" in told


def test_a_tree_is_whole_where_no_number_and_no_code_in_it_is_unknown() -> None:
    exposure = number("CONTAINS", Code("113824", "DCM", "Exposure Time"), Decimal("1.5"), Code("s", "UCUM", "s"))
    unsaid = number("CONTAINS", Code("113824", "DCM", "Exposure Time"), None, Code("s", "UCUM", "s"))
    region = coded("CONTAINS", Code("123014", "DCM", "Target Region"), NOT_KNOWN)
    title = Code("113701", "DCM", "X-Ray Radiation Dose Report")

    assert container("", title, [exposure]).whole
    assert not container("", title, [container("", title, [exposure, unsaid])]).whole
    assert not container("", title, [region]).whole


def test_toshibas_numbers_stand_in_the_report_to_the_last_digit() -> None:
    report = written(reported(STUDIES["toshiba"]))

    (ctdi,) = found(report, "113819", "113829", "113830")
    (dlp,) = found(report, "113811", "113813")
    assert ctdi.MeasuredValueSequence[0].FloatingPointValue == 18.700000762939453
    assert value_of(ctdi) == "18.7000007629395"
    assert (value_of(dlp), dlp.MeasuredValueSequence[0].FloatingPointValue) == ("612.299987792969", 612.2999877929688)
    assert value_of(found(report, "113819", "113822", "113827")[0]) == "32.0"


def test_philips_numbers_stand_in_the_report_as_they_were_written() -> None:
    report = written(reported(STUDIES["philips"]))

    assert [value_of(item) for item in found(report, "113819", "113829", "113830")] == ["0.13", "14.12"]
    assert [value_of(item) for item in found(report, "113819", "113829", "113838")] == ["6.51", "738.80"]
    assert value_of(found(report, "113811", "113813")[0]) == "745.31"
    assert value_of(found(report, "113811", "113812")[0]) == "2"


def test_what_nobody_says_is_unknown_and_the_report_says_so() -> None:
    report = written(reported(STUDIES["standard attributes only"]))

    (dlp,) = found(report, "113819", "113829", "113838")
    assert len(dlp.MeasuredValueSequence) == 0
    assert dlp.NumericValueQualifierCodeSequence[0].CodeMeaning == "Value unknown"
    assert "unknown" in found(report, "121106")[0].TextValue
    assert len(found(report, "113811", "113813")[0].MeasuredValueSequence) == 0


def test_the_report_belongs_to_the_patient_and_study_of_its_images() -> None:
    made = STUDIES["text outside ASCII"]

    report = written(reported(made))

    assert (report.PatientName, report.PatientID, report.AccessionNumber) == ("Müller^Jörg", "7", "A1")
    assert report.StudyInstanceUID == "1.2.3"
    assert [ref.ReferencedSOPInstanceUID for ref in evidence(report)] == ["1.2.3.1.1"]


def evidence(report: Dataset) -> list[Dataset]:
    (of_study,) = report.CurrentRequestedProcedureEvidenceSequence
    return [ref for series in of_study.ReferencedSeriesSequence for ref in series.ReferencedSOPSequence]


def test_times_follow_the_studys_own_offset() -> None:
    report = written(reported([toshiba(1, TimezoneOffsetFromUTC="+0100")]))

    assert (report.ContentDate, report.ContentTime) == ("20261124", "150500.000000")


def test_the_same_study_makes_the_same_bytes_and_other_images_another_instance() -> None:
    first, again = reported(STUDIES["toshiba"]), reported(list(STUDIES["toshiba"]))
    more = [*STUDIES["toshiba"], toshiba(3)]

    ours, theirs = (report_uids(context_of(headered(made[0])), study(*made)) for made in (STUDIES["toshiba"], more))

    assert first == again
    assert ours[0] == theirs[0]
    assert ours[1] != theirs[1]
    assert ours[1].startswith("2.25.")
    assert len(ours[1]) <= 64


def test_the_report_is_an_instance_that_limosa_itself_can_read() -> None:
    part10 = reported(STUDIES["philips"])
    octets = MemoryOctets(part10)
    envelope = split_part10(octets)

    facts = identify(octets, envelope.dataset_offset, envelope.transfer_syntax, bytes(32)).facts()

    assert (facts.sop_class, facts.study_uid, facts.flags) == (DOSE_REPORT_CLASS, "1.2.3", ())


@pytest.mark.parametrize(
    ("value", "text", "exact"),
    [("738.80", "738.80", True), ("18.700000762939453", "18.7000007629395", False), ("1E+20", "1E+20", True)],
)
def test_a_decimal_string_says_whether_it_is_all(value: str, text: str, exact: bool) -> None:
    assert decimal_string(Decimal(value)) == (text, exact)


@pytest.mark.peer("dcmtk")
@pytest.mark.parametrize("made", STUDIES.values(), ids=STUDIES.keys())
def test_dcmtk_reads_every_report_without_complaint(made: list[Dataset], tmp_path: Path) -> None:
    assert faults_found_by("dsrdump", reported(made), tmp_path) == (0, [])


@pytest.mark.peer("dciodvfy")
@pytest.mark.parametrize("made", STUDIES.values(), ids=STUDIES.keys())
def test_dicom3tools_finds_no_error_in_any_report(made: list[Dataset], tmp_path: Path) -> None:
    assert faults_found_by("dciodvfy", reported(made), tmp_path) == (0, [])


def faults_found_by(validator: str, part10: bytes, folder: Path) -> tuple[int, list[str]]:
    file = folder / "report.dcm"
    file.write_bytes(part10)
    ended = subprocess.run([validator, file], capture_output=True, text=True, errors="replace", check=False, timeout=30)
    lines = (ended.stdout + ended.stderr).splitlines()
    return ended.returncode, [line for line in lines if line.startswith(("Error", "E:", "W:"))]
