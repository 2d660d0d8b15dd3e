"""What the simulated archive holds, and the truth about it for tests to compare with."""

import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydicom.dataset import FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import UID

from infra.simulator.content import Content, whole


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One stored SOP instance: identity, the values a query can match, and its bytes."""

    study_uid: str
    series_uid: str
    sop_uid: str
    sop_class: str
    transfer_syntax: str
    attributes: Mapping[int, bytes]
    """Values by tag as stored, without padding, in the character set that (0008,0005) among them names."""
    content: Content
    name: str = ""
    """Where it comes from, for the reader of a failed test: a file name or a synthetic kind."""

    @property
    def size(self) -> int:
        return self.content.size

    def dataset(self) -> bytes:
        """The dataset exactly as stored, as a retrieve without faults sends it."""
        return whole(self.content)

    def file_meta(self) -> bytes:
        """Preamble, 'DICM' and file meta information for this dataset (PS3.10 section 7.1)."""
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = UID(self.sop_class)
        meta.MediaStorageSOPInstanceUID = UID(self.sop_uid)
        meta.TransferSyntaxUID = UID(self.transfer_syntax)
        meta.ImplementationClassUID = UID("2.25.260101")
        buffer = DicomBytesIO()
        buffer.is_little_endian, buffer.is_implicit_VR = True, False
        buffer.write(b"\0" * 128 + b"DICM")
        write_file_meta_info(buffer, meta, enforce_standard=True)
        return buffer.getvalue()


@dataclass(frozen=True, slots=True)
class Manifest:
    """Everything the archive truly holds, faults or not, at the moment it was asked."""

    instances: tuple[Instance, ...]
    _by_study: dict[str, tuple[Instance, ...]] = field(init=False, repr=False)
    _by_sop: dict[str, Instance] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        studies: dict[str, list[Instance]] = {}
        for instance in self.instances:
            studies.setdefault(instance.study_uid, []).append(instance)
        object.__setattr__(self, "_by_study", {uid: tuple(held) for uid, held in studies.items()})
        object.__setattr__(self, "_by_sop", {instance.sop_uid: instance for instance in self.instances})

    @property
    def study_uids(self) -> tuple[str, ...]:
        return tuple(self._by_study)

    def of_study(self, study_uid: str) -> tuple[Instance, ...]:
        return self._by_study[study_uid]

    def sop_uids(self, study_uid: str) -> frozenset[str]:
        return frozenset(instance.sop_uid for instance in self._by_study[study_uid])

    def instance(self, sop_uid: str) -> Instance:
        return self._by_sop[sop_uid]

    def __len__(self) -> int:
        return len(self.instances)

    def __iter__(self) -> Iterator[Instance]:
        return iter(self.instances)


class Archive:
    """Instances by study, in the order they were added. Safe to change while a simulator serves it."""

    def __init__(self, instances: Iterable[Instance] = ()) -> None:
        self._lock = threading.Lock()
        self._studies: dict[str, tuple[Instance, ...]] = {}
        self.add(*instances)

    def add(self, *instances: Instance) -> None:
        """The instances are held, as when a modality sends a late series."""
        grown: dict[str, list[Instance]] = {}
        for instance in instances:
            grown.setdefault(instance.study_uid, []).append(instance)
        with self._lock:
            for uid, added in grown.items():
                self._studies[uid] = (*self._studies.get(uid, ()), *added)

    def remove(self, sop_uids: Iterable[str]) -> None:
        """The instances are gone, as when a technologist deletes a series; an emptied study is gone too."""
        gone = frozenset(sop_uids)
        with self._lock:
            for uid, held in tuple(self._studies.items()):
                kept = tuple(instance for instance in held if instance.sop_uid not in gone)
                if kept:
                    self._studies[uid] = kept
                else:
                    del self._studies[uid]

    def studies(self) -> tuple[tuple[Instance, ...], ...]:
        with self._lock:
            return tuple(self._studies.values())

    def study(self, study_uid: str) -> tuple[Instance, ...]:
        """Its instances; empty when there is no such study."""
        with self._lock:
            return self._studies.get(study_uid, ())

    def manifest(self) -> Manifest:
        return Manifest(tuple(instance for held in self.studies() for instance in held))

    def export(self, folder: Path) -> tuple[Path, ...]:
        """Every instance is a Part-10 file below `folder`, one folder a study; what other PACS are loaded from."""
        paths: list[Path] = []
        for number, held in enumerate(self.studies()):
            place = folder / f"{number:06}"
            place.mkdir(parents=True, exist_ok=True)
            for index, instance in enumerate(held):
                path = place / f"{index:06}.dcm"
                with path.open("wb") as file:
                    file.write(instance.file_meta())
                    file.writelines(instance.content.chunks(1 << 20))
                paths.append(path)
        return tuple(paths)
