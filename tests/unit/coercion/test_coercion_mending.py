"""Rules that mend: repair, fill, look up, copy private values, convert text to UTF-8; and what destinations refuse."""

import pydicom
import pytest
from coercion_objects import after, dataset, file_of, outcome, read, rule, written
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from imaging.coercion.attributes import Unfit, attribute, unfit_value, vr_of
from imaging.coercion.errors import NotCoercible
from imaging.coercion.repair import repaired
from imaging.coercion.rules import (
    Action,
    CopyPrivate,
    Fill,
    FromClass,
    Lookup,
    Otherwise,
    Profile,
    Repair,
    Rule,
    RuleSet,
    Set,
    Utf8,
)

pytestmark = pytest.mark.filterwarnings("ignore")

ACCESSION, INSTITUTION = attribute("AccessionNumber"), attribute("InstitutionName")


@pytest.mark.parametrize(
    ("name", "before", "after_"),
    [
        ("StudyDate", "2019.03.04", "20190304"),
        ("StudyDate", "2019-03-04", "20190304"),
        ("StudyDate", "20190230", "20190230"),
        ("StudyTime", "12:30:15", "123015"),
        ("StudyTime", "12:30", "1230"),
        ("AcquisitionDateTime", "2019-03-04T12:30:15", "20190304123015"),
        ("PatientAge", "45", "045Y"),
        ("PatientAge", "6m", "006M"),
        ("SeriesNumber", "1.0", "1"),
        ("SeriesNumber", "1.5", "1.5"),
        ("SeriesNumber", "1_5", "1_5"),
        ("SliceThickness", "1_000", "1_000"),
        ("BodyPartExamined", "chest", "CHEST"),
        ("BodyPartExamined", "CHEST, ABDOMEN", "CHEST, ABDOMEN"),
        ("SliceThickness", "0.6250000000000000", "0.625"),
        ("SliceThickness", "0.12345678901234567", "0.12345678901234567"),
    ],
)
def test_repair_writes_what_was_surely_meant_and_nothing_else(name: str, before: str, after_: str) -> None:
    found = repaired(attribute(name), before)

    assert (before if found is None else found) == after_
    assert found is None or repaired(attribute(name), found) == found


@given(
    st.sampled_from(["DA", "TM", "DT", "AS", "IS", "DS", "CS"]),
    st.text(st.sampled_from("0123456789.:-TZ YMa+e"), max_size=20),
)
def test_repairing_twice_is_repairing_once(vr: str, text: str) -> None:
    tag = next(tag for tag in REPAIRABLE if vr_of(tag) == vr)

    once = repaired(tag, text)

    assert once is None or (unfit_value(tag, once) == "" and repaired(tag, once) == once)


REPAIRABLE = [
    attribute(name)
    for name in (
        "StudyDate", "StudyTime", "AcquisitionDateTime", "PatientAge", "SeriesNumber", "SliceThickness", "Modality",
    )
]  # fmt: skip


def raw(made: Dataset, name: str, value: bytes) -> bytes:
    """The file with a value that pydicom would not write."""
    setattr(made, name, None)
    element = made[name]
    part10 = written(made)
    empty = element.tag.group.to_bytes(2, "little") + element.tag.element.to_bytes(2, "little") + element.VR.encode()
    full = empty + (len(value) + len(value) % 2).to_bytes(2, "little") + value + b" " * (len(value) % 2)
    return part10.replace(empty + b"\0\0", full)


def test_what_cannot_be_repaired_stays_or_is_emptied_as_the_rule_says() -> None:
    part10 = raw(dataset(), "StudyDate", b"19.3.4")
    keep, empty = (
        RuleSet(rules=(rule(Repair(tag=attribute("StudyDate"), otherwise=otherwise)),)) for otherwise in Otherwise
    )

    assert not outcome(part10, keep).facts.coerced
    assert not read(file_of(outcome(part10, empty))).StudyDate


