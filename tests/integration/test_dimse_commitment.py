"""Asking an archive to commit itself, and hearing it on whichever association it chooses."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from actors.dimse.commitment import NotAsked, Reference, Report, encode_request, parse_report, request
from actors.dimse.connecting import Endpoint
from actors.dimse.reports import ReportListener
from imaging.errors import MalformedDataset
from imaging.uid import Uid
from infra.simulator.committing import CommittingArchive

CT = "1.2.840.10008.5.1.4.1.1.2"
TRANSACTION = Uid("2.25.17")
ASKED = [Reference(sop_class=CT, sop_uid=Uid(f"1.2.{n}")) for n in range(1, 4)]
IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"


@pytest.fixture
def reports() -> list[Report]:
    return []


@pytest.fixture
def listener(reports: list[Report]) -> Iterator[ReportListener]:
    def keep(report: Report) -> bool:
        reports.append(report)
        return report.transaction_uid == TRANSACTION

    listening = ReportListener("127.0.0.1", 0, "LIMOSA", keep)
    listening.start()
    yield listening
    listening.stop()


@pytest.fixture
def archive(tmp_path: Path, listener: ReportListener) -> Iterator[CommittingArchive]:
    with CommittingArchive(tmp_path / "vna", reports_to=("LIMOSA", listener.port)) as running:
        running.conduct.refuses = {"1.2.3": 0x0213}
        running.held = dict.fromkeys(("1.2.1", "1.2.2", "1.2.3"))  # type: ignore[assignment]
        yield running


def ask(archive: CommittingArchive, reports: list[Report], linger: float) -> None:
    request(
        Endpoint(host="127.0.0.1", port=archive.port, called_ae="VNA", calling_ae="LIMOSA"),
        TRANSACTION,
        ASKED,
        patience=timedelta(seconds=10),
        linger=timedelta(seconds=linger),
        handle=lambda report: not reports.append(report),
    )


@pytest.mark.parametrize("association", ["same", "new"])
def test_a_report_is_heard_on_either_association_and_tells_which_instances_were_refused(
    archive: CommittingArchive, reports: list[Report], wait_until: Callable[..., None], association: str
) -> None:
    archive.conduct.reports = association  # type: ignore[assignment]

    ask(archive, reports, linger=10 if association == "same" else 0.01)

    wait_until(lambda: archive.answers, what="the report")
    assert archive.requests == [(TRANSACTION, [(CT, "1.2.1"), (CT, "1.2.2"), (CT, "1.2.3")])]
    assert reports == [Report(transaction_uid=TRANSACTION, committed=("1.2.1", "1.2.2"), failed={"1.2.3": 0x0213})]
    assert archive.answers == [0]


def test_a_request_that_is_refused_says_so(archive: CommittingArchive, reports: list[Report]) -> None:
    archive.conduct.action_status = 0x0213

    with pytest.raises(NotAsked) as caught:
        ask(archive, reports, linger=0.01)

    assert caught.value.status == 0x0213


def test_an_answer_to_what_nobody_asked_is_refused(
    archive: CommittingArchive, reports: list[Report], wait_until: Callable[..., None]
) -> None:
    report = Dataset()
    report.TransactionUID = "2.25.18"

    archive._report_anew(report)

    assert archive.answers == [0x0115]


def written(report: Dataset, implicit: bool) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, implicit
    write_dataset(buffer, report)
    return buffer.getvalue()


@pytest.mark.parametrize(("implicit", "syntax"), [(True, IMPLICIT), (False, EXPLICIT)])
def test_a_report_is_read_in_either_encoding_and_the_worse_counts(implicit: bool, syntax: str) -> None:
    good, bad = Dataset(), Dataset()
    good.ReferencedSOPClassUID = bad.ReferencedSOPClassUID = CT
    good.ReferencedSOPInstanceUID, bad.ReferencedSOPInstanceUID = "1.2.1", "1.2.2"
    bad.FailureReason = 0x0119
    report = Dataset()
    report.TransactionUID = TRANSACTION
    report.ReferencedSOPSequence, report.FailedSOPSequence = [good, bad], [bad]

    parsed = parse_report(written(report, implicit), syntax)

    assert parsed == Report(transaction_uid=TRANSACTION, committed=(Uid("1.2.1"),), failed={"1.2.2": 0x0119})


@pytest.mark.parametrize("dataset", [b"", b"\x08\x00\x95\x11UI\xff\xff", bytes(40)])
def test_a_report_without_a_transaction_is_malformed(dataset: bytes) -> None:
    with pytest.raises(MalformedDataset):
        parse_report(dataset, EXPLICIT)


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT])
def test_a_request_reads_back_as_it_was_meant(syntax: str) -> None:
    parsed = parse_report(encode_request(TRANSACTION, ASKED, syntax), syntax)

    assert parsed.transaction_uid == TRANSACTION
    assert parsed.committed == tuple(each.sop_uid for each in ASKED)
