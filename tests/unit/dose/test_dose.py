"""CT dose: what is read from headers, what counts as one event, and the report that is made of it."""

import io
import random
import struct
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from imaging.dose.content import decimal_string
from imaging.dose.context import context_of
from imaging.dose.reading import DOSE_REPORT_CLASS, read_dose
from imaging.dose.records import Basis, DoseStatus, InstanceDose, Kind, Motion, Obstacle, Phantom, Quantity, StudyDose
from imaging.dose.report import build_report, report_uids
from imaging.dose.study import gather
from imaging.dose.template import defects
from imaging.header import Header, read_header
from imaging.instance import identify
from imaging.octets import MemoryOctets
from imaging.part10 import split_part10

pytestmark = pytest.mark.filterwarnings("ignore")

CT = "1.2.840.10008.5.1.4.1.1.2"
MOMENT = datetime(2026, 11, 24, 14, 5, tzinfo=UTC)
TOSHIBA, ELSCINT, GE = "TOSHIBA_MEC_CT3", "ELSCINT1", "GEMS_PARM_01"


def image(number: int = 1, series: str = "1", **values: Any) -> Dataset:
    """One CT slice of a study in the making."""
    made = Dataset()
    made.SOPClassUID, made.StudyInstanceUID = CT, "1.2.3"
    made.SeriesInstanceUID, made.SOPInstanceUID = f"1.2.3.{series}", f"1.2.3.{series}.{number}"
    made.Modality, made.Manufacturer, made.ManufacturerModelName = "CT", "TOSHIBA", "Aquilion"
    made.DeviceSerialNumber, made.SoftwareVersions = "4711", "V1"
    made.ImageType, made.BodyPartExamined = ["ORIGINAL", "PRIMARY", "AXIAL"], "CHEST"
    made.PatientName, made.PatientID, made.PatientBirthDate, made.PatientSex = "Doe^Jane", "7", "19700101", "F"
    made.StudyDate, made.StudyTime, made.AccessionNumber, made.StudyID = "20200102", "090000", "A1", "1"
    made.AcquisitionNumber, made.AcquisitionDate = "2", "20200102"
    made.AcquisitionTime, made.KVP, made.XRayTubeCurrent = f"0910{number:02d}", "120", "200"
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


def toshiba(number: int = 1, series: str = "1", **values: Any) -> Dataset:
    made = image(number, series, **values)
    block = made.private_block(0x7005, TOSHIBA, create=True)
    # As an archive that does not know the block hands it on.
    block.add_new(0x63, "UN", struct.pack("<d", 18.700000762939453))
    block.add_new(0x40, "FD", 612.2999877929688)
    block.add_new(0x08, "DS", "0.5")
    block.add_new(0x09, "LO", "0" * 8 + "1" * 64 + "0" * 8)
    block.add_new(0x23, "DS", "0.828")
    return made


def philips_info(**values: Any) -> Dataset:
    made = image(1, "99", Manufacturer="Philips", SeriesDescription="Dose Info", **values)
    made.ImageType = ["DERIVED", "SECONDARY", "LOCALIZER"]
    made.private_block(0x00E1, ELSCINT, create=True).add_new(0x21, "DS", "745.31")
    surview, helix = Dataset(), Dataset()
    surview.private_block(0x01F1, ELSCINT, create=True).add_new(0x01, "CS", "SURVIEW")
    surview.CTDIvol = 0.13
    surview.private_block(0x00E1, ELSCINT, create=True).add_new(0x21, "DS", "6.51")
    helix.KVP, helix.CTDIvol, helix.XRayTubeCurrentInuA, helix.ScanLength = "120", 14.12, 250_500, "523"
    helix.SingleCollimationWidth, helix.TotalCollimationWidth, helix.SpiralPitchFactor = 0.625, 40.0, 0.984
    helix.private_block(0x01F1, ELSCINT, create=True).add_new(0x01, "CS", "HELIX")
    helix.private_block(0x00E1, ELSCINT, create=True).add_new(0x21, "DS", "738.80")
    helix.private_block(0x01E1, ELSCINT, create=True).add_new(0x26, "CS", "32 CM")
    made.ExposureDoseSequence = [surview, helix]
    return made


