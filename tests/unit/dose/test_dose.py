"""CT dose: what is read from headers, what counts as one event."""

import random
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from dose_objects import GE, TOSHIBA, enhanced, image, item, philips_info, reported, said, study, toshiba
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from imaging.dose.reading import DOSE_REPORT_CLASS
from imaging.dose.records import Basis, DoseStatus, Kind, Motion, Obstacle, Phantom, Quantity
from imaging.dose.study import gather

pytestmark = pytest.mark.filterwarnings("ignore")


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


def test_images_that_disagree_about_their_dose_have_one_that_no_report_is_made_of() -> None:
    made = [toshiba(1), toshiba(2)]
    for one, dlp in zip(made, (612.3, 700.0), strict=True):
        one[0x70051040].value = dlp
        del one[0x70051063]

    dose = study(*made)

    assert (dose.status, dose.obstacles, dose.conflicts) == (DoseStatus.READABLE, (Obstacle.AMBIGUOUS,), ("dlp",))


def test_zero_is_what_scanners_write_for_unknown() -> None:
    assert study(image(CTDIvol=0.0)).status is DoseStatus.NONE


def test_frames_that_agree_give_the_value_and_its_place() -> None:
    (event,) = study(enhanced([{"CTDIvol": 8.25, "XRayTubeCurrentInmA": 200.0}] * 3)).events

    assert event.numbers[Quantity.CTDIVOL].value == Decimal("8.25")
    assert event.numbers[Quantity.CTDIVOL].where == "(5200,9230)>(0018,9345)"
    assert event.numbers[Quantity.CTDIVOL].basis is Basis.COPIED
    assert event.numbers[Quantity.KVP].value == 120
    assert (event.motion, event.phantom, event.event_uid) == (Motion.SPIRAL, Phantom.BODY, "1.9.1")
    assert (event.started, event.ended) == ("20200102090000.500000", "20200102090200.500000")


def test_frames_of_modulated_current_give_means_and_the_highest_current() -> None:
    frames = [{"CTDIvol": 8.0, "XRayTubeCurrentInmA": 100.0}, {"CTDIvol": 9.0, "XRayTubeCurrentInmA": 300.0}]

    (event,) = study(enhanced(frames)).events

    ctdi, current = event.numbers[Quantity.CTDIVOL], event.numbers[Quantity.TUBE_CURRENT]
    assert (ctdi.value, ctdi.basis) == (Decimal("8.5"), Basis.COMPUTED)
    assert ctdi.where == "mean of 2 frames' (5200,9230)>(0018,9345)"
    assert current.value == 200
    assert event.highest_current is not None
    assert event.highest_current.value == 300


def test_an_image_whose_frames_are_of_two_events_is_two() -> None:
    frames = [
        {"CTDIvol": 8.0, "event": "1.9.1"},
        {"CTDIvol": 3.5, "event": "1.9.2"},
        {"CTDIvol": 3.5, "event": "1.9.2"},
    ]

    dose = study(enhanced(frames))

    assert [(one.event_uid, one.numbers[Quantity.CTDIVOL].value) for one in dose.events] == [
        ("1.9.1", Decimal("8.0")), ("1.9.2", Decimal("3.5")),
    ]  # fmt: skip
    assert [one.numbers[Quantity.PITCH].value for one in dose.events] == [Decimal("0.828")] * 2


def test_what_frames_of_one_event_cannot_differ_in_is_not_taken_and_told() -> None:
    made = enhanced([{"CTDIvol": 8.0}, {"CTDIvol": 8.0}])
    made.PerFrameFunctionalGroupsSequence[0].CTTableDynamicsSequence = [item(SpiralPitchFactor=0.9)]
    made.PerFrameFunctionalGroupsSequence[1].CTTableDynamicsSequence = [item(SpiralPitchFactor=1.1)]

    dose = study(made)

    assert Quantity.PITCH not in dose.events[0].numbers
    assert dose.conflicts == ("pitch",)


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