@pytest.mark.parametrize(
    ("action", "values", "expected"),
    [
        (Fill(tag=ACCESSION, value="A7"), {}, "A7"),
        (Fill(tag=ACCESSION, value="A7"), {"AccessionNumber": ""}, "A7"),
        (Fill(tag=ACCESSION, value="A7"), {"AccessionNumber": "B"}, "B"),
        (Fill(tag=ACCESSION), {}, ""),
        (Lookup(tag=ACCESSION, source=attribute("Modality"), table=(("CT", "C"),)), {}, "C"),
        (Lookup(tag=ACCESSION, source=attribute("Modality"), table=(("MR", "M"),)), {"AccessionNumber": "B"}, "B"),
    ],
)
def test_filling_and_looking_up_do_what_they_say(action: Action, values: dict[str, str], expected: str) -> None:
    found = after(dataset(**values), action)

    assert "AccessionNumber" in found
    assert (found.AccessionNumber or "") == expected


def test_a_missing_modality_is_told_by_the_class_where_it_tells_one() -> None:
    image, capture = dataset(Modality="", SOPClassUID="1.2.840.10008.5.1.4.1.1.4"), dataset(Modality="")

    assert after(image, FromClass()).Modality == "MR"
    assert not after(capture, FromClass()).Modality


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian])
def test_a_private_number_is_copied_and_stays_where_it_is(syntax: str) -> None:
    made = dataset()
    made.private_block(0x7005, "TOSHIBA_MEC_CT3", create=True).add_new(0x63, "FD", 18.7)
    action = CopyPrivate(tag=attribute("CTDIvol"), creator="TOSHIBA_MEC_CT3", group=0x7005, low=0x63, vr="FD")
    rules = RuleSet(rules=(rule(action),))

    once = file_of(outcome(written(made, syntax), rules))

    assert read(once).CTDIvol == 18.7
    assert file_of(outcome(once, rules)) == once
    kept = read(once).get((0x7005, 0x1063))
    assert kept is not None


def test_a_private_value_replaces_nothing() -> None:
    made = dataset(CTDIvol=9.5)
    made.private_block(0x7005, "TOSHIBA_MEC_CT3", create=True).add_new(0x63, "FD", 18.7)

    action = CopyPrivate(tag=attribute("CTDIvol"), creator="TOSHIBA_MEC_CT3", group=0x7005, low=0x63, vr="FD")

    assert after(made, action).CTDIvol == 9.5


def test_text_is_converted_with_what_other_rules_wrote_and_what_is_kept_of_before() -> None:
    made = dataset(SpecificCharacterSet="ISO_IR 100", PatientName="Müller^Jörg", InstitutionName="Zürich")
    rules = RuleSet(
        rules=(rule(Set(tag=INSTITUTION, value="Genève")), rule(Utf8(), name="utf8")), modifying_system="LIMOSA"
    )

    found = read(file_of(outcome(written(made), rules)))

    [history] = found.OriginalAttributesSequence
    assert found.SpecificCharacterSet == "ISO_IR 192"
    assert (found.PatientName, found.InstitutionName) == ("Müller^Jörg", "Genève")
    assert history.ModifiedAttributesSequence[0].InstitutionName == "Zürich"


def test_the_ledger_is_told_which_character_set_was_declared() -> None:
    made = dataset(SpecificCharacterSet="ISO_IR 100", PatientName="Müller")

    [told] = outcome(written(made), RuleSet(rules=(rule(Utf8()),))).facts.coerced

    assert (told.before, told.after) == (b"ISO_IR 100", b"ISO_IR 192")


RUSSIAN = "\u041b\u044e\u043a\u0441"


