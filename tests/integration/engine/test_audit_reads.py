"""The audit on what a job wrote: a sample of every kind and year, read by range requests from its packs."""

import io
from datetime import UTC, datetime

import pydicom
import pytest

from cluster.audit.document import document_of
from cluster.audit.take import Auditor
from infra.simulator import Simulator, synthetic_archive
from infra.simulator import test_file_archive as sample_files
from infra.simulator.archive import Archive
from infra.simulator.webarchive import WebArchive
from storage.budget import MemoryBudget
from storage.ledger.audits import Fate
from storage.sinks.options import DicomwebOptions
from storage.spool import LandingPlace, Spool

pytestmark = pytest.mark.filterwarnings("ignore")

CT_SMALL = "1.3.6.1.4.1.5962.1.2.1.20040119072730.12322"


@pytest.fixture
def audit(engine, free_port, tmp_path):
    port = free_port()
    scanner = [one for one in sample_files().manifest() if one.study_uid == CT_SMALL]
    archive = Archive([*scanner, *synthetic_archive(studies=8, seed=5).manifest()])
    with Simulator(archive, destinations={"MIG01": ("127.0.0.1", port)}) as pacs:
        job = engine(pacs.port, receiver_port=port, seed=True)
        job.run()
        spool = Spool(tmp_path / "audit")

        def take(per_stratum: int = 2, destination: str = "cloud"):
            place = LandingPlace(spool, MemoryBudget(64 << 20), 16 << 20)
            auditor = Auditor(job.ledger, job.job.destinations, place)
            found = auditor.take(
                job="move", at=datetime.now(UTC), destination=destination, per_stratum=per_stratum, seed="1"
            )
            return document_of(found)

        yield job, take
        spool.close()


def test_a_sample_of_what_was_written_is_counted_and_a_decision_closes_what_was_open(audit):
    job, take = audit

    document = take()

    by_creator = {block["creator"]: block for block in document["blocks"]}
    assert by_creator["GEMS_ACQU_01"]["vendor"] == "GE"
    assert document["keeps_bytes"]
    assert document["round_trip"] is None
    assert {element["fate"] for block in document["blocks"] for element in block["elements"]} == {"kept"}
    assert all(0 < row["studies"] <= min(2, row["of"]) for row in document["sample"]["strata"])
    assert document["open"] > 0
    for block in document["blocks"]:
        group = int(block["group"], 16)
        job.ledger.audits.decide("cloud", block["creator"], group, None, Fate.KEEP, by="B. Lead", note="")
    assert take()["open"] == 0
    assert take(destination=job.job.destinations[-1].name)["open"] > 0

    job.ledger.audits.decide("cloud", "GEMS_ACQU_01", 0x0019, None, Fate.OPEN, by="B. Lead", note="")
    left = {(one.creator, one.element_group) for one in job.ledger.audits.decisions("cloud")}
    assert ("GEMS_ACQU_01", 0x0019) not in left
    assert len(left) == len(document["blocks"]) - 1


def without_parameters(part10: bytes) -> bytes:
    """As a service gives an instance back that drops what it does not know and says nothing."""
    found = pydicom.dcmread(io.BytesIO(part10))
    for element in [one for one in found if one.tag.group == 0x0043]:
        del found[element.tag]
    found.StationName = "VNA01"
    written = io.BytesIO()
    pydicom.dcmwrite(written, found)
    return written.getvalue()


def test_what_a_service_drops_silently_is_found_by_reading_back_and_comparing(engine, free_port, tmp_path):
    port = free_port()
    archive = Archive([one for one in sample_files().manifest() if one.study_uid == CT_SMALL])
    spool = Spool(tmp_path / "audit")
    with (
        WebArchive(tmp_path / "web") as web,
        Simulator(archive, destinations={"MIG01": ("127.0.0.1", port)}) as pacs,
    ):
        options = DicomwebOptions.model_validate({"name": "vna", "url": web.url})
        web.faults.rewrite = without_parameters
        job = engine(pacs.port, receiver_port=port, fed=(options,))
        job.run()

        place = LandingPlace(spool, MemoryBudget(64 << 20), 16 << 20)
        found = Auditor(job.ledger, job.job.destinations, place).take(
            job="move", at=datetime.now(UTC), destination="vna", per_stratum=5, seed="1"
        )
    spool.close()

    document = document_of(found)
    fates = {block["creator"]: {one["fate"] for one in block["elements"]} for block in document["blocks"]}
    assert fates["GEMS_PARM_01"] == {"dropped"}
    assert fates["GEMS_ACQU_01"] == {"kept"}
    assert document["round_trip"]["instances"] == document["sample"]["instances"] > 0
    assert ("StationName", "changed") in {
        (row["element"], row["change"]) for row in document["round_trip"]["differences"]
    }
    [dose] = [row for row in document["findings"] if row["role"] == "dose"]
    assert dose["dropped"] > 0
    assert document["open"] > 0
