"""Reads what a DICOM Inventory claims an archive holds (PS3.3 A.88 and C.38): studies, with their series and instances.

An Inventory may be a tree of SOP Instances that refer to one another. Only files beside the first one are followed, by
their UID: where references say that others lie is never looked at. Records are read one at a time, so memory is that of
one study's record and about 200 bytes for each study.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from actors.dimse.identifier import Identifier
from actors.files.reading import identifier_of, opened
from actors.source import StudyFound
from imaging.elements import Element, Encoding, Walker
from imaging.errors import MalformedDataset
from imaging.octets import MemoryOctets, Octets
from imaging.part10 import split_part10
from imaging.syntaxes import encoding_of, inflate, is_deflated
from imaging.uid import Uid

INVENTORY = "1.2.840.10008.5.1.4.1.1.201.1"
PARTS = 10_000
"""Files of one Inventory, and files of a folder that are looked at: archives split theirs into hundreds."""
VISITS_PER_BYTE = 4
"""Element headers looked at for each byte: records lie three levels deep, and each level is walked through once for the
one above it. So work stays in proportion to the file."""

_STUDIES, _SERIES, _INSTANCES = 0x00080423, 0x00080424, 0x00080425
_REFERENCES, _SCOPE, _RECORDS = 0x00080422, 0x00080400, 0x00080427
_PART_KEYS = ("SpecificCharacterSet", "SOPInstanceUID", "InventoryLevel", "InventoryCompletionStatus")
_REFERENCE_KEYS = ("ReferencedSOPInstanceUID",)
_REMOVED_KEYS = ("RemovedFromOperationalUse",)
_STUDY_KEYS = (
    "SpecificCharacterSet",
    "ItemInventoryDateTime",
    "RemovedFromOperationalUse",
    "StudyInstanceUID",
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyDate",
    "StudyTime",
    "StudyDescription",
    "ModalitiesInStudy",
    "NumberOfStudyRelatedSeries",
    "NumberOfStudyRelatedInstances",
)


class UnusableInventory(Exception):
    """It cannot be read, or parts of it are not there; the message names the file, and no value of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Dataset:
    """One item, or a whole SOP Instance: where its elements lie."""

    walker: Walker
    encoding: Encoding
    elements: Mapping[int, Element]
    depth: int

    def told(self, keywords: tuple[str, ...], charset: str) -> Identifier:
        return identifier_of(self.elements, self.walker.read, keywords, charset)

    def items(self, tag: int) -> Iterator["_Dataset"]:
        """The items of a sequence; none where it is absent."""
        element = self.elements.get(tag)
        if element is None:
            return
        encoding = self.walker.content_encoding(element, self.encoding)
        for elements in self.walker.items(element, encoding, self.depth):
            found = {each.tag: each for each in elements}
            yield _Dataset(walker=self.walker, encoding=encoding, elements=found, depth=self.depth + 1)


class Inventory:
    """The SOP Instances of one Inventory; what was found is known once `studies` has come to its end."""

    def __init__(self, path: Path, charset: str) -> None:
        """
        Parameters
        ----------
        path
            The SOP Instance that refers to the others, or a folder of them.
        charset
            Of text that declares none.

        Raises
        ------
        UnusableInventory
            It cannot be read, or parts of it are not there.
        """
        self._charset = charset
        self.complete = True
        """Every part says that it is, and none that it is limited to some studies."""
        self.removed = 0
        """Records of studies that the archive has taken out of use: not claimed."""
        self.superseded = 0
        """Records of a study that has a later one, or the same again."""
        self._parts = self._tree(path)

    @property
    def parts(self) -> int:
        return len(self._parts)

    def studies(self) -> Iterator[StudyFound | None]:
        """Each study by the latest record of it, in no order; None for a record without a valid UID.

        Raises
        ------
        UnusableInventory
            A part ends early, or holds other than it says.
        """
        latest: dict[Uid, str] = {}
        for told, _ in self._records():
            uid = told.uid("StudyInstanceUID")
            if uid is not None:
                latest[uid] = max(latest.get(uid, ""), _moment(told))
        for told, record in self._records():
            uid = told.uid("StudyInstanceUID")
            if uid is None:
                yield None
            elif latest.get(uid) != _moment(told):
                self.superseded += 1
            elif _is_removed(told):
                self.removed += 1
            else:
                # A second record of the same moment is a repeat.
                latest[uid] = "told"
                series, instances = _counted(record)
                yield StudyFound(
                    study_uid=uid,
                    patient_id=_text(told, "PatientID"),
                    issuer=_text(told, "IssuerOfPatientID"),
                    patient_name=_text(told, "PatientName"),
                    birth_date=_text(told, "PatientBirthDate"),
                    sex=_text(told, "PatientSex"),
                    accession=_text(told, "AccessionNumber"),
                    study_date=_text(told, "StudyDate"),
                    study_time=_text(told, "StudyTime"),
                    modalities=told.texts("ModalitiesInStudy"),
                    description=_text(told, "StudyDescription"),
                    series_count=told.count("NumberOfStudyRelatedSeries") if series is None else series,
                    instance_count=told.count("NumberOfStudyRelatedInstances") if instances is None else instances,
                )

    def _records(self) -> Iterator[tuple[Identifier, _Dataset]]:
        for path in self._parts:
            with _opened(path) as part:
                charset = part.told(_PART_KEYS, self._charset).text("SpecificCharacterSet") or self._charset
                found = 0
                for record in part.items(_STUDIES):
                    found += 1
                    yield record.told(_STUDY_KEYS, charset), record
                said = _number(part, _RECORDS)
                if said is not None and said != found:
                    raise UnusableInventory(f"{path.name} says it has {said} records of studies, and has {found}")

    def _tree(self, path: Path) -> tuple[Path, ...]:
        """The parts, each once however often it is referred to."""
        whole = path.is_dir()
        known = _beside(path) if whole else {}
        if whole and not known:
            raise UnusableInventory("holds no DICOM Inventory")
        waiting: deque[tuple[Uid | None, Path | None]] = deque(known.items() if whole else [(None, path)])
        found: dict[Uid, Path] = {}
        missing: set[Uid] = set()
        while waiting:
            uid, place = waiting.popleft()
            if place is None and uid is not None:
                if not whole:
                    known, whole = _beside(path.parent), True
                place = known.get(uid)
            if uid in found:
                continue
            if place is None:
                missing |= {uid} if uid is not None else set()
                continue
            with _opened(place) as part:
                own, references = self._look_at(part)
                if own is None:
                    raise UnusableInventory(f"{place.name} has no SOP Instance UID")
                if own in found:
                    continue
                found[own] = place
                waiting += [(each, None) for each in references if each not in found]
            if len(found) + len(missing) > PARTS:
                raise UnusableInventory(f"refers to more than {PARTS} further Inventories")
        if missing:
            raise UnusableInventory(
                f"refers to {len(missing)} Inventories that do not lie beside it; put all of its files into one folder"
            )
        return tuple(found.values())

    def _look_at(self, part: _Dataset) -> tuple[Uid | None, list[Uid]]:
        told = part.told(_PART_KEYS, self._charset)
        limited = any(item.elements for item in part.items(_SCOPE))
        self.complete &= told.text("InventoryCompletionStatus") == "COMPLETE" and not limited
        named = (item.told(_REFERENCE_KEYS, "").uid("ReferencedSOPInstanceUID") for item in part.items(_REFERENCES))
        return told.uid("SOPInstanceUID"), [uid for uid in islice(named, PARTS + 1) if uid is not None]


