"""A destination that refuses what strict archives refuse, and keeps the rest: for tests of what coercion is for.

    with StrictArchive() as archive:
        ...                          # C-STORE to archive.port
        archive.stored, archive.refused

Its rules are its own (PS3.5 section 6.2, PS3.3 annex C.7), so that nothing is proven by asking itself.
"""

import re
import threading
import warnings
from types import TracebackType
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, evt
from pynetdicom.presentation import AllStoragePresentationContexts

STORED, UNLIKE_CLASS, NOT_UNDERSTOOD = 0x0000, 0xA900, 0xC000
FORMS = {
    "AS": r"\d{3}[DWMY]",
    "CS": r"[A-Z0-9 _]{0,16}",
    "DA": r"(19|20)\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])",
    "IS": r"[+-]?\d{1,12}",
    "TM": r"([01]\d|2[0-3])([0-5]\d([0-5]\d(\.\d{1,6})?)?)?",
    "SH": r".{0,16}",
}
WANTED = ("Modality", "PatientID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")
"""With a value."""
THERE = ("PatientName", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "AccessionNumber",
         "ReferringPhysicianName", "StudyID", "SeriesNumber")  # fmt: skip
"""With a value or without."""


class StrictArchive:
    """Listens while the block lasts."""

    def __init__(self, ae_title: str = "STRICT") -> None:
        self._ae = AE(ae_title=ae_title)
        self._ae.supported_contexts = AllStoragePresentationContexts
        for context in self._ae.supported_contexts:
            context.transfer_syntax = list(ALL_TRANSFER_SYNTAXES)
        self._lock = threading.Lock()
        self._server: Any = None
        self.ae_title = ae_title
        self.stored: dict[str, Dataset] = {}
        self.refused: dict[str, str] = {}
        """SOP Instance UID and why."""

    @property
    def port(self) -> int:
        return self._server.socket.getsockname()[1]

    def __enter__(self) -> "StrictArchive":
        self._server = self._ae.start_server(
            ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, self._take)]
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()

    def _take(self, event: Any) -> int:
        uid = str(event.request.AffectedSOPInstanceUID)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            dataset = event.dataset
            dataset.decode()
        why = defect_of(dataset) or next(("text cannot be decoded" for one in told if "decode" in str(one.message)), "")
        with self._lock:
            if why:
                self.refused[uid] = why
                return UNLIKE_CLASS
            self.stored[uid] = dataset
        return STORED


def defect_of(dataset: Dataset) -> str:
    """Why it is refused; empty where it is not."""
    for name in WANTED:
        if not dataset.get(name):
            return f"{name} is missing"
    for name in THERE:
        if name not in dataset:
            return f"{name} is absent"
    declared = "SpecificCharacterSet" in dataset
    for element in dataset:
        if element.VR in FORMS and not element.tag.is_private and element.value not in (None, ""):
            values = element.value if element.VM > 1 else [element.value]
            if not all(re.fullmatch(FORMS[element.VR], str(value).strip()) for value in values):
                return f"{element.keyword} has a value of another form than {element.VR}"
        if element.VR in ("PN", "LO", "SH", "ST", "LT", "UT") and not declared and not str(element.value).isascii():
            return f"{element.keyword} holds text of no declared character set"
    return ""
