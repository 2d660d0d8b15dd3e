"""Rules of coercion: what they may name, what they change in a dataset, and what is kept of it."""

import io
from dataclasses import replace
from typing import Any

import pydicom
import pytest
from coercion_objects import MOMENT, after, dataset, file_of, instance_of, outcome, read, rule, written
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from imaging.coercion import apply
from imaging.coercion.apply import coerce
from imaging.coercion.attributes import Unfit, attribute
from imaging.coercion.decisions import Decisions
from imaging.coercion.errors import NotCoercible
from imaging.coercion.plan import Change
from imaging.coercion.rules import (
    Action,
    Check,
    Condition,
    Copy,
    Map,
    Originals,
    Pad,
    Reason,
    Remove,
    Replace,
    RuleSet,
    Set,
    Side,
    Strip,
)
from imaging.facts import InstanceFacts
from imaging.octets import MemoryOctets

pytestmark = pytest.mark.filterwarnings("ignore")

SYNTAXES = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)
NAME, PATIENT_ID, ISSUER = attribute("PatientName"), attribute("PatientID"), attribute("IssuerOfPatientID")
ACCESSION, INSTITUTION = attribute("AccessionNumber"), attribute("InstitutionName")


def facts_of(part10: bytes) -> InstanceFacts:
    return instance_of(MemoryOctets(part10)).facts()


# Actions


@pytest.mark.parametrize(
    ("action", "before", "expected"),
    [
        (Set(tag=ACCESSION, value="A7"), "1", "A7"),
        (Set(tag=ACCESSION, value=""), "1", ""),
        (Copy(tag=ACCESSION, source=attribute("Modality")), "1", "CT"),
        (Copy(tag=ACCESSION, source=attribute("StudyID")), "1", "1"),
        (Map(tag=ACCESSION, table=(("1", "one"), ("2", "two"))), "2", "two"),
        (Map(tag=ACCESSION, table=(("1", "one"),)), "3", "3"),
        (Replace(tag=ACCESSION, pattern=r"^(\d)-", by=r"\1"), "1-2-3", "12-3"),
        (Pad(tag=ACCESSION, width=4), "12", "0012"),
        (Pad(tag=ACCESSION, width=4, fill="x", side=Side.RIGHT), "12", "12xx"),
        (Pad(tag=ACCESSION, width=4), "12345", "12345"),
        (Pad(tag=ACCESSION, width=4), "", ""),
        (Strip(tag=ACCESSION, characters="0", side=Side.LEFT), "00120", "120"),
        (Strip(tag=ACCESSION, characters="0"), "00120", "12"),
    ],
)
def test_an_action_makes_of_a_value_what_it_says(action: Action, before: str, expected: str) -> None:
    found = after(dataset(AccessionNumber=before), action)

    assert (found.AccessionNumber or "") == expected


def test_a_removed_attribute_is_gone_and_a_set_one_is_there() -> None:
    found = after(dataset(StudyDescription="x"), Remove(tag=attribute("StudyDescription")), Set(tag=NAME, value="A^B"))

    assert "StudyDescription" not in found
    assert found.PatientName == "A^B"


def test_rules_work_in_order_each_on_what_the_one_before_left() -> None:
    rules = RuleSet(
        rules=(
            rule(Set(tag=ACCESSION, value="7"), name="first"),
            rule(Pad(tag=ACCESSION, width=3), name="second"),
            rule(Copy(tag=attribute("StudyID"), source=ACCESSION), name="third"),
        )
    )

    found = read(file_of(outcome(written(dataset()), rules)))

    assert (found.AccessionNumber, found.StudyID) == ("007", "007")


# Conditions


