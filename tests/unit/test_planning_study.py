"""What the exception of a study tells whoever has to decide it."""

from actors.identity_options import IdentityOptions
from cluster.planning.accession_options import AccessionOptions
from cluster.planning.study import StudyRules
from imaging.accession.orders import Orders
from imaging.identity.graph import build
from storage.ledger.deciding import DecidedStudy, ListedStudy

IDENTITY = IdentityOptions(issuers=({"name": "NORTH"},), default_issuer="NORTH")
STUDY = ListedStudy(1, "1.1", "1", None, "Noe^Jane", "19700101", "F", None, "20200101", None, None, 1)


def decided(study: ListedStudy, orders: Orders | None = None) -> DecidedStudy:
    rules = StudyRules(
        graph=build((), IDENTITY.thresholds()),
        identity=IDENTITY,
        accession=AccessionOptions(
            sites=({"name": "north", "issuers": ["NORTH"]},),
            rules=({"name": "ris", "sites": ["north"], "steps": [{"strip_prefix": ["RIS-"]}]},),
        ),
        source="pacs",
    )
    return rules.decided(study, rules.renumbered(study), orders, ())


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
