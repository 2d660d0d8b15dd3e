"""C-FIND of the simulated archive, asked by pynetdicom: truthful first, then every way it can lie."""

import contextlib
from dataclasses import replace

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE

from infra.simulator import CapEnd, Counts, Faults, Simulator, synthetic_archive

FIND = "1.2.840.10008.5.1.4.1.2.2.1"
VERIFICATION = "1.2.840.10008.1.1"


@pytest.fixture(scope="module")
def pacs():
    with Simulator(synthetic_archive(studies=40)) as simulator:
        yield simulator


@pytest.fixture(autouse=True)
def truthful(pacs):
    pacs.faults = Faults()
    pacs.forget()


@contextlib.contextmanager
def association(pacs, calling="ASKER", called="SIMPACS"):
    ae = AE(calling)
    ae.add_requested_context(FIND)
    ae.add_requested_context(VERIFICATION)
    assoc = ae.associate("127.0.0.1", pacs.port, ae_title=called)
    try:
        yield assoc
    finally:
        if assoc.is_established:
            assoc.release()


def identifier(level="STUDY", **keys):
    asked = Dataset()
    asked.QueryRetrieveLevel = level
    asked.StudyInstanceUID = ""
    for keyword, value in keys.items():
        setattr(asked, keyword, value)
    return asked


def ask(pacs, level="STUDY", **keys):
    """The answers, and the final status (None when the association was lost)."""
    with association(pacs) as assoc:
        got = list(assoc.send_c_find(identifier(level, **keys), FIND))
    rows = [row for status, row in got if status and status.Status == 0xFF00]
    return rows, getattr(got[-1][0], "Status", None)


def uids(rows):
    return {row.StudyInstanceUID for row in rows}


def test_echo_is_answered(pacs):
    with association(pacs) as assoc:
        status = assoc.send_c_echo()

    assert status.Status == 0


def test_an_unrestricted_query_returns_every_study_once(pacs):
    rows, status = ask(pacs)

    assert status == 0
    assert sorted(row.StudyInstanceUID for row in rows) == sorted(pacs.archive.manifest().study_uids)


def test_study_answers_carry_counts_and_modalities(pacs):
    rows, _ = ask(pacs, NumberOfStudyRelatedInstances="", NumberOfStudyRelatedSeries="", ModalitiesInStudy="")

    for row in rows:
        held = pacs.archive.manifest().of_study(row.StudyInstanceUID)
        assert row.NumberOfStudyRelatedInstances == len(held)
        assert row.NumberOfStudyRelatedSeries == len({i.series_uid for i in held})
        assert row.ModalitiesInStudy


def test_a_date_range_never_matches_an_undated_study(pacs):
    everything, _ = ask(pacs, StudyDate="")
    ranged, _ = ask(pacs, StudyDate="00010101-99991231")

    undated = {row.StudyInstanceUID for row in everything if not row.StudyDate}

    assert undated
    assert uids(ranged) == uids(everything) - undated


@pytest.mark.parametrize("span", ["20100101-20151231", "-20101231", "20200101-", "20070327"])
def test_date_ranges_match_what_lies_inside(pacs, span):
    start, dash, stop = span.partition("-")
    everything, _ = ask(pacs, StudyDate="")

    rows, _ = ask(pacs, StudyDate=span)

    inside = {
        row.StudyInstanceUID
        for row in everything
        if row.StudyDate and (start or "0") <= row.StudyDate <= ((stop or "9") if dash else start)
    }
    assert uids(rows) == inside


def test_time_ranges_split_a_day_without_loss_or_overlap(pacs):
    halves = [uids(ask(pacs, StudyTime=span)[0]) for span in ("000000-115959", "120000-235959")]
    everything, _ = ask(pacs, StudyTime="")

    timed = {row.StudyInstanceUID for row in everything if row.StudyTime}

    assert halves[0] | halves[1] == timed
    assert not halves[0] & halves[1]


def test_wild_cards_ignore_case_in_name_and_patient_id(pacs):
    everything, _ = ask(pacs, PatientName="")
    family = next(str(row.PatientName).split("^")[0] for row in everything if str(row.PatientName).isascii())
    upper, _ = ask(pacs, PatientName=f"{family.upper()}*")
    lower, _ = ask(pacs, PatientName=f"{family.lower()}*")
    single, _ = ask(pacs, PatientName=f"?{family[1:]}*")
    numbered, _ = ask(pacs, PatientID="MRN*")

    assert uids(upper) and uids(upper) == uids(lower) == uids(single)
    assert any(row.PatientID.startswith("mrn") for row in numbered)


def test_modality_is_matched_against_any_series_of_the_study(pacs):
    rows, _ = ask(pacs, ModalitiesInStudy="SR")

    expected = {i.study_uid for i in pacs.archive.manifest() if i.name == "sr"}
    assert uids(rows) == expected and expected


def test_a_list_of_uids_matches_each(pacs):
    wanted = pacs.archive.manifest().study_uids[:3]

    rows, _ = ask(pacs, StudyInstanceUID=list(wanted))

    assert uids(rows) == set(wanted)


def test_series_and_images_are_found_below_their_parents(pacs):
    study = max(pacs.archive.manifest().study_uids, key=lambda uid: len(pacs.archive.study(uid)))
    series, status = ask(
        pacs, "SERIES", StudyInstanceUID=study, SeriesInstanceUID="", NumberOfSeriesRelatedInstances=""
    )

    images = []
    for row in series:
        found, _ = ask(
            pacs, "IMAGE", StudyInstanceUID=study, SeriesInstanceUID=row.SeriesInstanceUID, SOPInstanceUID="",
            SOPClassUID="", AvailableTransferSyntaxUID="",
        )  # fmt: skip
        assert len(found) == row.NumberOfSeriesRelatedInstances
        images += found

    assert status == 0
    assert {(i.SOPInstanceUID, i.SOPClassUID, i.AvailableTransferSyntaxUID) for i in images} == {
        (i.sop_uid, i.sop_class, i.transfer_syntax) for i in pacs.archive.study(study)
    }


