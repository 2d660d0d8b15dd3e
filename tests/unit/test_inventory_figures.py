"""The baseline's figures: pure, and honest about what they are based on."""

import csv
import io
import json
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from cluster.inventory.strata import spread
from cluster.reports.estimates import Kind, estimate_bytes, total_of
from cluster.reports.inventory_figures import Counted, figures
from cluster.reports.inventory_page import csv_of, heat, page_of
from cluster.reports.names import kind_name, told_bytes, told_share
from cluster.reports.pages import json_of
from storage.ledger.baseline import ArchiveTotals, Encoded, Moments, PatternCount, SizeBin, StudyGroup, Worked
from storage.ledger.dose import DoseCount
from storage.ledger.samples import EquipmentCount, SampleEncoded, SampleTotals

SCHEMA = Path(__file__).resolve().parents[2] / "docs" / "reference" / "schemas" / "inventory-report.json"
HOSTILE = '<script>alert("x")</script>'
NOBODY = Worked(events=0, items=0, seconds=0.0)
EMPTY = Counted(
    at=datetime(2026, 11, 24, 12, 0, tzinfo=UTC),
    totals=ArchiveTotals(
        job="move", source="pacs", kind="dimse", generation=1, enumerated=True, studies=0, patients=0, series=0,
        instances=0, no_series_count=0, no_instance_count=0, not_met_again=0, new_last_week=0,
    ),
    groups=(), accession_patterns=(), patient_id_patterns=(), quality={}, study_sizes=(), instance_sizes=(),
    encoded=(), flags={}, written=(), asking=NOBODY, moving=NOBODY, exceptions={}, dose=(),
    sample=SampleTotals(
        studies=0, unlisted=0, series=0, read=0, damaged=0, absent=0, bytes_read=0, seconds=0.0
    ),
    equipment=(), sample_encoded=(), sample_marks={}, sample_sizes=(), sample_dose={}, sampled=(),
    cap=None, associations=None,
)  # fmt: skip


def group(
    modalities: tuple[str, ...] | None, year: int | None, studies: int, instances: int, **more: Any
) -> StudyGroup:
    values = {"dating": "dated" if year else "undated", "series": studies, "uncounted": 0} | more
    return StudyGroup(modalities=modalities, year=year, studies=studies, instances=instances, **values)


def moments(modalities: tuple[str, ...], pairs: list[tuple[float, float]]) -> Moments:
    return Moments(
        modalities=modalities,
        studies=len(pairs),
        x=sum(x for x, _ in pairs),
        y=sum(y for _, y in pairs),
        xx=sum(x * x for x, _ in pairs),
        xy=sum(x * y for x, y in pairs),
        yy=sum(y * y for _, y in pairs),
    )


FULL = replace(
    EMPTY,
    totals=replace(EMPTY.totals, studies=12, instances=300, enumerated=True),
    groups=(group(("CT",), 2019, 8, 200), group(("CR",), 2003, 3, 30), group(("CT", "SR"), None, 1, 70)),
    accession_patterns=(PatternCount(issuer=None, pattern="AA-9999", studies=9, distinct=8),),
    patient_id_patterns=(PatternCount(issuer=HOSTILE, pattern="9999999", studies=12, distinct=7),),
    quality={"studies": 12, "no_accession": 3},
    study_sizes=(SizeBin(power=-1, items=1, weight=0), SizeBin(power=4, items=11, weight=300)),
    instance_sizes=(SizeBin(power=19, items=100, weight=60_000_000),),
    encoded=(Encoded(sop_class="1.2.840.10008.5.1.4.1.1.2", transfer_syntax="1.2.840.10008.1.2.4.90", instances=100,
                     bytes=60_000_000),),
    flags={"PIXEL_LENGTH": 2},
    written=(moments(("CT",), [(25, 13e6), (25, 12e6)]),),
    asking=Worked(events=4, items=12, seconds=0.5),
    exceptions={"MALFORMED_INSTANCE": 1, "PACK_CONFLICT": 1, "INCOMPLETE_STUDY": 2},
    sample=SampleTotals(studies=3, unlisted=0, series=4, read=3, damaged=1, absent=0, bytes_read=9, seconds=2.0),
    equipment=(EquipmentCount(modality="CT", manufacturer=HOSTILE, model="Scan 7", station=None, studies=3, series=3,
                              instances=75, bytes=40_000_000),),
    sample_encoded=(SampleEncoded(sop_class="1.2.3", transfer_syntax="1.2.840.10008.1.2.1", charset=None, series=3,
                                  instances=75, bytes=40_000_000),),
    sample_sizes=(SizeBin(power=18, items=70, weight=30_000_000), SizeBin(power=20, items=5, weight=10_000_000)),
    sampled=(moments(("CT",), [(20, 10e6), (30, 16e6)]),),
    sample_dose={"readable": 2, "none": 1},
    dose=(DoseCount(status="readable", studies=8, added=7, proven=7, obstacles={}, conflicts=0),),
    cap=500,
    associations=4,
)  # fmt: skip


