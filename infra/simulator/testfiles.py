"""DICOM files from disk as an archive: a folder of any kind, or the samples that come with pydicom."""

import warnings
from collections.abc import Collection, Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pydicom
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info

from infra.simulator import attributes as at
from infra.simulator.archive import Archive, Instance
from infra.simulator.content import Content, FileContent, HeldContent
from infra.simulator.rewriting import twin_uid, with_uid

PREAMBLE = 128 + 4


def test_file_archive(without: Collection[str] = ()) -> Archive:
    """Every instance among the files of pydicom and, where installed, pydicom-data, but those named in `without`.

    Many of the files are one image in several encodings under one SOP Instance UID. No archive would keep
    them apart, so all but the first get another UID of the same length and are otherwise unchanged.
    """
    roots = [Path(pydicom.__file__).parent / "data" / name for name in ("test_files", "charset_files")]
    extra = find_spec("data_store")
    if extra is not None and extra.origin is not None:
        roots.append(Path(extra.origin).parent / "data")
    return Archive(_unlike(_instances(path for root in roots for path in _files(root) if path.name not in without)))


# The name begins like a test's; a test module may import it all the same.
test_file_archive.__test__ = False  # pyright: ignore[reportFunctionMemberAccess]


def folder_archive(folder: Path) -> Archive:
    """Every Part-10 instance below `folder`; the first of those that share a SOP Instance UID within a study."""
    kept: dict[tuple[str, str], Instance] = {}
    for instance in _instances(_files(folder)):
        kept.setdefault((instance.study_uid, instance.sop_uid), instance)
    return Archive(kept.values())


def _files(root: Path) -> Iterator[Path]:
    return (path for path in sorted(root.rglob("*")) if path.is_file())


def _instances(paths: Iterable[Path]) -> Iterator[Instance]:
    for path in paths:
        instance = read_instance(path)
        if instance is not None:
            yield instance


def read_instance(path: Path) -> Instance | None:
    """The instance in a Part-10 file; None for anything that is not one, such as a DICOMDIR or a text file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # The samples are odd on purpose.
        try:
            with path.open("rb") as file:
                values = at.file_attributes(file)
            meta = read_file_meta_info(path)
        except (InvalidDicomError, OSError, ValueError, AttributeError):
            return None
    length = meta.get("FileMetaInformationGroupLength")
    syntax = meta.get("TransferSyntaxUID")
    identity = [
        values.get(tag, b"").decode("latin-1") for tag in (at.STUDY_UID, at.SERIES_UID, at.SOP_UID, at.SOP_CLASS)
    ]
    if length is None or syntax is None or not all(identity):
        return None
    study, series, sop, sop_class = identity
    return Instance(
        study_uid=study,
        series_uid=series,
        sop_uid=sop,
        sop_class=sop_class,
        transfer_syntax=str(syntax),
        attributes=values,
        # The group length element itself takes 12 bytes and counts what follows it (PS3.10 section 7.1).
        content=FileContent(path, PREAMBLE + 12 + int(length)),
        name=path.name,
    )


def _unlike(instances: Iterable[Instance]) -> Iterator[Instance]:
    seen: set[str] = set()
    for instance in instances:
        if instance.sop_uid not in seen:
            seen.add(instance.sop_uid)
            yield instance
            continue
        uid = twin_uid(instance.sop_uid, instance.name)
        seen.add(uid)
        content: Content = HeldContent(with_uid(instance.dataset(), instance.transfer_syntax, instance.sop_uid, uid))
        yield Instance(
            study_uid=instance.study_uid,
            series_uid=instance.series_uid,
            sop_uid=uid,
            sop_class=instance.sop_class,
            transfer_syntax=instance.transfer_syntax,
            attributes=dict(instance.attributes) | {at.SOP_UID: uid.encode()},
            content=content,
            name=instance.name,
        )
