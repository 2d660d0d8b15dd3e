"""Whatever is missing is asked for, and nothing that is settled is asked for alone."""

from hypothesis import given
from hypothesis import strategies as st

from actors.ladder import Rung, accounted_for, first_rung, targets
from actors.source import InstanceRef, MoveEnd, MoveOutcome
from imaging.uid import Uid

STUDY = Uid("1.2.3")


@st.composite
def studies(draw: st.DrawFn) -> tuple[tuple[InstanceRef, ...], frozenset[str]]:
    series = draw(st.lists(st.integers(1, 130), min_size=1, max_size=4))
    refs = tuple(
        InstanceRef(series_uid=Uid(f"1.2.3.{s}"), sop_uid=Uid(f"1.2.3.{s}.{i}"))
        for s, count in enumerate(series)
        for i in range(count)
    )
    held = draw(st.sets(st.sampled_from([ref.sop_uid for ref in refs])))
    return refs, frozenset(held)


@given(studies(), st.integers(0, 6))
def test_every_rung_asks_for_everything_that_is_missing(study, number):
    refs, held = study

    asked = targets(STUDY, refs, held, Rung(number))

    covered = {
        ref.sop_uid
        for target in asked
        for ref in refs
        if (not target.sop_uids or ref.sop_uid in target.sop_uids)
        and (target.series_uid is None or target.series_uid == ref.series_uid)
    }
    assert {ref.sop_uid for ref in refs} - held <= covered


@given(studies(), st.integers(2, 6))
def test_image_rungs_ask_for_nothing_that_is_settled(study, number):
    refs, held = study

    asked = [uid for target in targets(STUDY, refs, held, Rung(number)) for uid in target.sop_uids]

    assert sorted(asked) == sorted({ref.sop_uid for ref in refs} - held)


@given(studies())
def test_the_last_rung_asks_for_one_instance_at_a_time(study):
    refs, held = study
    rung = first_rung(refs, held)
    while not rung.last:
        rung = rung.next()

    assert all(len(target.sop_uids) == 1 for target in targets(STUDY, refs, held, rung))


@given(studies())
def test_a_resumed_study_is_never_asked_for_as_a_whole(study):
    refs, held = study

    asked = targets(STUDY, refs, held, first_rung(refs, held))

    if held:
        assert all(target.series_uid is not None for target in asked)


@given(st.integers(1, 100), st.integers(0, 100), st.integers(0, 100), st.integers(0, 100))
def test_an_answer_is_only_believed_when_its_counts_add_up_and_the_data_came(asked, completed, failed, arrived):
    outcome = MoveOutcome(end=MoveEnd.SUCCESS, completed=completed, failed=failed)

    believed = accounted_for(outcome, asked, arrived)

    assert believed == (completed > 0 and completed + failed == asked and arrived >= completed)