@pytest.mark.parametrize(
    ("changes", "applies"),
    [
        ({"sources": ("source",)}, True),
        ({"sources": ("other",)}, False),
        ({"modalities": ("MR", "ct")}, True),
        ({"modalities": ("MR",)}, False),
        ({"manufacturers": ("EXAMPLE MEDICAL",)}, True),
        ({"manufacturers": ("Other",)}, False),
        ({"when": (Condition(tag=INSTITUTION, check=Check.EQUALS, value="North"),)}, True),
        ({"when": (Condition(tag=INSTITUTION, check=Check.EQUALS, value="Nort"),)}, False),
        ({"when": (Condition(tag=INSTITUTION, check=Check.MATCHES, value="^No"),)}, True),
        ({"when": (Condition(tag=INSTITUTION, check=Check.MATCHES, value="^o"),)}, False),
        ({"when": (Condition(tag=ISSUER, check=Check.ABSENT),)}, True),
        ({"when": (Condition(tag=INSTITUTION, check=Check.ABSENT),)}, False),
        ({"when": (Condition(tag=INSTITUTION, check=Check.PRESENT),)}, True),
        ({"when": (Condition(tag=attribute("StudyID"), check=Check.PRESENT),)}, False),
        (
            {
                "when": (
                    Condition(tag=INSTITUTION, check=Check.PRESENT),
                    Condition(tag=ISSUER, check=Check.PRESENT),
                )
            },
            False,
        ),
    ],
)
def test_a_rule_touches_only_datasets_that_meet_all_its_conditions(changes: dict[str, Any], applies: bool) -> None:
    content = written(dataset(InstitutionName="North", StudyID=""))
    rules = RuleSet(rules=(rule(Set(tag=ACCESSION, value="A"), **changes),))

    found = outcome(content, rules)

    assert bool(found.facts.coerced) == applies
    assert (file_of(found) == content) == (not applies)


# What is kept


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_previous_values_are_kept_as_the_standard_asks(syntax: str) -> None:
    made = dataset(PatientID="17", IssuerOfPatientID="NORTH", StudyDescription="Chest", AccessionNumber="1")
    rules = RuleSet(
        rules=(
            rule(Set(tag=PATIENT_ID, value="N17"), Set(tag=INSTITUTION, value="North"), name="coerced"),
            rule(Remove(tag=attribute("StudyDescription")), name="corrected", reason=Reason.CORRECT),
        ),
        previous_source="NORTH PACS",
    )

    found = read(file_of(outcome(written(made, syntax), rules)))

    first, second = found.OriginalAttributesSequence
    [previous] = first.ModifiedAttributesSequence
    assert [(one.keyword, one.value or "") for one in previous] == [
        ("InstitutionName", ""),
        ("PatientID", "17"),
        ("IssuerOfPatientID", "NORTH"),
    ]
    assert first.AttributeModificationDateTime == "20261124140500.000000+0000"
    assert (first.ModifyingSystem, first.SourceOfPreviousValues) == ("LIMOSA", "NORTH PACS")
    assert first.ReasonForTheAttributeModification == "COERCE"
    assert [tag.tag for tag in first] == sorted(tag.tag for tag in first)
    assert second.ReasonForTheAttributeModification == "CORRECT"
    assert second.ModifiedAttributesSequence[0].StudyDescription == "Chest"


@pytest.mark.parametrize("undefined", [True, False])
def test_earlier_originals_stay_and_ours_come_behind(undefined: bool) -> None:
    earlier = Dataset()
    earlier.ModifyingSystem, earlier.ReasonForTheAttributeModification = "OLD", "CORRECT"
    earlier.ModifiedAttributesSequence = [Dataset()]
    made = dataset(AccessionNumber="1", OriginalAttributesSequence=[earlier])
    made["OriginalAttributesSequence"].is_undefined_length = undefined

    found = after(made, Set(tag=ACCESSION, value="2"))

    assert [item.ModifyingSystem for item in found.OriginalAttributesSequence] == ["OLD", "LIMOSA"]
    assert found.OriginalAttributesSequence[0] == earlier


def test_a_whole_sequence_that_is_removed_is_kept() -> None:
    item = Dataset()
    item.CodeValue, item.CodeMeaning = "1", "one"
    made = dataset(ProcedureCodeSequence=[item])

    found = after(made, Remove(tag=attribute("ProcedureCodeSequence")))

    assert "ProcedureCodeSequence" not in found
    assert found.OriginalAttributesSequence[0].ModifiedAttributesSequence[0].ProcedureCodeSequence == [item]


def test_an_illegal_previous_value_is_kept_as_bytes() -> None:
    content = written(dataset(StudyDate="20240101")).replace(b"20240101", b"2024.1.1")
    date = attribute("StudyDate")

    found = read(file_of(outcome(content, RuleSet(rules=(rule(Set(tag=date, value="20240101")),)))))

    [item] = found.OriginalAttributesSequence
    assert not item.ModifiedAttributesSequence[0].StudyDate
    [illegal] = item.NonconformingModifiedAttributesSequence
    assert (illegal.SelectorAttribute, illegal.NonconformingDataElementValue) == (date, b"2024.1.1")


