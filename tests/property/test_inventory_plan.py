"""No study is ever lost silently: a model archive is asked until the plan is satisfied."""

from dataclasses import dataclass
from datetime import date, time
from fnmatch import fnmatchcase

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from actors.source import FindAnswer, FindEnd, StudyFound, StudyWindow
from cluster.inventory.cuts import Verdict
from cluster.inventory.options import InventoryOptions
from cluster.inventory.plan import Plan
from imaging.uid import Uid

TODAY = date(2026, 11, 24)
MOST_QUESTIONS = 30_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelArchive:
    """Answers as archives do: a date range never matches an undated study, long answers are cut."""

    studies: tuple[StudyFound, ...]
    cap: int | None = None
    cut_end: FindEnd = FindEnd.SUCCESS
    ignores: frozenset[str] = frozenset()
    refuses: frozenset[str] = frozenset()
    folds_case: bool = False
    newest_first: bool = False

    def find(self, window: StudyWindow) -> FindAnswer:
        keys = window.keys()
        if self.refuses & keys.keys():
            return _answer(window, (), FindEnd.FAILED)
        found = [
            s for s in self.studies if all(self._matches(s, k, v) for k, v in keys.items() if k not in self.ignores)
        ]
        if self.newest_first:
            found.reverse()
        if self.cap is not None and len(found) > self.cap:
            return _answer(window, tuple(found[: self.cap]), self.cut_end)
        return _answer(window, tuple(found), FindEnd.SUCCESS)

    def _matches(self, study: StudyFound, keyword: str, wanted: str) -> bool:
        match keyword:
            case "StudyDate":
                return _within(study.study_date, wanted)
            case "StudyTime":
                return _within(study.study_time, wanted)
            case "ModalitiesInStudy":
                return wanted in (study.modalities or ())
            case "PatientID":
                return self._like(study.patient_id, wanted)
            case _:
                return self._like(study.patient_name, wanted)

    def _like(self, value: str | None, wanted: str) -> bool:
        value = value or ""
        if self.folds_case:
            value, wanted = value.casefold(), wanted.casefold()
        return bool(value) and fnmatchcase(value, wanted.replace("[", "[[]"))


def _within(value: str | None, wanted: str) -> bool:
    if not value:
        return False
    start, dash, stop = wanted.partition("-")
    if not dash:
        return value == start
    return (not start or value >= start) and (not stop or value <= stop)


def _answer(window: StudyWindow, studies: tuple[StudyFound, ...], end: FindEnd) -> FindAnswer:
    return FindAnswer(window=window, studies=studies, end=end, status=0, undecodable=0, raw=(), transfer_syntax="")


def enumerate_archive(archive: ModelArchive, options: InventoryOptions, cap: int | None) -> tuple[set[Uid], Plan, int]:
    plan = Plan(options, cap=cap, today=TODAY)
    found: set[Uid] = set()
    unsplittable = 0
    while (window := plan.question()) is not None:
        assert plan.asked < MOST_QUESTIONS, "the plan does not come to an end"
        answer = archive.find(window)
        found.update(study.study_uid for study in answer.studies)
        plan.take(answer)
        unsplittable += sum(done.verdict is Verdict.UNSPLITTABLE for done in plan.settled())
    unsplittable += sum(done.verdict is Verdict.UNSPLITTABLE for done in plan.settled())
    return found, plan, unsplittable


dates = st.one_of(
    st.none(),
    st.dates(date(1995, 1, 1), TODAY).map(lambda day: day.strftime("%Y%m%d")),
    st.sampled_from(["20190304", "20190304", "20190305", "18991230", "19000101", "11111111", "99991231", "20261124"]),
)
times = st.one_of(
    st.none(),
    st.times(time(0), time(23, 59, 59)).map(lambda at: at.strftime("%H%M%S")),
    st.sampled_from(["000000", "120000", "115959.500000", "235959.999999"]),
)
ids = st.one_of(st.text("0123AB", min_size=1, max_size=6), st.sampled_from(["PHANTOM", "a1", "A1", "X-1.2_3"]))


@st.composite
def archives(draw: st.DrawFn) -> tuple[StudyFound, ...]:
    count = draw(st.integers(0, 120))
    skewed = draw(st.booleans())
    studies: list[StudyFound] = []
    for number in range(count):
        studies.append(
            StudyFound(
                study_uid=Uid(f"1.2.{number}"),
                study_date="20190304" if skewed and draw(st.booleans()) else draw(dates),
                study_time=draw(times),
                modalities=draw(st.sampled_from([None, ("CT",), ("CT", "SR"), ("MR",), ("QQ",)])),
                patient_id=draw(ids),
                patient_name=draw(st.sampled_from(["DOE^JOHN", "Roe^Jane", "TEST"])),
            )
        )
    return tuple(studies)


@given(
    studies=archives(),
    cap=st.one_of(st.none(), st.integers(20, 130)),
    cut_end=st.sampled_from([FindEnd.SUCCESS, FindEnd.REFUSED, FindEnd.CANCELLED]),
    folds_case=st.booleans(),
    newest_first=st.booleans(),
)
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_every_study_is_found_or_an_unsplittable_window_says_otherwise(
    studies: tuple[StudyFound, ...], cap: int | None, cut_end: FindEnd, folds_case: bool, newest_first: bool
) -> None:
    archive = ModelArchive(studies=studies, cap=cap, cut_end=cut_end, folds_case=folds_case, newest_first=newest_first)

    found, plan, unsplittable = enumerate_archive(archive, InventoryOptions(), cap=None)

    assert found == {study.study_uid for study in studies} or unsplittable
    assert plan.asked <= 1_000 + 150 * len(studies)


@given(studies=archives(), cap=st.integers(4, 19))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_a_tiny_cap_is_survived_once_it_is_known(studies: tuple[StudyFound, ...], cap: int) -> None:
    archive = ModelArchive(studies=studies, cap=cap)

    found, plan, unsplittable = enumerate_archive(archive, InventoryOptions(), cap=cap)

    assert found == {study.study_uid for study in studies} or unsplittable
    assert plan.asked <= 3_000 + 400 * len(studies)


@given(
    studies=archives(),
    cap=st.integers(20, 60),
    broken=st.sets(st.sampled_from(["StudyDate", "StudyTime", "ModalitiesInStudy", "PatientID", "PatientName"])),
    refuses=st.booleans(),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_keys_the_archive_ignores_or_refuses_never_lose_a_study_silently(
    studies: tuple[StudyFound, ...], cap: int, broken: set[str], refuses: bool
) -> None:
    keys = frozenset(broken)
    archive = ModelArchive(
        studies=studies, cap=cap, refuses=keys if refuses else frozenset(), ignores=frozenset() if refuses else keys
    )

    found, plan, unsplittable = enumerate_archive(archive, InventoryOptions(), cap=None)

    assert found == {study.study_uid for study in studies} or unsplittable
    assert plan.asked <= 5_000 + 400 * len(studies)


@given(studies=archives(), cap=st.one_of(st.none(), st.integers(20, 130)))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_the_same_answers_always_give_the_same_questions(studies: tuple[StudyFound, ...], cap: int | None) -> None:
    archive = ModelArchive(studies=studies, cap=cap)
    first = Plan(InventoryOptions(), cap=None, today=TODAY)
    again = Plan(InventoryOptions(), cap=None, today=TODAY)

    while (window := first.question()) is not None:
        assert again.question() == window
        answer = archive.find(window)
        first.take(answer)
        again.take(answer)

    assert again.question() is None
