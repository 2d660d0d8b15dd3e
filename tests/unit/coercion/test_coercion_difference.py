"""Whether other rules would write a study otherwise: never missed where they would, known where that can be."""

from dataclasses import replace

import pytest
from coercion_objects import dataset, file_of, outcome, rule, written
from hypothesis import given, settings
from hypothesis import strategies as st

from imaging.coercion.attributes import attribute
from imaging.coercion.difference import Cause, Difference, Work, difference
from imaging.coercion.errors import NotCoercible
from imaging.coercion.rules import Check, Condition, Fill, Map, Originals, Rule, RuleSet, Set, Utf8

pytestmark = pytest.mark.filterwarnings("ignore")

ACCESSION, STATION, INSTITUTION = map(attribute, ("AccessionNumber", "StationName", "InstitutionName"))
SITE = rule(Set(tag=INSTITUTION, value="North"), name="site")
SEX = rule(Map(tag=attribute("PatientSex"), table=(("Male", "M"),)), name="sex", modalities=("CT",))
FILL = rule(Fill(tag=STATION, value="CT1"), name="fill", when=(Condition(tag=STATION, check=Check.ABSENT),))
OF_MR = rule(Set(tag=STATION, value="MR1"), name="of-mr", modalities=("mr",))
OF_NONE = replace(OF_MR, name="of-none", modalities=("", "MR"))
TO_MR = rule(Set(tag=attribute("Modality"), value="MR"), name="to-mr")
THEN = RuleSet(rules=(SITE, SEX, FILL))


def work(*, met: str = "", acted: str = "", modalities: str | None = None) -> Work:
    """Of these rules, by name."""
    labels = [frozenset(f"{name}/1" for name in names.split()) for names in (met, acted)]
    return Work(
        met=labels[0], acted=labels[1], modalities=None if modalities is None else frozenset(modalities.split(","))
    )


def of(modalities: str) -> Work:
    """Of a study of these."""
    return work(met="site", acted="site", modalities=modalities)


def other_sex(**changes: object) -> Rule:
    return replace(SEX, actions=(Map(tag=attribute("PatientSex"), table=(("Female", "F"),)),), **changes)


@pytest.mark.parametrize(
    ("today", "done", "expected"),
    [
        (THEN, work(met="site sex", acted="site"), None),
        (RuleSet(rules=(SITE, replace(SEX, version=2, name="gender"), FILL)), work(met="site sex", acted="site"), None),
        (RuleSet(rules=(SITE, other_sex(), FILL)), work(met="site", acted="site"), None),
        (RuleSet(rules=(SITE, other_sex(), FILL)), work(met="site sex", acted="site"), (Cause.MET, "sex")),
        (RuleSet(rules=(SITE, other_sex(), FILL)), work(met="site sex", acted="site sex"), (Cause.CHANGED, "sex")),
        (
            RuleSet(rules=(SITE, other_sex(modalities=("MR",)), FILL)),
            work(met="site", acted="site"),
            (Cause.NEW, "sex"),
        ),
        (RuleSet(rules=(SITE, FILL)), work(met="site sex", acted="site"), None),
        (RuleSet(rules=(SITE, FILL)), work(met="site sex", acted="site sex"), (Cause.CHANGED, "sex")),
        (RuleSet(rules=(SEX, FILL)), work(met="site sex", acted="site"), (Cause.CHANGED, "site")),
        (RuleSet(rules=(*THEN.rules, replace(SITE, name="more"))), work(met="site", acted="site"), (Cause.NEW, "more")),
        (RuleSet(rules=(replace(SITE, name="far", sources=("other",)), *THEN.rules)), work(acted="site"), None),
        (RuleSet(rules=(*THEN.rules, OF_MR)), of("CT,SR"), None),
        (RuleSet(rules=(*THEN.rules, OF_MR)), of("CT,MR"), (Cause.NEW, "of-mr")),
        (RuleSet(rules=(*THEN.rules, OF_MR)), work(), (Cause.NEW, "of-mr")),
        (
            RuleSet(rules=(*THEN.rules, replace(OF_MR, modalities=("", "MR")))),
            of(""),
            (Cause.NEW, "of-mr"),
        ),
        # A rule makes another modality of it first.
        (
            RuleSet(rules=(*THEN.rules, TO_MR, OF_MR)),
            of("CT"),
            (Cause.NEW, "to-mr"),
        ),
        (
            RuleSet(rules=(*THEN.rules, OF_MR, TO_MR)),
            of("CT"),
            (Cause.NEW, "of-mr"),
        ),
        # The rule sees what another one left by now: its conditions may hold although they did not.
        (RuleSet(rules=(other_sex(), SITE, FILL)), work(met="site", acted="site"), (Cause.NEW, "sex")),
        (RuleSet(rules=(SEX, SITE, FILL)), work(met="site", acted="site"), (Cause.NEW, "sex")),
        (replace(THEN, previous_source="OTHER"), work(met="site", acted="site"), (Cause.KEEPING, "")),
        (replace(THEN, previous_source="OTHER"), work(met="site"), None),
        (RuleSet(rules=(*THEN.rules, rule(Utf8(undeclared="ISO_IR 100"), name="utf"))), work(), (Cause.NEW, "utf")),
        (RuleSet(), work(met="site sex", acted="site"), (Cause.CHANGED, "site")),
        (RuleSet(), work(met="sex"), None),
        (THEN, Work(met=None, acted=frozenset()), (Cause.UNKNOWN, "")),
    ],
)
def test_what_the_rules_did_then_tells_whether_others_do_otherwise(
    today: RuleSet, done: Work, expected: tuple[Cause, str] | None
) -> None:
    found = difference(THEN, today, done, "source")

    assert found == (None if expected is None else Difference(cause=expected[0], rule=expected[1]))


