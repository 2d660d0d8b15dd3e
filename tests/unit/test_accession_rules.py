"""Accession numbers: never cut, never two made one unseen, and each with its order or in the bucket."""

from collections import Counter
from collections.abc import Iterable
from typing import TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imaging.accession.injective import SHOWN, Collision, Numbered, collisions
from imaging.accession.orders import Fit, Order, Ordered, Orders, matched
from imaging.accession.rules import LENGTH_LIMIT, Accession, AccessionRule, Origin, renumber
from imaging.identity.people import Conflict, Identifier
from imaging.identity.steps import Drop, Pad, Prefix, Select, StripPrefix, Unfit, Upper

NORTH, SOUTH = Origin(source="pacs", site="N"), Origin(source="pacs", site="S")
ANNA, BERT = Identifier("H", "1"), Identifier("H", "2")
SITES = (
    AccessionRule(name="north", version=2, sites=("N",), steps=(Pad(width=8), Prefix(text="N")), issuer="RIS"),
    AccessionRule(name="south", version=1, sites=("S",), steps=(Pad(width=8), Prefix(text="S")), issuer="RIS"),
)


def rule(*steps: object, **options: object) -> tuple[AccessionRule, ...]:
    return (AccessionRule(**{"name": "rule", "version": 1, "steps": steps} | options),)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("rules", "written", "value", "conflict"),
    [
        ((), " 123 ", "123", None),
        (SITES, "123", "N00000123", None),
        (rule(Upper(), Drop(characters="-"), StripPrefix(prefixes=("RIS",))), "ris-12-3", "123", None),
        (rule(Select(pattern="[0-9]{5}")), "X12345Y", "12345", None),
        (rule(Select(pattern="[0-9]{5}")), "12", None, Conflict.ACC_UNFIT),
        (rule(Prefix(text="SOUTH-WEST-")), "123456", None, Conflict.ACC_OVERLONG),
        (rule(Prefix(text="SOUTH-WEST-")), "12345", "SOUTH-WEST-12345", None),
        (rule(Prefix(text="LONG-PREFIX-HERE"), surrogates=(("99", "X1"),)), "99", "X1", None),
        ((), "12345678901234567", None, Conflict.ACC_OVERLONG),
        ((), "  \0", None, Conflict.ACC_MISSING),
        ((), "1\\2", None, Conflict.ACC_UNFIT),
        ((), "1\x072", None, Conflict.ACC_UNFIT),
        ((*rule(Prefix(text="A"), pattern="[0-9]+"), *SITES), "12", "A12", None),
        ((*rule(Prefix(text="A"), pattern="[A-Z]+"), *SITES), "12", "N00000012", None),
        (rule(Prefix(text="A"), sources=("other",)), "12", "12", None),
        (rule(Prefix(text="A"), issuers=("RIS",)), "12", "12", None),
    ],
)
def test_the_first_rule_that_fits_decides_and_nothing_is_cut(
    rules: tuple[AccessionRule, ...], written: str, value: str | None, conflict: Conflict | None
) -> None:
    found = renumber(written, NORTH, rules)

    assert (found.accession and found.accession.value, found.conflict) == (value, conflict)


def test_a_rule_tells_its_version_and_whose_the_numbers_are() -> None:
    found = renumber("7", NORTH, SITES)

    assert (found.rule, found.accession) == ("north/2", Accession(issuer="RIS", value="N00000007"))


@settings(max_examples=200, deadline=None)
@given(written=st.text("0123456789ABN- ", max_size=24))
def test_whatever_comes_out_fits_and_twice_is_the_same_as_once(written: str) -> None:
    once = renumber(written, NORTH, SITES).accession

    if once is not None:
        assert 0 < len(once.value) <= LENGTH_LIMIT
        assert renumber(once.value, NORTH, SITES).accession == once


@pytest.mark.parametrize(
    "options",
    [
        {"surrogates": (("1", "X"), ("2", "X"))},
        {"surrogates": (("1", "X"), ("1", "Y"))},
        {"surrogates": (("1", "X" * 17),)},
        {"surrogates": (("1", ""),)},
        {"pattern": "("},
        {"universal_id": "1.2"},
    ],
)
def test_a_rule_that_would_lose_numbers_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(Unfit):
        rule(**options)


Study: TypeAlias = tuple[str, str, Origin, Identifier | None]


def numbered(study: str, written: str, origin: Origin = NORTH, patient: Identifier | None = ANNA) -> Study:
    return study, written, origin, patient


def collided(studies: Iterable[Study], rules: tuple[AccessionRule, ...]) -> list[Collision]:
    """What is found among the studies, sorted by what their numbers become."""
    usable = [
        Numbered(study=study, written=written, origin=origin, patient=patient, accession=accession)
        for study, written, origin, patient in studies
        if (accession := renumber(written, origin, rules).accession) is not None
    ]
    return list(collisions(sorted(usable, key=lambda one: (one.accession.issuer, one.accession.value))))