def test_the_ledger_is_told_values_only_where_the_dataset_keeps_none() -> None:
    content = written(dataset(AccessionNumber="1"))
    rules = RuleSet(rules=(rule(Set(tag=ACCESSION, value="2")),))

    inside, outside = outcome(content, rules), outcome(content, replace(rules, originals=Originals.LEDGER))

    assert [(one.rule, one.before) for one in inside.facts.coerced] == [("rule/1", None)]
    assert [(one.rule, one.before, one.after) for one in outside.facts.coerced] == [("rule/1", b"1", b"2")]
    assert "OriginalAttributesSequence" not in read(file_of(outside))


# What stays as it was


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_facts_tell_what_was_received_and_what_is_written(syntax: str) -> None:
    content = written(dataset(AccessionNumber="1"), syntax)
    before = facts_of(content)

    found = outcome(content, RuleSet(rules=(rule(Set(tag=ACCESSION, value="A longer one")),)))

    told = facts_of(file_of(found))
    assert (found.facts.raw1, found.facts.raw_size, found.facts.pd1) == (before.raw1, before.raw_size, before.pd1)
    assert (found.facts.sto1, found.facts.sto_size, found.facts.can1) == (told.sto1, told.sto_size, told.can1)
    assert found.facts.can1 != before.can1
    assert found.facts.flags == (*before.flags, "COERCED")


def test_a_dataset_that_no_rule_changes_is_the_same_object() -> None:
    octets = MemoryOctets(written(dataset(AccessionNumber="1")))
    rules = RuleSet(rules=(rule(Set(tag=ACCESSION, value="1")),))

    found = coerce(instance_of(octets), Decisions(rules, source="", moment=MOMENT))

    assert found.part10 is octets
    assert found.facts == replace(instance_of(octets).facts(), met=("rule/1",))


values = st.text("AB01 -", max_size=10)
actions = st.one_of(
    st.builds(Set, tag=st.just(ACCESSION), value=values),
    st.builds(Copy, tag=st.just(ACCESSION), source=st.just(attribute("StudyID"))),
    st.builds(
        Replace,
        tag=st.sampled_from([ACCESSION, INSTITUTION]),
        pattern=st.sampled_from(["A+", "^", "0$", "-"]),
        by=values,
    ),
    st.builds(Pad, tag=st.just(ACCESSION), width=st.integers(1, 12), side=st.sampled_from([Side.LEFT, Side.RIGHT])),
    st.builds(Strip, tag=st.just(ACCESSION), characters=st.sampled_from([" ", "0", "A0"])),
    st.builds(Remove, tag=st.sampled_from([ACCESSION, INSTITUTION])),
)


@settings(max_examples=150, deadline=None)
@given(
    syntax=st.sampled_from(SYNTAXES),
    held=st.fixed_dictionaries({}, optional={"AccessionNumber": values, "InstitutionName": values, "StudyID": values}),
    chosen=st.lists(actions, min_size=1, max_size=4),
)
def test_twice_is_the_same_as_once_or_nothing_at_all(syntax: str, held: dict[str, str], chosen: list[Action]) -> None:
    content = written(dataset(**held), syntax)
    rules = RuleSet(rules=(rule(*chosen),))

    try:
        once = outcome(content, rules)
    except NotCoercible as error:
        assert error.rule == "rule/1"
        return
    twice = outcome(file_of(once), rules)

    assert twice.facts.coerced == ()
    assert file_of(twice) == file_of(once)
    assert once.facts.pd1 == facts_of(content).pd1


def test_a_rule_that_never_comes_to_rest_is_refused_by_name() -> None:
    content = written(dataset(AccessionNumber="1"))

    with pytest.raises(NotCoercible, match="rule/1: AccessionNumber: would change its own outcome again"):
        outcome(content, RuleSet(rules=(rule(Replace(tag=ACCESSION, pattern="^", by="A")),)))


# Character sets