def test_of_rules_that_were_not_kept_nothing_is_known() -> None:
    assert difference(None, THEN, work(), "source") == Difference(cause=Cause.UNKNOWN)


WORDS = ("", "a", "b")
TAGS = (ACCESSION, STATION, INSTITUTION)
conditions = st.builds(
    Condition,
    tag=st.sampled_from(TAGS),
    check=st.sampled_from((Check.EQUALS, Check.ABSENT)),
    value=st.sampled_from("ab"),
)
actions = st.one_of(
    st.builds(Set, tag=st.sampled_from(TAGS), value=st.sampled_from(WORDS)),
    st.builds(Fill, tag=st.sampled_from(TAGS), value=st.sampled_from("ab")),
    st.builds(Set, tag=st.just(attribute("Modality")), value=st.sampled_from(("CT", "MR"))),
    st.builds(Map, tag=st.sampled_from(TAGS), table=st.sampled_from(((("a", "b"),), (("b", "a"),)))),
)
chosen = st.lists(
    st.tuples(actions, st.lists(conditions, max_size=1), st.sampled_from(((), ("CT",), ("MR",)))), max_size=3
)
settled = st.sampled_from(list(Originals))


def made(parts: list, originals: Originals) -> RuleSet:
    return RuleSet(
        rules=tuple(
            rule(action, name=f"rule-{place}", when=tuple(when), modalities=modalities)
            for place, (action, when, modalities) in enumerate(parts)
        ),
        originals=originals,
    )


@settings(max_examples=150, deadline=None)
@given(
    parts=st.lists(st.tuples(actions, st.lists(conditions, max_size=1), st.just(())), min_size=1, max_size=5),
    kept=st.lists(st.integers(0, 4), max_size=5, unique=True),
    more=chosen,
    originals=st.tuples(settled, settled),
    values=st.lists(
        st.tuples(*[st.sampled_from(WORDS)] * 3, st.sampled_from(("CT", "MR", ""))), min_size=1, max_size=2
    ),
)
def test_no_study_that_would_be_another_is_taken_for_the_same(parts, kept, more, originals, values) -> None:
    then = made(parts, originals[0])
    today = made([parts[place] for place in kept if place < len(parts)] + more, originals[1])
    files = [
        written(dataset(AccessionNumber=one, StationName=two, InstitutionName=three, Modality=modality))
        for one, two, three, modality in values
    ]
    try:
        before = [outcome(file, then) for file in files]
        later = [outcome(file, today) for file in files]
    except NotCoercible:
        # What is refused is not written, whatever the rules.
        return
    done = Work(
        met=frozenset(label for one in before for label in one.facts.met),
        acted=frozenset(label for one in before for label in one.facts.acted),
        modalities=frozenset(one.facts.modality for one in before),
    )

    if difference(then, today, done, "source") is None:
        assert [file_of(one) for one in later] == [file_of(one) for one in before]
