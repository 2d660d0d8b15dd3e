"""What the exception of a study tells whoever has to decide it."""

from actors.identity_options import IdentityOptions
from cluster.planning.accession_options import AccessionOptions
from cluster.planning.numbering import Numbering
from cluster.planning.study import StudyRules
from imaging.accession.orders import Orders
from imaging.identity.events import Describe, IdentityEvent, Origin, Source
from imaging.identity.graph import build
from imaging.identity.people import Identifier, Person
from storage.ledger.deciding_records import DecidedStudy, ListedStudy

IDENTITY = IdentityOptions(issuers=({"name": "NORTH"},), default_issuer="NORTH")
SNAPSHOT = Origin(source=Source.SNAPSHOT, at=None, label="index.csv", kind="snapshot")
STUDY = ListedStudy(1, "1.1", "1", None, "Noe^Jane", "19700101", "F", None, "20200101", None, None, 1)


def decided(
    study: ListedStudy,
    orders: Orders | None = None,
    *,
    events: tuple[IdentityEvent, ...] = (),
    several: tuple[tuple[str, str | None], ...] = (),
    found: tuple[str, ...] = (),
) -> DecidedStudy:
    rules = StudyRules(graph=build(events, IDENTITY.thresholds()), identity=IDENTITY)
    numbering = Numbering(
        IDENTITY,
        AccessionOptions(
            sites=({"name": "north", "issuers": ["NORTH"]},),
            rules=({"name": "ris", "sites": ["north"], "steps": [{"strip_prefix": ["RIS-"]}]},),
        ),
        "pacs",
    )
    return rules.decided(study, numbering.renumbered(study, found), orders, several)


def test_an_issuer_that_the_job_file_lacks_is_named_as_the_archive_has_it() -> None:
    found = decided(STUDY._replace(issuer="CLINIC&2.999.7&ISO"))

    assert "ISSUER_UNKNOWN" in found.classes
    assert found.evidence["patient"] == ["1", "CLINIC&2.999.7&ISO"]


def test_a_number_that_is_too_long_is_told_as_surrogates_want_it() -> None:
    found = decided(STUDY._replace(accession="2009-RADIOLOGY-000123"))

    assert "ACC_OVERLONG" in found.classes
    assert found.evidence["accession"] == "2009-RADIOLOGY-000123"


def test_a_number_without_an_order_is_told_as_the_list_would_have_it() -> None:
    found = decided(STUDY._replace(accession="RIS-77"), Orders(()))

    assert "ACC_NO_ORDER" in found.classes
    assert found.evidence["accession"] == "77"


def test_whom_the_archive_lists_against_the_index_is_part_of_the_proposal() -> None:
    index = (
        Describe(
            origin=SNAPSHOT, identifier=Identifier("NORTH", "1"), person=Person(name="Noe^Jane", birth_date="19700101")
        ),
    )
    stranger = STUDY._replace(patient_name="Zorn^Karl", birth_date="19550505", sex="M")

    found = decided(stranger, events=index)

    assert found.classes == ["ACC_MISSING", "DEMOGRAPHIC_CONFLICT"]
    assert found.content["listed"] == {"name": "Zorn^Karl", "birth_date": "19550505", "sex": "M"}
    assert "listed" not in decided(STUDY, events=index).content


def test_a_study_of_several_patients_is_proposed_with_all_numbers_it_is_listed_under() -> None:
    found = decided(STUDY, several=(("2", None), ("3", "NORTH")))

    assert found.content["among"] == [["2", None], ["3", "NORTH"], ["1", None]]


def test_a_number_of_headers_that_is_not_listed_passes_the_rules_and_is_told() -> None:
    found = decided(STUDY._replace(accession="RIS-17"), found=("RIS-18", "RIS-17"))

    assert found.classes == ["ACC_UNLISTED", "PID_NOT_IN_MPI"]
    assert found.content["accessions"] == [["RIS-17", "", "17", "", ""], ["RIS-18", "", "18", "", ""]]
    assert found.content["further"] == ["RIS-18"]
    assert found.evidence["accessions"] == ["RIS-17", "RIS-18"]
    assert found.further == [("RIS-18", "north", "", "18")]


def test_the_only_number_of_headers_is_the_studys_where_the_archive_lists_none() -> None:
    found = decided(STUDY, found=("RIS-18",))

    assert found.classes == ["PID_NOT_IN_MPI"]
    assert (found.accession, found.written, found.further) == ("18", "RIS-18", [])
    assert found.content == {
        "accessions": [["RIS-18", "", "18", "", ""]], "accession_rule": "ris/1", "further": ["RIS-18"]
    }  # fmt: skip


def test_numbers_of_which_one_becomes_the_other_are_left_as_they_are_and_hold_the_study() -> None:
    found = decided(STUDY._replace(accession="RIS-RIS-17"), found=("RIS-17",))

    assert "ACC_COLLISION_SITE" in found.classes
    assert "accessions" not in found.content


def test_a_further_number_that_can_be_none_has_its_own_class() -> None:
    found = decided(STUDY._replace(accession="RIS-17"), found=("2009-RADIOLOGY-000123",))

    assert {"ACC_UNLISTED", "ACC_OVERLONG"} <= {*found.classes}
    assert found.content["accessions"] == [["RIS-17", "", "17", "", ""]]