@pytest.mark.parametrize(
    ("studies", "rules", "expected"),
    [
        ([numbered("1", "7"), numbered("2", "7")], (), []),
        ([numbered("1", "7"), numbered("2", "7", patient=BERT)], (), [("ACC_COLLISION_PATIENT", 2, False)]),
        ([numbered("1", "7"), numbered("2", "7", SOUTH)], (), [("ACC_COLLISION_SITE", 2, False)]),
        ([numbered("1", "7"), numbered("2", "7", SOUTH, BERT)], SITES, []),
        ([numbered("1", "7"), numbered("2", "007")], SITES, [("ACC_COLLISION_SITE", 2, True)]),
        ([numbered("1", "7"), numbered("2", "07", patient=BERT)], SITES, [("ACC_COLLISION_PATIENT", 2, True)]),
        ([numbered("1", "7"), numbered("2", "7", patient=None)], (), []),
        ([numbered("1", ""), numbered("2", "", patient=BERT)], (), []),
    ],
)
def test_collisions_are_found_by_patient_and_by_site(
    studies: list[Study], rules: tuple[AccessionRule, ...], expected: list[tuple[str, int, bool]]
) -> None:
    found = collided(studies, rules)

    assert [(one.conflict.value, one.studies, one.by_rule) for one in found] == expected


def test_a_collision_of_thousands_shows_a_few_and_both_patients() -> None:
    studies = [numbered(str(site), "0", Origin(source="pacs", site=str(site))) for site in range(5_000)]

    [found] = collided([*studies, numbered("last", "0", patient=BERT)], ())

    assert (found.studies, len(found.sample), found.conflict) == (5_001, SHOWN, Conflict.ACC_COLLISION_PATIENT)
    assert {one.patient for one in found.sample} == {ANNA, BERT}


@settings(max_examples=100, deadline=None)
@given(
    drawn=st.lists(st.tuples(st.sampled_from("123"), st.sampled_from([NORTH, SOUTH]), st.sampled_from([ANNA, BERT]))),
    data=st.data(),
)
def test_the_order_of_studies_makes_no_difference_and_none_found_means_injective(
    drawn: list[tuple[str, Origin, Identifier]], data: st.DataObject
) -> None:
    studies = [numbered(str(place), *one) for place, one in enumerate(drawn)]

    def told(found: list[Collision]) -> list[tuple[str, str, int]]:
        return sorted((one.accession.value, one.conflict.value, one.studies) for one in found)

    found = told(collided(studies, SITES))

    assert found == told(collided(data.draw(st.permutations(studies)), SITES))
    if not found:
        outcomes = {(written, origin): renumber(written, origin, SITES).accession for _, written, origin, _ in studies}
        assert len(set(outcomes.values())) == len(outcomes)


ORDERS = Orders(
    [
        Order(accession=Accession(issuer="RIS", value="1"), patient=ANNA, study="1.1"),
        Order(accession=Accession(issuer="RIS", value="2"), patient=None),
        Order(accession=Accession(issuer="RIS", value="3"), patient=BERT, study="1.3"),
        Order(accession=Accession(issuer="RIS", value="3"), patient=ANNA, study="1.4"),
    ]
)


@pytest.mark.parametrize(
    ("study", "accession", "patient", "fit", "order", "conflict"),
    [
        ("9", "1", ANNA, Fit.BOTH, "1.1", None),
        ("1.4", "3", ANNA, Fit.BOTH, "1.4", None),
        ("9", "3", BERT, Fit.BOTH, "1.3", None),
        ("9", "1", None, Fit.NUMBER, "1.1", None),
        ("9", "2", ANNA, Fit.NUMBER, "", None),
        ("9", "1", BERT, Fit.OTHER_PATIENT, "1.1", Conflict.ACC_COLLISION_PATIENT),
        ("1.1", "8", ANNA, Fit.STUDY_UID, "1.1", None),
        ("1.1", None, ANNA, Fit.STUDY_UID, "1.1", None),
        ("1.1", "8", BERT, Fit.NONE, None, Conflict.ACC_NO_ORDER),
        ("9", "8", ANNA, Fit.NONE, None, Conflict.ACC_NO_ORDER),
        ("9", None, ANNA, Fit.NO_NUMBER, None, Conflict.ACC_MISSING),
    ],
)
def test_a_study_has_its_order_or_its_place_in_the_bucket(
    study: str,
    accession: str | None,
    patient: Identifier | None,
    fit: Fit,
    order: str | None,
    conflict: Conflict | None,
) -> None:
    asked = Ordered(
        study=study, accession=Accession(issuer="RIS", value=accession) if accession else None, patient=patient
    )
    counts: Counter[Fit] = Counter()

    [found] = matched([asked], ORDERS, counts)

    assert (found.fit, found.order and found.order.study, found.conflict) == (fit, order, conflict)
    assert counts == {fit: 1}


def test_a_number_of_another_issuer_is_no_match() -> None:
    asked = Ordered(study="9", accession=Accession(issuer="OTHER", value="1"), patient=ANNA)

    assert ORDERS.match(asked).fit is Fit.NONE
