"""How windows are cut, and when an answer is doubted."""

from datetime import date, time

import pytest

from actors.source import FindEnd, StudyWindow
from cluster.inventory.completeness import Caps, Signal
from cluster.inventory.windows import EARLIEST, LATEST, NO_MODALITY, Way, cut, ways
from imaging.uid import Uid

DAY = date(2019, 3, 4)


def _uids(count: int, start: int = 0) -> frozenset[Uid]:
    return frozenset(Uid(f"1.{number}") for number in range(start, start + count))


def _judged(caps: Caps, count: int, start: int = 0) -> Signal | None:
    return caps.judge(FindEnd.SUCCESS, count, _uids(count, start))


def test_date_halves_touch_and_do_not_overlap() -> None:
    first, second = cut(StudyWindow(date_from=date(2019, 1, 1), date_to=date(2019, 12, 31)), Way.DATE, set())

    assert first.date_from == date(2019, 1, 1) and second.date_to == date(2019, 12, 31)
    assert first.date_to is not None and second.date_from is not None
    assert (second.date_from - first.date_to).days == 1


def test_open_date_ranges_can_be_cut_and_stay_open_at_their_end() -> None:
    _, later = cut(StudyWindow(date_from=DAY), Way.DATE, set())
    earlier, _ = cut(StudyWindow(date_to=DAY), Way.DATE, set())

    assert later.date_to is None and earlier.date_from is None
    assert Way.DATE not in ways(StudyWindow(date_from=LATEST))
    assert Way.DATE not in ways(StudyWindow(date_to=EARLIEST))


def test_time_halves_share_a_second_so_that_fractions_fall_into_one_of_them() -> None:
    first, second = cut(StudyWindow(date_from=DAY, date_to=DAY), Way.TIME, set())

    assert first.time_to == second.time_from
    assert first.time_from is None and second.time_to is None


def test_times_are_only_cut_within_one_day_and_down_to_a_second() -> None:
    several = StudyWindow(date_from=DAY, date_to=date(2019, 3, 5))
    second = StudyWindow(date_from=DAY, date_to=DAY, time_from=time(8, 0, 0), time_to=time(8, 0, 1))

    assert Way.TIME not in ways(several)
    assert ways(second)[0] is Way.MODALITY


def test_a_prefix_is_cut_into_itself_as_a_whole_value_and_longer_ones() -> None:
    parts = [part.patient_id for part in cut(StudyWindow(patient_id="AB*"), Way.PATIENT_ID, {"-", "A"})]

    assert parts[0] == "AB"
    assert {"AB0*", "ABZ*", "AB-*"} <= set(parts)
    assert len(parts) == len(set(parts))


def test_no_part_is_built_from_a_wild_card_met_in_an_answer() -> None:
    parts = [part.patient_id or "" for part in cut(StudyWindow(patient_id="A*"), Way.PATIENT_ID, {"*", "?", "\\"})]

    assert all("?" not in part and "\\" not in part and part.count("*") <= 1 for part in parts)


def test_modalities_met_in_answers_are_asked_for_and_one_that_cannot_exist_comes_first() -> None:
    parts = [part.modality for part in cut(StudyWindow(), Way.MODALITY, {"QQ", "CT"})]

    assert parts[0] == NO_MODALITY
    assert parts.count("QQ") == parts.count("CT") == 1


@pytest.mark.parametrize("end", [FindEnd.REFUSED, FindEnd.CANCELLED, FindEnd.FAILED, FindEnd.LOST])
def test_an_answer_that_does_not_end_with_success_is_never_whole(end: FindEnd) -> None:
    assert Caps(None).judge(end, 3, _uids(3)) is Signal.ENDED


def test_a_configured_cap_is_believed_at_any_size() -> None:
    caps = Caps(7)

    assert _judged(caps, 7) is Signal.CAP
    assert _judged(caps, 6) is None


def test_a_round_count_is_doubted_until_a_longer_answer_has_been_seen() -> None:
    caps = Caps(None)

    assert _judged(caps, 500) is Signal.ROUND
    assert _judged(caps, 501) is Signal.PEAK
    assert _judged(caps, 500) is None


def test_three_different_answers_of_one_largest_length_make_a_cap() -> None:
    caps = Caps(None)

    signals = [_judged(caps, 137, start) for start in (0, 1000, 2000, 3000)]

    assert signals[:2] == [Signal.PEAK, Signal.PEAK] and signals[3] is Signal.CAP
    assert caps.believed == 137


def test_the_same_studies_seen_through_narrower_windows_make_no_plateau() -> None:
    caps = Caps(None)

    for _ in range(5):
        _judged(caps, 137)

    assert caps.believed is None
