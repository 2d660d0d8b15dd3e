"""An archive to send to: C-STORE, C-FIND of what it holds, and Storage Commitment, answered as a test wants it.

Instances lie in files, so that large ones stay out of memory.
"""

import shutil
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex
from typing import Any, Literal, Self

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import _config, evt
from pynetdicom.ae import ApplicationEntity as AE
from pynetdicom.events import Event
from pynetdicom.presentation import AllStoragePresentationContexts, build_context, build_role
from pynetdicom.sop_class import (  # pyright: ignore[reportAttributeAccessIssue]
    StorageCommitmentPushModel,  # pyright: ignore[reportAttributeAccessIssue]
    StudyRootQueryRetrieveInformationModelFind,  # pyright: ignore[reportAttributeAccessIssue]
    Verification,  # pyright: ignore[reportAttributeAccessIssue]
)

INSTANCE = UID("1.2.840.10008.1.20.1.1")
IDENTITY = 64 << 10
"""Bytes of a file in which its identifiers stand."""
SYNTAXES = [
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.4.50",
    "1.2.840.10008.1.2.4.70",
    "1.2.840.10008.1.2.4.80",
    "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.5",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """One instance."""

    study: str
    series: str
    sop: str
    sop_class: str
    file: Path


@dataclass(slots=True)
class Conduct:
    """What it does; changed by tests while it runs."""

    statuses: dict[str, list[int]] = field(default_factory=dict)
    """Answers to the next stores of an instance, which is then not held unless the status is a success or warning."""
    lose_answers: int = 0
    """So many stores are carried out and then the association is aborted."""
    overwrites: bool = False
    reports: Literal["same", "new", "held"] = "new"
    """On which association commitments are answered; "held": not before `release_reports`."""
    refuses: dict[str, int] = field(default_factory=dict)
    """Failure Reason by SOP Instance UID: it commits itself to the others only."""
    action_status: int = 0
    """Answer to commitment requests."""


class CommittingArchive:
    """Listens on 127.0.0.1 from `start` to `stop`."""

    def __init__(self, folder: Path, *, ae_title: str = "VNA", reports_to: tuple[str, int] | None = None) -> None:
        """`reports_to` is where it opens associations for its reports."""
        self.folder = folder
        self.ae_title = ae_title
        self.reports_to = reports_to
        self.held: dict[str, Stored] = {}
        self.conduct = Conduct()
        self.stores = 0
        self.requests: list[tuple[str, list[tuple[str, str]]]] = []
        self.answers: list[int | None] = []
        """What we said to its reports."""
        self.associations = 0
        self.proposed: list[int] = []
        """Presentation contexts of each."""
        self._held_reports: list[Dataset] = []
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        folder.mkdir(parents=True, exist_ok=True)
        self._ae = AE(ae_title)
        for context in AllStoragePresentationContexts:
            self._ae.add_supported_context(str(context.abstract_syntax), SYNTAXES)
        self._ae.add_supported_context(Verification)
        self._ae.add_supported_context(StudyRootQueryRetrieveInformationModelFind)
        self._ae.add_supported_context(StorageCommitmentPushModel)
        self._ae.maximum_pdu_size = 1 << 17
        self._server: Any = None
        self._chunked = False

    @property
    def port(self) -> int:
        return self._server.socket.getsockname()[1]

    def start(self) -> Self:
        self._chunked = _config.STORE_RECV_CHUNKED_DATASET
        _config.STORE_RECV_CHUNKED_DATASET = True
        handlers: list[Any] = [
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_C_FIND, self._find),
            (evt.EVT_N_ACTION, self._action),
            (evt.EVT_ACCEPTED, self._accepted),
        ]
        self._server = self._ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
        return self

    def stop(self) -> None:
        _config.STORE_RECV_CHUNKED_DATASET = self._chunked
        self._server.shutdown()
        for thread in self._threads:
            thread.join(10)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def release_reports(self) -> None:
        """What was held back is reported now, each on an association of its own."""
        held, self._held_reports = self._held_reports, []
        for report in held:
            self._report_anew(report)

    def _accepted(self, event: Event) -> None:
        with self._lock:
            self.associations += 1
            self.proposed.append(len(event.assoc.requestor.requested_contexts))

    def _store(self, event: Event) -> int:
        sop_uid = str(event.request.AffectedSOPInstanceUID)  # pyright: ignore[reportAttributeAccessIssue]
        with self._lock:
            self.stores += 1
            wanted = self.conduct.statuses.get(sop_uid) or [0]
            status = wanted.pop(0) if self.conduct.statuses.get(sop_uid) else wanted[0]
            lost = self.conduct.lose_answers > 0
            self.conduct.lose_answers -= lost
        if status == 0 or status >> 12 == 0xB:
            file = self.folder / token_hex(8)
            shutil.copyfile(event.dataset_path, file)
            with file.open("rb") as opened:
                seen = dcmread(opened, stop_before_pixels=True, specific_tags=["StudyInstanceUID", "SeriesInstanceUID"])
            stored = Stored(
                study=str(seen.StudyInstanceUID),
                series=str(seen.SeriesInstanceUID),
                sop=sop_uid,
                sop_class=str(event.request.AffectedSOPClassUID),  # pyright: ignore[reportAttributeAccessIssue]
                file=file,
            )
            with self._lock:
                if sop_uid not in self.held or self.conduct.overwrites:
                    self.held[sop_uid] = stored
        if lost:
            event.assoc.abort()
        return status

    def _find(self, event: Event) -> Iterator[tuple[int, Dataset | None]]:
        asked = event.identifier
        with self._lock:
            found = [each for each in self.held.values() if each.study == asked.StudyInstanceUID]
        if asked.QueryRetrieveLevel == "SERIES":
            for series in sorted({each.series for each in found}):
                answer = Dataset()
                answer.QueryRetrieveLevel = "SERIES"
                answer.StudyInstanceUID, answer.SeriesInstanceUID = asked.StudyInstanceUID, series
                yield 0xFF00, answer
            return
        for each in found:
            if each.series == asked.SeriesInstanceUID:
                answer = Dataset()
                answer.QueryRetrieveLevel = "IMAGE"
                answer.StudyInstanceUID, answer.SeriesInstanceUID = each.study, each.series
                answer.SOPInstanceUID, answer.SOPClassUID = each.sop, each.sop_class
                yield 0xFF00, answer

    def _action(self, event: Event) -> tuple[int, None]:
        asked = event.action_information
        pairs = [
            (str(item.ReferencedSOPClassUID), str(item.ReferencedSOPInstanceUID))
            for item in asked.ReferencedSOPSequence
        ]
        with self._lock:
            self.requests.append((str(asked.TransactionUID), pairs))
        if self.conduct.action_status:
            return self.conduct.action_status, None
        report = self._answer_to(str(asked.TransactionUID), pairs)
        if self.conduct.reports == "held":
            self._held_reports.append(report)
        else:
            send = self._report_on if self.conduct.reports == "same" else self._report_anew
            arguments = (event.assoc, report) if self.conduct.reports == "same" else (report,)
            thread = threading.Timer(0.05, send, arguments)  # behind the answer to the request
            self._threads.append(thread)
            thread.start()
        return 0, None

    def _answer_to(self, transaction_uid: str, pairs: Sequence[tuple[str, str]]) -> Dataset:
        report = Dataset()
        report.TransactionUID = transaction_uid
        good, bad = [], []
        for sop_class, sop_uid in pairs:
            item = Dataset()
            item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, sop_uid
            reason = self.conduct.refuses.get(sop_uid, 0 if sop_uid in self.held else 0x0112)
            if reason:
                item.FailureReason = reason
            (bad if reason else good).append(item)
        if good:
            report.ReferencedSOPSequence = good
        if bad:
            report.FailedSOPSequence = bad
        return report

    def _report_on(self, association: Any, report: Dataset) -> None:
        kind = 2 if "FailedSOPSequence" in report else 1
        status, _ = association.send_n_event_report(report, kind, StorageCommitmentPushModel, INSTANCE)
        self.answers.append(status.Status if status else None)

    def _report_anew(self, report: Dataset) -> None:
        if self.reports_to is None:
            return
        title, port = self.reports_to
        caller = AE(self.ae_title)
        association = caller.associate(
            "127.0.0.1",
            port,
            contexts=[build_context(StorageCommitmentPushModel)],
            ae_title=title,
            ext_neg=[build_role(StorageCommitmentPushModel, scu_role=False, scp_role=True)],
        )
        if association.is_established:
            self._report_on(association, report)
            association.release()
        else:
            self.answers.append(None)