@pytest.mark.parametrize("counted", [EMPTY, FULL], ids=["of an empty ledger", "of a full one"])
def test_the_document_is_what_the_published_schema_says(counted: Counted) -> None:
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)

    document = json.loads(json_of(figures(counted)))

    assert list(Draft202012Validator(schema).iter_errors(document)) == []
    assert document.keys() == schema["properties"].keys()


def test_dose_is_told_of_the_sample_and_of_what_was_moved() -> None:
    told = figures(FULL)["dose"]

    assert [(row["status"], row["studies"], row["of"], row["added"], row["basis"]) for row in told] == [
        ("readable", 2, 3, 0, "sampled"), ("none", 1, 3, 0, "sampled"), ("readable", 8, 8, 7, "pulled"),
    ]  # fmt: skip


def test_damaged_objects_are_kept_apart_from_errors_of_the_migration() -> None:
    told = figures(FULL)

    assert {row["kind"]: row["cause"] for row in told["exceptions"]} == {
        "MALFORMED_INSTANCE": "damaged objects",
        "INCOMPLETE_STUDY": "the archive's answers",
        "PACK_CONFLICT": "migration",
    }
    assert [(row["count"], row["of"]) for row in told["damage"]] == [(1, 4), (0, 4), (0, 3), (1, 101)]


def test_a_report_beside_images_does_not_make_another_kind_of_study() -> None:
    told = figures(FULL)

    assert [(row["modality"], row["studies"], row["instances"]) for row in told["modalities"]] == [
        ("CT", 9, 270),
        ("CR", 3, 30),
    ]
    assert kind_name(("SR",)) == "SR"
    assert kind_name(None) == kind_name(()) == "not told"
    assert kind_name(("PT", "CT", "SR")) == "CT+PT"


def test_years_without_studies_are_seen_as_a_gap() -> None:
    years = figures(FULL)["years"]

    assert [row["year"] for row in years] == list(range(2003, 2020))
    assert [row["studies"] for row in years if row["studies"]] == [3, 8]


def test_bytes_say_what_they_are_based_on() -> None:
    kinds = [Kind(name="CT", studies=9, instances=270), Kind(name="CR", studies=2, instances=4),
             Kind(name="MR", studies=5, instances=50)]  # fmt: skip
    sampled = {"CT": moments(("CT",), [(20, 10e6), (30, 16e6)])}
    written = {"CT": moments(("CT",), [(30, 1.0)]), "CR": moments(("CR",), [(2, 8e6), (2, 8e6)])}

    ct, cr, mr = estimate_bytes(kinds, written, sampled)

    assert (ct.basis, round(ct.value)) == ("sampled", 140_400_000)
    assert ct.low is not None and ct.high is not None and ct.low < ct.value < ct.high
    assert (cr.basis, cr.value, cr.low, cr.high) == ("full", 16e6, 16e6, 16e6)
    assert (mr.basis, mr.high) == ("extrapolated", None)
    assert total_of([ct, cr]).high is not None
    assert total_of([ct, cr, mr]).basis == "extrapolated"