def headered(made: Dataset, syntax: str = ExplicitVRLittleEndian) -> Header:
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = syntax
    buffer = io.BytesIO()
    pydicom.dcmwrite(
        buffer,
        made,
        implicit_vr=syntax == ImplicitVRLittleEndian,
        little_endian=syntax != ExplicitVRBigEndian,
        enforce_file_format=True,
    )
    return opened(buffer.getvalue())


def opened(part10: bytes) -> Header:
    octets = MemoryOctets(part10)
    envelope = split_part10(octets)
    return read_header(octets, envelope.dataset_offset, envelope.transfer_syntax)


def said(made: Dataset, syntax: str = ExplicitVRLittleEndian) -> InstanceDose:
    found = read_dose(headered(made, syntax))
    assert found is not None
    return found


def study(*made: Dataset) -> StudyDose:
    return gather([said(one) for one in made])


def reported(made: Sequence[Dataset], when: datetime = MOMENT) -> bytes:
    return build_report(study(*made), context_of(headered(made[0])), when)


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


# Reading


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_toshibas_private_dose_is_read_to_the_last_digit_even_as_un(syntax: str) -> None:
    numbers = said(toshiba(), syntax).exposure.numbers

    assert numbers[Quantity.CTDIVOL].value == Decimal("18.700000762939453")
    assert numbers[Quantity.CTDIVOL].where == "(7005,xx63) TOSHIBA_MEC_CT3"
    assert numbers[Quantity.DLP].value == Decimal("612.2999877929688")
    assert numbers[Quantity.TOTAL_COLLIMATION].value == Decimal("32.0")
    assert numbers[Quantity.PITCH].value == Decimal("0.828")


def test_a_private_block_is_found_wherever_an_archive_has_put_it() -> None:
    made = toshiba()
    moved = image()
    moved.add_new(0x700500A7, "LO", TOSHIBA)
    moved.add_new(0x7005A740, "FD", 612.2999877929688)

    assert said(moved).exposure.numbers[Quantity.DLP] == said(made).exposure.numbers[Quantity.DLP]


def test_a_foreign_block_under_the_same_number_is_not_read() -> None:
    made = image()
    made.private_block(0x7005, "OTHER VENDOR", create=True).add_new(0x40, "FD", 612.3)

    assert Quantity.DLP not in said(made).exposure.numbers


def test_philips_dose_info_gives_an_event_per_item_and_the_total() -> None:
    dose = study(philips_info(), image(Manufacturer="Philips"))

    surview, helix = dose.events
    assert dose.status is DoseStatus.READABLE
    assert (surview.motion, helix.motion) == (Motion.CONSTANT_ANGLE, Motion.SPIRAL)
    assert helix.numbers[Quantity.CTDIVOL].value == Decimal("14.12")
    assert helix.numbers[Quantity.CTDIVOL].where == "(0040,030E)[2]>(0018,9345)"
    assert str(helix.numbers[Quantity.DLP].value) == "738.80"
    assert helix.numbers[Quantity.TUBE_CURRENT].value == Decimal("250.500")
    assert helix.numbers[Quantity.SCAN_LENGTH].value == 523
    assert helix.phantom is Phantom.BODY
    assert dose.total_dlp is not None
    assert (str(dose.total_dlp.value), dose.total_dlp.basis) == ("745.31", Basis.COPIED)
    assert dose.conflicts == ()


def test_a_total_that_is_not_the_sum_of_its_events_is_told() -> None:
    made = philips_info()
    made[0x00E11021].value = "700"

    assert "dlp_total" in study(made).conflicts


