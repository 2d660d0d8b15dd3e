"""When a rule may say that header and index describe the same person, and when a person must."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imaging.identity.demographics import Link, Thresholds, Verdict, birth_likeness, compare
from imaging.identity.people import Person
from imaging.identity.similarity import similarity

BORN = "19700412"


def verdict(
    one: str,
    other: str,
    born: tuple[str, str] = (BORN, BORN),
    sex: tuple[str, str] = ("F", "F"),
    link: Link = Link.MERGE,
) -> str:
    header = Person(name=one, birth_date=born[0], sex=sex[0])
    index = Person(name=other, birth_date=born[1], sex=sex[1])
    found = compare(header, index, link, Thresholds())
    assert compare(index, header, link, Thresholds()) == found
    return found.verdict.value


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("Muster^Anna", "MUSTER^ANNA", "auto"),
        ("Muster^Anna^^Dr", "Muster^Anna", "auto"),
        ("Dr Muster^Anna", "Muster^Anna", "auto"),
        ("Müller^Jörg", "Mueller^Joerg", "auto"),
        ("Ångström^Åse", "Angstrom^Ase", "auto"),
        ("Øster^Søren", "Oster^Soren", "auto"),
        ("Anna^Muster", "Muster^Anna", "auto"),
        ("Muster^Anna Maria", "Muster^Anna", "auto"),
        ("Muster-Beispiel^Anna", "Muster Beispiel^Anna", "auto"),
        ("Люксембург^Юлия", "люксембург^юлия", "auto"),
        ("Yamada^Tarou=山田^太郎", "Yamada^Tarou=山田^太郎", "auto"),
        ("=山田^太郎", "Yamada^Tarou=山田^太郎", "auto"),
        ("Muster^Anna", "Kirschbaum^Anna", "auto-note"),
        ("Muster^Anna", "Maiden^Anna", "auto-note"),
        # Twins, or one of them.
        ("Muster^Anna", "Muster^Bert", "review"),
        ("Muster^Anna", "Muster^Hanna Lena", "review"),
        ("Muster^Anna", "Muster", "review"),
        # Nobody knows, or no script in common.
        ("Doe^John", "Muster^Anna", "review"),
        ("Unknown", "Muster^Anna", "review"),
        ("^", "Muster^Anna", "review"),
        ("", "", "review"),
        ("Yamada^Tarou", "=山田^太郎", "review"),
        ("Muster^Anna", "Kirschbaum^Ottokar", "review"),
    ],
)
def test_names_are_compared_as_people_write_them(one: str, other: str, expected: str) -> None:
    assert verdict(one, other) == expected


def test_a_new_family_name_needs_an_explicit_merge() -> None:
    assert verdict("Muster^Anna", "Kirschbaum^Anna", link=Link.SAME_NUMBER) == "review"


@pytest.mark.parametrize(
    ("born", "names", "expected"),
    [
        ((BORN, "19701204"), "same", "review"),
        ((BORN, "19700413"), "same", "review"),
        ((BORN, ""), "same", "review"),
        ((BORN, "19000101"), "same", "review"),
        ((BORN, "19511130"), "same", "review"),
        ((BORN, "19511130"), "other", "conflict"),
        ((BORN, ""), "other", "review"),
    ],
)
def test_a_birth_date_that_differs_is_never_accepted(born: tuple[str, str], names: str, expected: str) -> None:
    assert verdict("Muster^Anna", "Muster^Anna" if names == "same" else "Ottokar^Zwei", born=born) == expected


@pytest.mark.parametrize(
    ("sex", "expected"), [(("F", ""), "auto"), (("F", "M"), "review"), (("F", "O"), "review"), (("", ""), "auto")]
)
def test_a_sex_that_differs_is_reviewed_and_a_missing_one_is_not(sex: tuple[str, str], expected: str) -> None:
    assert verdict("Muster^Anna", "Muster^Anna", sex=sex) == expected


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("19700412", "19700412", 1.0), ("19700412", "19701204", 0.6), ("19700412", "19700413", 0.5),
        ("19700412", "19800412", 0.5), ("19700412", "19700430", 0.4), ("19700412", "19850412", 0.4),
        ("19700412", "19511130", 0.0), ("19700412", "19700231", None), ("19700412", "99991231", None),
        ("19700412", None, None), ("1970.412", "19700412", None),
    ],
)  # fmt: skip
def test_dates_of_birth_are_as_alike_as_the_slips_people_make(
    one: str | None, other: str | None, expected: float | None
) -> None:
    assert birth_likeness(one, other) == birth_likeness(other, one) == expected


def test_thresholds_decide_and_have_a_version() -> None:
    one, other = Person(name="Muster^Anna", birth_date=BORN), Person(name="Kirschbaum^Anna", birth_date=BORN)

    found = compare(one, other, Link.SAME_NUMBER, Thresholds(version=2, name=0.4))

    assert found.verdict is Verdict.AUTO


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [("MARTHA", "MARHTA", 0.961), ("DIXON", "DICKSONX", 0.813), ("DWAYNE", "DUANE", 0.84), ("A", "B", 0), ("", "A", 0)],
)
def test_likeness_is_jaro_winklers(one: str, other: str, expected: float) -> None:
    assert similarity(one, other) == pytest.approx(expected, abs=0.001)


def test_letters_that_stand_for_many_are_compared_at_a_bounded_length() -> None:
    one, other = (Person(name="\ufdfa" * 63 + last + "^Anna", birth_date=BORN) for last in "XY")

    assert compare(one, other, Link.MERGE, Thresholds()).name == 1


people = st.builds(
    Person,
    name=st.one_of(st.none(), st.text("AÄab^= -Müロガ.", max_size=20)),
    birth_date=st.one_of(st.none(), st.sampled_from([BORN, "19701204", "19511130", ""])),
    sex=st.sampled_from([None, "", "F", "M"]),
)


@settings(max_examples=200, deadline=None)
@given(one=people, other=people)
def test_the_order_of_the_two_makes_no_difference_and_nobody_is_accepted_without_a_birth_date(
    one: Person, other: Person
) -> None:
    found = compare(one, other, Link.MERGE, Thresholds())

    assert found == compare(other, one, Link.MERGE, Thresholds())
    if found.verdict in (Verdict.AUTO, Verdict.AUTO_NOTE):
        assert found.birth_date == 1
