"""Studies are asked for again by UID, and every one of them is accounted for."""

from hypothesis import given
from hypothesis import strategies as st

from actors.source import FindAnswer, FindEnd, StudyFound, StudyWindow
from cluster.inventory.cuts import Verdict
from cluster.inventory.recount import LIST_LENGTH, RecountPlan
from imaging.uid import Uid


def answer(window: StudyWindow, held: set[Uid], end: FindEnd = FindEnd.SUCCESS) -> FindAnswer:
    studies = tuple(StudyFound(study_uid=uid) for uid in window.study_uids if uid in held)
    return FindAnswer(
        window=window, studies=studies, end=end, status=0, undecodable=0, raw=(), transfer_syntax="1.2.840.10008.1.2"
    )


def asked_of(plan: RecountPlan, held: set[Uid], *, lists: bool) -> list[StudyWindow]:
    asked: list[StudyWindow] = []
    while (window := plan.question()) is not None:
        asked.append(window)
        understood = lists or len(window.study_uids) == 1
        plan.take(answer(window, held if understood else set()))
    return asked


def uids(count: int) -> list[Uid]:
    return [Uid(f"1.2.{number}") for number in range(count)]


@given(count=st.integers(0, 3 * LIST_LENGTH), gone=st.sets(st.integers(0, 3 * LIST_LENGTH)), lists=st.booleans())
def test_every_study_is_brought_or_was_asked_for_alone(count: int, gone: set[int], lists: bool) -> None:
    wanted = uids(count)
    held = {uid for number, uid in enumerate(wanted) if number not in gone}

    plan = RecountPlan(wanted)
    asked = asked_of(plan, held, lists=lists)

    alone = {window.study_uids[0] for window in asked if len(window.study_uids) == 1}
    listed = {uid for window in asked for uid in window.study_uids if len(window.study_uids) > 1}
    assert listed | alone == set(wanted)
    assert set(wanted) - held <= alone
    assert all(item.verdict in (Verdict.COMPLETE, Verdict.SPLIT) for item in plan.settled())


def test_an_archive_that_understands_lists_is_asked_once_for_fifty() -> None:
    wanted = uids(2 * LIST_LENGTH)

    assert len(asked_of(RecountPlan(wanted), set(wanted), lists=True)) == 2


def test_an_archive_without_lists_is_asked_for_one_list_only() -> None:
    wanted = uids(2 * LIST_LENGTH)

    asked = asked_of(RecountPlan(wanted), set(wanted), lists=False)

    assert [len(window.study_uids) for window in asked] == [LIST_LENGTH] + [1] * len(wanted)


def test_a_refused_question_for_one_study_is_a_doubt_that_remains() -> None:
    plan = RecountPlan(uids(1))

    window = plan.question()
    assert window is not None
    plan.take(answer(window, set(), FindEnd.FAILED))

    assert [item.verdict for item in plan.settled()] == [Verdict.UNSPLITTABLE]