def test_ge_writes_its_pitch_as_a_ratio() -> None:
    made = image(Manufacturer="GE MEDICAL SYSTEMS")
    made.private_block(0x0043, GE, create=True).add_new(0x27, "SH", "/1.375:1")
    rows = made.private_block(0x0045, "GEMS_HELIOS_01", create=True)
    rows.add_new(0x01, "SS", 16)
    rows.add_new(0x02, "FL", 1.25)

    numbers = said(made).exposure.numbers

    assert numbers[Quantity.PITCH].value == Decimal("1.375")
    assert numbers[Quantity.TOTAL_COLLIMATION].value == Decimal("20.00")
    assert numbers[Quantity.TOTAL_COLLIMATION].basis is Basis.COMPUTED


def test_a_standard_value_goes_before_a_private_one_and_the_difference_is_told() -> None:
    dose = study(toshiba(CTDIvol=9.5))

    assert dose.events[0].numbers[Quantity.CTDIVOL].value == Decimal("9.5")
    assert dose.conflicts == ("ctdivol",)


def test_zero_is_what_scanners_write_for_unknown() -> None:
    assert study(image(CTDIvol=0.0)).status is DoseStatus.NONE


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ({"Manufacturer": "GE", "ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"], "SeriesNumber": 999},
         Kind.DOSE_SCREEN),
        ({"Manufacturer": "GE", "ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"], "SeriesNumber": 3},
         Kind.DERIVED),
        ({"Manufacturer": "SIEMENS", "SeriesNumber": 501,
          "ImageType": ["DERIVED", "SECONDARY", "OTHER", "CT_SOM5 PROT"]},
         Kind.DOSE_SCREEN),
        ({"Manufacturer": "TOSHIBA", "ImageType": ["DERIVED", "SECONDARY"], "SeriesNumber": 9000}, Kind.DOSE_SCREEN),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, Kind.LOCALIZER),
        ({"ImageType": ["DERIVED", "PRIMARY", "AXIAL"]}, Kind.DERIVED),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "MPR"]}, Kind.DERIVED),
        ({"Modality": "MR"}, Kind.OTHER),
        ({"SOPClassUID": DOSE_REPORT_CLASS, "Modality": "SR"}, Kind.DOSE_REPORT),
    ],
)  # fmt: skip
def test_each_kind_of_object_is_known(values: dict[str, Any], kind: Kind) -> None:
    assert said(image(**values)).kind is kind


def test_an_old_report_is_known_by_its_title_and_not_by_its_class() -> None:
    made = image(SOPClassUID="1.2.840.10008.5.1.4.1.1.88.22", Modality="SR")
    title = Dataset()
    title.CodeValue, title.CodingSchemeDesignator, title.CodeMeaning = "113701", "DCM", "X-Ray Radiation Dose Report"
    made.ConceptNameCodeSequence = [title]

    assert said(made).kind is Kind.DOSE_REPORT


# Events


def test_one_acquisition_in_two_series_counts_once() -> None:
    soft = [toshiba(number, "1") for number in range(1, 5)]
    sharp = [toshiba(number, "2") for number in range(1, 3)]

    dose = study(*soft, *sharp)

    assert [event.series for event in dose.events] == [("1.2.3.1", "1.2.3.2")]
    assert dose.total_dlp is not None
    assert dose.total_dlp.value == Decimal("612.2999877929688")


def test_two_acquisitions_count_twice() -> None:
    dose = study(toshiba(1, "1"), toshiba(2, "2", AcquisitionNumber="3"))

    assert len(dose.events) == 2
    assert dose.total_dlp is not None
    assert (dose.total_dlp.value, dose.total_dlp.basis) == (Decimal("1224.5999755859376"), Basis.COMPUTED)