def test_items_keep_their_own_text_whatever_character_set_they_had() -> None:
    item = Dataset()
    item.SpecificCharacterSet, item.ScheduledProcedureStepDescription = "ISO_IR 144", RUSSIAN
    made = dataset(SpecificCharacterSet="ISO_IR 100", PatientName="Müller")
    made.RequestAttributesSequence = [item]

    found = read(file_of(outcome(written(made), RuleSet(rules=(rule(Utf8()),)))))

    [converted] = found.RequestAttributesSequence
    assert converted.ScheduledProcedureStepDescription == RUSSIAN
    assert (found.PatientName, converted.SpecificCharacterSet) == ("Müller", "ISO_IR 192")


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_private_text_under_un_is_converted_where_a_dictionary_knows_it_and_only_there(syntax: str) -> None:
    latin = "Köln".encode("latin-1")
    item = Dataset()
    item.private_block(0x0009, "GEMS_IDEN_01", create=True).add_new(0x02, "UN", latin)
    made = dataset(SpecificCharacterSet="ISO_IR 100", RequestAttributesSequence=[item])
    made.private_block(0x0009, "GEMS_IDEN_01", create=True).add_new(0x01, "UN", latin)
    made.private_block(0x0011, "NOBODY KNOWS", create=True).add_new(0x01, "UN", latin)
    # The dictionary knows this creator in another group.
    made.private_block(0x0019, "GEMS_IDEN_01", create=True).add_new(0x01, "UN", latin)

    with pydicom.config.disable_value_validation():
        found = read(file_of(outcome(written(made, syntax), RuleSet(rules=(rule(Utf8()),)))))

    def raw(of: Dataset, tag: int) -> bytes:
        value = of.get_item(tag).value
        return (value if isinstance(value, bytes) else value.encode("utf-8")).rstrip(b" \0")

    assert raw(found, 0x00091001) == raw(found.RequestAttributesSequence[0], 0x00091002) == "Köln".encode()
    assert raw(found, 0x00111001) == raw(found, 0x00191001) == latin


@pytest.mark.parametrize(
    ("rules", "reason"),
    [
        ((rule(Utf8(), name="first"), rule(Set(tag=ACCESSION, value="1"))), "last rule"),
        ((rule(Utf8(), Set(tag=ACCESSION, value="1")),), "last rule"),
        ((rule(Utf8(undeclared="ISO_IR 999")),), "no character set"),
        ((rule(Lookup(tag=ACCESSION, source=ACCESSION, table=(("1", "2"),))),), "another attribute"),
        ((rule(CopyPrivate(tag=attribute("Rows"), creator="X", group=0x0011, low=1, vr="US")),), "pixels"),
        ((rule(CopyPrivate(tag=ACCESSION, creator="X", group=0x0010, low=1, vr="LO")),), "odd group"),
    ],
)
def test_rules_that_cannot_be_are_refused_when_they_are_read(rules: tuple[Rule, ...], reason: str) -> None:
    with pytest.raises(Unfit, match=reason):
        RuleSet(rules=rules)


def test_an_outcome_that_the_destination_would_refuse_is_refused_here() -> None:
    made = dataset(PatientID="")
    rules = RuleSet(rules=(rule(Set(tag=ACCESSION, value="A")),), profile=Profile.LENIENT)

    with pytest.raises(NotCoercible, match="refused by the destination"):
        outcome(written(made), rules)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian])
def test_a_group_length_inside_of_an_item_does_not_outlive_what_it_counts(syntax: str) -> None:
    item = Dataset()
    item.add_new(0x00400005, "UL", 16)
    item.ScheduledProcedureStepDescription = "Schädel"
    item.add_new(0x00100005, "UL", 4)
    raw = written(dataset(SpecificCharacterSet="ISO_IR 100", RequestAttributesSequence=[item]), syntax)
    order = "big" if syntax == ExplicitVRBigEndian else "little"
    for group in (0x40, 0x10):
        # pydicom writes no group lengths: these elements stand in for them until here.
        head = group.to_bytes(2, order)
        assert raw.count(head + (5).to_bytes(2, order)) == 1
        raw = raw.replace(head + (5).to_bytes(2, order), head + bytes(2))

    [found] = read(file_of(outcome(raw, RuleSet(rules=(rule(Utf8()),))))).RequestAttributesSequence

    assert found.ScheduledProcedureStepDescription == "Schädel"
    assert (0x0040, 0x0000) not in found
    assert (0x0010, 0x0000) in found