def test_a_query_below_study_level_needs_its_parents_uid(pacs):
    _, status = ask(pacs, "SERIES", SeriesInstanceUID="")

    assert status == 0xA900


def test_names_come_in_the_character_set_they_declare(pacs):
    rows, _ = ask(pacs, PatientName="")

    assert any("ISO 2022 IR 87" in str(row.get("SpecificCharacterSet")) and "=" in str(row.PatientName) for row in rows)
    assert any(row.get("SpecificCharacterSet") == "GB18030" for row in rows)


@pytest.mark.parametrize(
    ("end", "status"), [(CapEnd.SUCCESS, 0x0000), (CapEnd.REFUSED, 0xA700), (CapEnd.CANCELLED, 0xFE00)]
)
def test_a_cap_cuts_the_answers_and_ends_as_told(pacs, end, status):
    pacs.faults = Faults(find_cap=7, find_cap_end=end)

    rows, final = ask(pacs)

    assert (len(rows), final) == (7, status)


def test_a_cap_equal_to_the_number_of_answers_cuts_nothing(pacs):
    pacs.faults = Faults(find_cap=40, find_cap_end=CapEnd.REFUSED)

    rows, final = ask(pacs)

    assert (len(rows), final) == (40, 0)


def test_a_query_is_aborted_as_often_as_told(pacs):
    pacs.faults = Faults(find_abort_after=5, find_aborts=1)

    first, lost = ask(pacs)
    again, status = ask(pacs)

    assert (len(first), lost) == (5, None)
    assert (len(again), status) == (40, 0)


def test_rows_repeat(pacs):
    pacs.faults = Faults(duplicate_rows=2)

    rows, _ = ask(pacs)

    assert len(rows) == 120 and len(uids(rows)) == 40


def test_series_rows_come_once_for_each_instance(pacs):
    study = pacs.archive.manifest().study_uids[0]
    pacs.faults = Faults(series_per_instance=True)

    rows, _ = ask(pacs, "SERIES", StudyInstanceUID=study, SeriesInstanceUID="")

    assert len(rows) == len(pacs.archive.study(study))


def test_counts_are_wrong_or_absent(pacs):
    study = pacs.archive.manifest().study_uids[0]
    true = len(pacs.archive.study(study))
    said = {}

    for counts in Counts:
        pacs.faults = Faults(counts=counts)
        (row,), _ = ask(pacs, StudyInstanceUID=study, NumberOfStudyRelatedInstances="")
        said[counts] = row.get("NumberOfStudyRelatedInstances")

    assert said == {Counts.TRUE: true, Counts.ABSENT: None, Counts.HIGH: true + 1, Counts.ZERO: 0}


def test_an_undecodable_identifier_comes_between_good_ones(pacs):
    pacs.faults = Faults(undecodable_every=10)

    rows, status = ask(pacs)

    assert status == 0
    assert len([row for row in rows if row is not None]) == 36
    assert None in rows


def test_undated_studies_answer_every_range_when_told(pacs):
    pacs.faults = Faults(undated_match_ranges=True)

    rows, _ = ask(pacs, StudyDate="20300101-20301231")

    assert rows and all(not row.StudyDate for row in rows)


def test_the_character_set_goes_undeclared(pacs):
    pacs.faults = Faults(charset_undeclared=True)

    rows, _ = ask(pacs, PatientName="")

    assert not any("SpecificCharacterSet" in row for row in rows)


def test_keys_are_left_out_or_not_matched(pacs):
    pacs.faults = Faults(absent_keys=("ModalitiesInStudy",), ignored_keys=("StudyTime",))

    rows, _ = ask(pacs, ModalitiesInStudy="", StudyTime="000000-000001")

    assert len(rows) == 40 and "ModalitiesInStudy" not in rows[0]


def test_image_level_is_refused(pacs):
    held = pacs.archive.manifest().instances[0]
    pacs.faults = Faults(image_find_refused=True)

    rows, status = ask(
        pacs, "IMAGE", StudyInstanceUID=held.study_uid, SeriesInstanceUID=held.series_uid, SOPInstanceUID=""
    )

    assert (rows, status) == ([], 0xC000)


def test_a_query_can_be_cancelled(pacs):
    pacs.faults = Faults(find_latency=0.05)

    with association(pacs) as assoc:
        answers = assoc.send_c_find(identifier(), FIND, msg_id=9)
        next(answers)
        assoc.send_c_cancel(9, query_model=FIND)
        last = [status.Status for status, _ in answers][-1]

    assert last == 0xFE00


def test_associations_beyond_the_limit_are_rejected(pacs):
    pacs.faults = Faults(association_limit=1)
    before = pacs.stats.counts["rejected"]

    with association(pacs) as first, association(pacs) as second:
        # pynetdicom may see that the connection was closed before it sees that it was rejected.
        outcome = (first.is_established, second.is_established)

    assert outcome == (True, False)
    assert pacs.stats.counts["rejected"] - before == 1


def test_unknown_titles_are_rejected(pacs):
    pacs.faults = replace(pacs.faults, known_callers=("ASKER",), check_called_ae=True)
    before = pacs.stats.counts["rejected"]

    with (
        association(pacs) as known,
        association(pacs, calling="OTHER") as stranger,
        association(pacs, called="X") as lost,
    ):
        outcome = (known.is_established, stranger.is_established, lost.is_established)

    assert outcome == (True, False, False)
    assert pacs.stats.counts["rejected"] - before == 2