def test_the_scanners_own_event_uid_decides() -> None:
    apart = [toshiba(1, "1", IrradiationEventUID="1.2.9"), toshiba(40, "2", IrradiationEventUID="1.2.9")]
    together = [toshiba(1, "1", IrradiationEventUID="1.2.9"), toshiba(1, "2", IrradiationEventUID="1.2.8")]

    assert [event.event_uid for event in study(*apart).events] == ["1.2.9"]
    assert len(study(*together).events) == 2


def test_series_that_may_be_one_acquisition_or_two_make_no_report() -> None:
    dose = study(toshiba(1, "1"), toshiba(30, "2"))

    assert len(dose.events) == 2
    assert dose.obstacles == (Obstacle.AMBIGUOUS,)
    assert not dose.reportable


def test_derived_images_copy_their_originals_header_and_are_not_counted() -> None:
    dose = study(toshiba(1), toshiba(2, "2", ImageType=["DERIVED", "SECONDARY", "MPR"], AcquisitionNumber="9"))

    assert len(dose.events) == 1


def test_current_that_varies_is_averaged_over_one_reconstruction_and_its_highest_kept() -> None:
    slices = [toshiba(number, XRayTubeCurrent=str(100 * number)) for number in (1, 2, 3)]

    event = study(*slices, toshiba(1, "2", XRayTubeCurrent="100")).events[0]

    assert event.numbers[Quantity.TUBE_CURRENT].value == 200
    assert event.numbers[Quantity.TUBE_CURRENT].basis is Basis.COMPUTED
    assert event.highest_current is not None
    assert event.highest_current.value == 300


def test_numbers_that_only_a_related_vendors_document_describes_make_no_report() -> None:
    made = image(Manufacturer="CANON_MEC")
    block = made.private_block(0x7005, "CANON_MEC_CT3", create=True)
    block.add_new(0x63, "FD", 18.7)

    dose = study(made)

    assert dose.status is DoseStatus.READABLE
    assert dose.obstacles == (Obstacle.UNDOCUMENTED,)


@pytest.mark.parametrize(
    ("made", "obstacle"),
    [
        ([toshiba(1, AcquisitionTime="")], Obstacle.NO_TIME),
        ([toshiba(1), toshiba(2, "2", DeviceSerialNumber="4712", AcquisitionNumber="3")], Obstacle.SEVERAL_DEVICES),
    ],
)
def test_what_cannot_be_reported_says_why(made: list[Dataset], obstacle: Obstacle) -> None:
    dose = study(*made)

    assert dose.obstacles == (obstacle,)
    with pytest.raises(ValueError, match="no report"):
        reported(made)


def test_a_study_with_a_report_gets_no_second_one() -> None:
    report = image(9, SOPClassUID=DOSE_REPORT_CLASS, Modality="SR")

    dose = study(toshiba(1), report)

    assert dose.status is DoseStatus.REPORT
    assert not dose.reportable


def test_a_picture_of_dose_is_not_dose() -> None:
    screen = image(2, ImageType=["DERIVED", "SECONDARY"], SeriesNumber="1000")

    assert study(image(1), screen).status is DoseStatus.SCREEN_ONLY
    assert study(image(1)).status is DoseStatus.NONE
    assert study().status is DoseStatus.NO_CT


PLANS = st.dictionaries(st.integers(1, 9), st.tuples(st.integers(1, 3), st.integers(1, 3)))


@settings(max_examples=40, deadline=None)
@given(st.randoms(use_true_random=False), PLANS)
def test_the_order_of_arrival_does_not_matter(shuffle: random.Random, plan: dict[int, tuple[int, int]]) -> None:
    instances = [
        replace(
            INSTANCE,
            sop_uid=f"1.2.{n}",
            series_uid=f"1.2.{series}",
            acquisition=str(scan),
            started=f"2020010209{n:02d}00.0",
        )
        for n, (series, scan) in plan.items()
    ]
    mixed = list(instances)
    shuffle.shuffle(mixed)

    assert gather(mixed) == gather(instances)


INSTANCE = said(toshiba())


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