def test_the_interval_of_an_estimate_shrinks_to_nothing_with_the_last_study() -> None:
    pairs = [(10.0, 5e6), (20.0, 11e6), (5.0, 2e6), (8.0, 4.5e6)]

    most = estimate_bytes([Kind(name="US", studies=4000, instances=43_000)], {}, {"US": moments(("US",), pairs)})[0]
    all_of_them = estimate_bytes([Kind(name="US", studies=4, instances=43)], {}, {"US": moments(("US",), pairs)})[0]

    assert most.high is not None and most.high > most.value
    assert all_of_them.high == all_of_them.value == pytest.approx(22.5e6)


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("counted", [EMPTY, FULL], ids=["of an empty ledger", "of a full one"])
def test_the_page_is_one_well_formed_file_that_asks_for_nothing(counted: Counted) -> None:
    text = page_of(figures(counted))

    page = Page(text)

    assert page.open == []
    assert not {tag for tag, _ in page.tags} & {"script", "link", "img", "iframe", "object"}
    assert not any(name in ("src", "href") for _, attributes in page.tags for name in attributes)
    assert "url(" not in text and "@import" not in text


def test_what_an_archive_tells_is_never_markup() -> None:
    text = page_of(figures(FULL))

    assert HOSTILE not in text
    assert "&lt;script&gt;" in text


def test_every_number_of_the_document_is_a_line_for_spreadsheets() -> None:
    document = figures(
        replace(FULL, accession_patterns=(PatternCount(issuer=None, pattern="=9+9", studies=1, distinct=1),))
    )

    rows = list(csv.DictReader(io.StringIO(csv_of(document))))

    measured = {(row["table"], row["item"], row["measure"]): row for row in rows}
    assert measured["modalities", "CT", "studies"]["value"] == "9"
    assert measured["modalities", "CT", "bytes value"]["basis"] == "sampled"
    assert measured["accession_patterns", "'=9+9", "studies"]["value"] == "1"
    assert not any(cell.startswith(("=", "@")) for row in rows for cell in row.values())


def test_the_table_of_years_keeps_every_study_of_its_kinds() -> None:
    told = figures(FULL)

    table = heat(told["modality_years"], told["modalities"])

    assert {row["name"]: sum(cell["value"] for cell in row["cells"]) for row in table["rows"]} == {"CT": 9, "CR": 3}
    assert table["spans"][-1] == "no date"


def test_a_sample_looks_at_every_stratum_before_it_follows_their_size() -> None:
    groups = (group(("CT",), 2019, 900, 1), group(("CT",), 2020, 97, 1), group(("US",), 1998, 3, 1))

    strata = {(one.modalities, one.year): one.wanted for one in spread(groups, 20)}

    assert sum(strata.values()) == 20
    assert strata[("US",), 1998] >= 1
    assert strata[("CT",), 2019] > strata[("CT",), 2020] >= 2


@pytest.mark.parametrize(("wanted", "given"), [(0, 0), (2, 2), (5, 5), (1000, 12)])
def test_a_sample_is_never_larger_than_asked_for_or_than_there_is(wanted: int, given: int) -> None:
    assert sum(one.wanted for one in spread(FULL.groups, wanted)) == given


@pytest.mark.parametrize(
    ("count", "of", "told"), [(0, 5, "0 %"), (1, 3, "33 %"), (1, 1000, "0.1 %"), (1, 10**6, "< 0.01 %"), (0, 0, "-")]
)
def test_shares_are_told_with_the_digits_they_deserve(count: int, of: int, told: str) -> None:
    assert told_share(count, of) == told


@pytest.mark.parametrize(("size", "told"), [(999, "999 B"), (1.5e6, "1.5 MB"), (123.4e12, "123 TB"), (2e15, "2 PB")])
def test_sizes_are_told_in_three_digits(size: float, told: str) -> None:
    assert told_bytes(size) == told