@pytest.mark.parametrize(
    ("charset", "name"),
    [
        ("ISO_IR 100", "Müller^Jörg"),
        ("ISO_IR 192", "王^小東"),
        ("ISO_IR 144", "Люксембург"),
        ("GB18030", "王^小东"),
        (["ISO 2022 IR 6", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        ("ISO_IR 13", "ﾔﾏﾀﾞ^ﾀﾛｳ"),
        (["ISO 2022 IR 6", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
    ],
)
def test_a_value_is_written_in_the_character_set_of_the_dataset(charset: Any, name: str) -> None:
    found = after(dataset(SpecificCharacterSet=charset, PatientName="Old^Name"), Set(tag=NAME, value=name))

    assert str(found.PatientName) == name
    assert found.SpecificCharacterSet == charset


@pytest.mark.parametrize("charset", [None, "ISO_IR 6", "ISO_IR 100", "ISO_IR 999", ["ISO 2022 IR 6", "ISO 2022 IR 87"]])
def test_a_value_the_character_set_cannot_write_is_an_error_and_never_a_question_mark(charset: Any) -> None:
    changes = {} if charset is None else {"SpecificCharacterSet": charset}
    content = written(dataset(PatientName="Old^Name"))
    if charset is not None:
        content = written(dataset(**changes, PatientName="Old^Name"))

    with pytest.raises(NotCoercible, match="cannot be written in the dataset's character set"):
        outcome(content, RuleSet(rules=(rule(Set(tag=NAME, value="Ŵÿñ^Ελλ")),)))


def test_kanji_are_not_written_into_a_dataset_of_katakana() -> None:
    content = written(dataset(SpecificCharacterSet="ISO_IR 13", PatientName="Old^Name"))

    with pytest.raises(NotCoercible, match="cannot be written"):
        outcome(content, RuleSet(rules=(rule(Set(tag=NAME, value="山田^太郎")),)))


def test_a_value_under_a_vr_that_is_none_is_refused_and_not_lost() -> None:
    content = written(dataset(AccessionNumber="1")).replace(b"\x08\x00\x50\x00SH", b"\x08\x00\x50\x00XX")

    with pytest.raises(NotCoercible, match="cannot be kept among originals"):
        outcome(content, RuleSet(rules=(rule(Set(tag=ACCESSION, value="2")),)))


def test_text_that_is_in_no_declared_character_set_is_not_read_by_rules_and_may_be_replaced() -> None:
    content = written(dataset(InstitutionName="XXXX")).replace(b"XXXX", b"K\xf6ln")

    with pytest.raises(NotCoercible, match="not in the declared character set"):
        outcome(content, RuleSet(rules=(rule(Pad(tag=INSTITUTION, width=9)),)))
    found = read(file_of(outcome(content, RuleSet(rules=(rule(Set(tag=INSTITUTION, value="Cologne")),)))))

    [item] = found.OriginalAttributesSequence
    assert found.InstitutionName == "Cologne"
    assert item.NonconformingModifiedAttributesSequence[0].NonconformingDataElementValue == b"K\xf6ln"


# What rules may not be


@pytest.mark.parametrize(
    "name",
    [
        "StudyInstanceUID", "SOPClassUID", "FrameOfReferenceUID", "TransferSyntaxUID", "Rows", "Columns",
        "BitsAllocated", "BitsStored", "PixelRepresentation", "PhotometricInterpretation", "NumberOfFrames",
        "RescaleSlope", "WindowCenter", "PixelSpacing", "LossyImageCompression", "PixelData", "(6000,3000)",
        "(6002,0022)", "(0009,0010)", "(0009,1010)", "SpecificCharacterSet", "OriginalAttributesSequence",
        "DigitalSignaturesSequence",
        "(0008,0000)", "WaveformSequence", "EncapsulatedDocument", "PerFrameFunctionalGroupsSequence", "(0000,0900)",
    ],
)  # fmt: skip
def test_what_identifies_or_shows_an_image_can_be_neither_set_nor_removed(name: str) -> None:
    tag = attribute(name)

    with pytest.raises(Unfit):
        RuleSet(rules=(rule(Set(tag=tag, value="1")),))
    with pytest.raises(Unfit):
        RuleSet(rules=(rule(Remove(tag=tag)),))


@pytest.mark.parametrize(
    ("action", "told"),
    [
        (Set(tag=ACCESSION, value="12345678901234567"), "more than the 16 characters"),
        (Set(tag=attribute("StudyDate"), value="20240230"), "no date"),
        (Set(tag=attribute("PatientSex"), value="male"), "not in the form of VR CS"),
        (Set(tag=ACCESSION, value="a\nb"), "a control character"),
        (Set(tag=ACCESSION, value="a\\b"), "2 values"),
        (Set(tag=attribute("Rows"), value="1"), "belongs to the pixels"),
        (Set(tag=attribute("AcquisitionMatrix"), value="1"), "is no text"),
        (Copy(tag=ACCESSION, source=attribute("Rows")), "is no text"),
        (Map(tag=ACCESSION, table=()), "empty"),
        (Map(tag=ACCESSION, table=(("1", "2"), ("2", "3"))), "maps one of its own results again"),
        (Replace(tag=ACCESSION, pattern="(", by=""), "no regular expression"),
        (Replace(tag=ACCESSION, pattern="a", by=r"\1"), "the replacement"),
        (Pad(tag=ACCESSION, width=3, fill=""), "one character"),
        (Strip(tag=ACCESSION, characters=""), "wants characters"),
    ],
)
def test_an_impossible_rule_is_refused_with_its_reason(action: Action, told: str) -> None:
    with pytest.raises(Unfit, match=f"rule 'rule': .*{told}"):
        RuleSet(rules=(rule(action),))


def test_two_rules_of_one_name_are_refused() -> None:
    with pytest.raises(Unfit, match="two rules"):
        RuleSet(rules=(rule(Set(tag=ACCESSION, value="1")),) * 2)


def test_a_misspelt_keyword_is_told_the_nearest() -> None:
    with pytest.raises(Unfit, match="did you mean PatientName"):
        attribute("PatientsName")


def test_a_fingerprint_names_every_detail_and_no_rules_have_none() -> None:
    base = RuleSet(rules=(rule(Set(tag=ACCESSION, value="1")),))

    others = [
        RuleSet(rules=(rule(Set(tag=ACCESSION, value="2")),)),
        RuleSet(rules=(rule(Set(tag=ACCESSION, value="1"), version=2),)),
        replace(base, originals=Originals.LEDGER),
        replace(base, modifying_system="OTHER"),
    ]

    assert RuleSet().fingerprint == ""
    assert len({base.fingerprint, *(one.fingerprint for one in others)}) == 5
    assert base.fingerprint == RuleSet(rules=base.rules).fingerprint


def test_no_message_of_a_refusal_holds_a_value_of_the_dataset() -> None:
    content = written(dataset(AccessionNumber="SECRET-4711"))

    with pytest.raises(NotCoercible) as refusal:
        outcome(content, RuleSet(rules=(rule(Pad(tag=ACCESSION, width=20)),)))

    assert "SECRET" not in str(refusal.value)


def test_pixels_that_both_files_share_are_not_digested_again(monkeypatch: pytest.MonkeyPatch) -> None:
    part10 = written(dataset(AccessionNumber="1"))
    rules = RuleSet(rules=(rule(Set(tag=ACCESSION, value="2")),))
    monkeypatch.setattr(apply, "digest_pixels", lambda header: pytest.fail("digested again"))

    assert outcome(part10, rules).facts.coerced


def test_what_was_decided_of_one_slice_is_not_decided_again_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    decisions = Decisions(RuleSet(rules=(rule(Set(tag=ACCESSION, value="2")),)), source="", moment=MOMENT)
    first = coerce(instance_of(MemoryOctets(written(dataset(AccessionNumber="1", InstanceNumber="1")))), decisions)
    monkeypatch.setattr("imaging.coercion.decisions.plan", lambda *_: pytest.fail("decided again"))

    second = coerce(instance_of(MemoryOctets(written(dataset(AccessionNumber="1", InstanceNumber="2")))), decisions)

    assert second.facts.coerced == first.facts.coerced
    assert pydicom.dcmread(io.BytesIO(file_of(second))).AccessionNumber == "2"


def test_each_rule_that_a_change_is_due_to_is_told_by_itself() -> None:
    due = Change(rule="pad/1 south/2", reason=Reason.COERCE, tag=ACCESSION, vr="SH", before=b"1", after=b"2")
    decisions = Decisions(RuleSet(), source="", moment=MOMENT, further=lambda _: (due,))

    assert decisions.on(instance_of(MemoryOctets(written(dataset(AccessionNumber="1")))).reading.header).acted == (
        "pad/1",
        "south/2",
    )


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["", "1", "2", "21", None]), min_size=2, max_size=6))
def test_a_decision_is_used_again_only_where_the_same_would_be_decided(accessions: list[str | None]) -> None:
    chain = rule(Replace(tag=ACCESSION, pattern="^2", by="3"), Copy(tag=attribute("StudyID"), source=ACCESSION))
    rules = RuleSet(rules=(chain,))
    remembering = Decisions(rules, source="", moment=MOMENT)

    for accession in accessions:
        part10 = written(dataset(**({} if accession is None else {"AccessionNumber": accession})))

        found = coerce(instance_of(MemoryOctets(part10)), remembering)

        assert file_of(found) == file_of(outcome(part10, rules, source=""))