def is_inventory(path: Path) -> bool:
    """Whether the file says that it is one."""
    try:
        with opened(path) as octets:
            return split_part10(octets).sop_class == INVENTORY
    except (OSError, MalformedDataset):
        return False


def _beside(folder: Path) -> dict[Uid, Path]:
    """The Inventories among a folder's files, by SOP Instance UID."""
    found: dict[Uid, Path] = {}
    try:
        for path in islice(sorted(folder.iterdir()), PARTS):
            if path.is_file() and not path.is_symlink() and is_inventory(path):
                with _opened(path) as part:
                    uid = part.told(_PART_KEYS, "").uid("SOPInstanceUID")
                if uid is not None:
                    found.setdefault(uid, path)
    except OSError as error:
        raise UnusableInventory((error.strerror or "cannot be read").lower()) from None
    return found


@contextmanager
def _opened(path: Path) -> Iterator[_Dataset]:
    """The SOP Instance in the file. Whatever is wrong with it while it is read is an `UnusableInventory`."""
    try:
        with opened(path) as octets:
            envelope = split_part10(octets)
            if envelope.sop_class != INVENTORY:
                raise UnusableInventory(f"{path.name} is no DICOM Inventory")
            yield _dataset(octets, envelope.dataset_offset, envelope.transfer_syntax)
    except OSError as error:
        raise UnusableInventory(f"{path.name}: {(error.strerror or 'cannot be read').lower()}") from None
    except (MalformedDataset, EOFError) as error:
        raise UnusableInventory(f"{path.name} is damaged: {error}") from None


def _dataset(octets: Octets, start: int, transfer_syntax: str) -> _Dataset:
    if is_deflated(transfer_syntax):
        octets, start = MemoryOctets(inflate(octets, start)), 0
    encoding = encoding_of(transfer_syntax)
    walker = Walker(octets)
    walker.most = VISITS_PER_BYTE * octets.size
    elements, _ = walker.walk(start, octets.size, encoding, 0)
    return _Dataset(walker=walker, encoding=encoding, elements={each.tag: each for each in elements}, depth=0)


def _counted(record: _Dataset) -> tuple[int | None, int | None]:
    """Series and instances that are in use, as far as the record lists them."""
    if _SERIES not in record.elements:
        return None, None
    series, instances, listed = 0, 0, False
    for one in record.items(_SERIES):
        if _is_removed(one.told(_REMOVED_KEYS, "")):
            continue
        series += 1
        listed |= _INSTANCES in one.elements
        instances += sum(not _is_removed(each.told(_REMOVED_KEYS, "")) for each in one.items(_INSTANCES))
    return series, instances if listed else None


def _text(told: Identifier, keyword: str) -> str | None:
    """No text of a ledger holds a NUL, and an empty one says nothing."""
    return (told.text(keyword) or "").replace("\0", " ") or None


def _is_removed(told: Identifier) -> bool:
    return told.text("RemovedFromOperationalUse") == "Y"


def _moment(told: Identifier) -> str:
    """When the record was made; later ones are greater, as long as they have the same offset from UTC."""
    return told.text("ItemInventoryDateTime") or ""


def _number(part: _Dataset, tag: int) -> int | None:
    element = part.elements.get(tag)
    if element is None or element.length != 4 or part.encoding is Encoding.EXPLICIT_BE:
        return None
    return int.from_bytes(part.walker.read(element.value, 4), "little")
