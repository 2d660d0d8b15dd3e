"""The export of a vendor as a source: indexed, moved through the same engine, read back; damage told and kept."""

import errno
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from pydicom.data import get_testdata_file

from actors.files.index import Indexed, index_tree
from actors.files.source import FileTree
from actors.options import FilesSource
from actors.source import MoveEnd, MoveTarget, SourceUnreachable, StudyWindow
from actors.start import start_mover
from cluster.inventory.options import InventoryOptions
from cluster.inventory.plan import Plan
from cluster.inventory.walk import Walk
from imaging.part10 import encode_meta
from imaging.uid import Uid
from infra.simulator import Archive, synthetic_archive
from storage.ledger.files import FileState
from storage.spool import Quarantine

DICOMDIRS = Path(str(get_testdata_file("CT_small.dcm"))).parent / "dicomdirtests"


def export(archive: Archive, root: Path) -> list[Path]:
    """One file for each instance, with names that say nothing."""
    root.mkdir(parents=True, exist_ok=True)
    made = []
    for number, image in enumerate(archive.manifest()):
        path = root / f"{number % 3}" / f"{number:08d}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(encode_meta(image.sop_class, image.sop_uid, image.transfer_syntax) + image.dataset())
        made.append(path)
    return made


class Export:
    """An engine whose source is a tree of files."""

    def __init__(self, engine: Any, root: Path) -> None:
        self.engine, self.root = engine, root
        options = FilesSource(kind="files", roots=(root,))
        engine.job = replace(engine.job, source=options)
        self.options = options
        self.ledger = engine.ledger

    def index(self) -> Indexed:
        job = self.engine.job
        return index_tree(
            self.options.roots, job.source_id, self.ledger, Quarantine(job.folder / "quarantine"),
            charset="ISO_IR 100", now=lambda: datetime.now(UTC), report=lambda progress: None,
        )  # fmt: skip

    def tree(self, handler: Callable[..., int] | None = None) -> FileTree:
        source_id = self.engine.job.source_id
        return FileTree((self.root,), source_id, self.ledger, *([] if handler is None else [handler]))

    def inventory(self) -> None:
        self.index()
        self.ledger.inventory.begin_generation()
        today = date(2026, 11, 24)
        Walk(
            source=self.tree(), ledger=self.ledger, source_id=self.engine.job.source_id,
            plan=Plan(InventoryOptions(), cap=None, today=today), options=InventoryOptions(), charset="ISO_IR 100",
            report=lambda progress: None, now=datetime(2026, 11, 24, tzinfo=ZoneInfo("UTC")),
        ).run()  # fmt: skip

    def move(self) -> None:
        self.engine.plan()
        setup = replace(self.engine.mover_setup("mover-0"), receiver=None)
        self.engine.processes.append(start_mover(setup))
        self.engine.start_validator()
        self.engine.finish()
        self.engine.stop()


@pytest.fixture
def exported(engine: Any, tmp_path: Path) -> Callable[[Path], Export]:
    return lambda root: Export(engine(1, receiver_port=1), root)


def test_a_tree_of_files_arrives_as_it_lay_there(exported: Any, tmp_path: Path) -> None:
    archive = synthetic_archive(studies=6)
    export(archive, tmp_path / "export")
    (tmp_path / "export" / "README.TXT").write_text("Viewer on CD")
    job = exported(tmp_path / "export")

    job.inventory()
    job.move()

    job.engine.assert_delivered(archive.manifest())
    assert job.engine.problems() == ()
    row = job.engine.rows("select count(*), sum(instance_count) from study")[0]
    assert row == (len(archive.manifest().study_uids), len(list(archive.manifest())))


def test_a_damaged_file_is_quarantined_and_stops_its_study_only(exported: Any, tmp_path: Path) -> None:
    archive = synthetic_archive(studies=3)
    files = export(archive, tmp_path / "export")
    images = list(archive.manifest())
    largest = max(range(len(files)), key=lambda number: files[number].stat().st_size)
    os.truncate(files[largest], files[largest].stat().st_size * 3 // 4)
    (tmp_path / "export" / "nobody").write_bytes(files[0].read_bytes()[:300])
    job = exported(tmp_path / "export")

    job.inventory()
    job.move()

    hurt = images[largest].study_uid
    job.engine.assert_delivered(archive.manifest(), set(archive.manifest().study_uids) - {hurt})
    assert job.engine.kinds() == {"MALFORMED_INSTANCE", "MALFORMED_INSTANCES", "FILE_DAMAGED"}
    assert {one["reason"] for one in job.engine.evidence()} == {"MALFORMED_INSTANCE", "FILE_DAMAGED"}
    assert {path.read_bytes() for path in job.engine.quarantined()} >= {(tmp_path / "export" / "nobody").read_bytes()}


def test_a_damaged_copy_of_an_instance_that_lies_there_sound_is_told_once_and_stops_nothing(
    exported: Any, tmp_path: Path
) -> None:
    archive = synthetic_archive(studies=3)
    root = tmp_path / "export"
    files = export(archive, root)
    images = list(archive.manifest())
    # One comes before the sound file, one behind it.
    copies = [root / "0" / "!cut", root / "2" / "zcut"]
    for copy, lost in zip(copies, (10, 20), strict=True):
        copy.write_bytes(files[0].read_bytes()[:-lost])
    job = exported(root)

    job.inventory()
    job.inventory()
    job.move()

    job.engine.assert_delivered(archive.manifest())
    (told,) = [one for one in job.engine.problems() if one.kind == "COPY_DAMAGED"]
    every = [told.evidence, *told.evidence["earlier"]]
    assert job.engine.kinds() == {"COPY_DAMAGED"}
    assert (told.sop_uid, told.blocking, told.times_seen) == (images[0].sop_uid, False, len(copies))
    assert {one["path"] for one in every} == {str(copy) for copy in copies}
    assert {(one["sound"], one["study_uid"]) for one in every} == {(str(files[0]), images[0].study_uid)}
    assert sorted(path.read_bytes() for path in job.engine.quarantined()) == sorted(c.read_bytes() for c in copies)


def test_a_damaged_copy_is_asked_for_again_once_the_sound_one_is_gone(exported: Any, tmp_path: Path) -> None:
    archive = synthetic_archive(studies=1)
    files = export(archive, tmp_path / "export")
    copy = files[0].with_name("copy")
    copy.write_bytes(files[0].read_bytes()[:-100])
    job = exported(tmp_path / "export")
    study = Uid(next(iter(archive.manifest())).study_uid)

    job.index()
    both = job.ledger.files.instances(job.engine.job.source_id, study)
    files[0].unlink()
    job.index()
    alone = job.ledger.files.instances(job.engine.job.source_id, study)

    assert {one.state for one in both} == {FileState.DICOM}
    assert {one.path for one in alone if one.state is FileState.DAMAGED} == {copy}


def test_what_a_dicomdir_names_and_no_file_holds_keeps_its_study_incomplete(exported: Any, tmp_path: Path) -> None:
    root = tmp_path / "cd"
    shutil.copytree(DICOMDIRS, root, ignore=shutil.ignore_patterns("TINY*", "DICOMDIR-*"))
    lost = next(root.joinpath("98892003", "MR700").iterdir())
    lost.unlink()
    job = exported(root)

    found = job.index()
    listed = {study.study_uid: job.tree().list_instances(study.study_uid) for study in answered(job)}

    assert found.counts[FileState.DICOM] == 30
    assert found.counts[FileState.MISSING] == 1
    assert found.counts[FileState.DIRECTORY] == 1
    assert sum(len(one.instances) for one in listed.values()) == 31
    assert found.unlisted == 0


def test_files_that_a_dicomdir_leaves_out_are_counted_and_move_all_the_same(exported: Any, tmp_path: Path) -> None:
    root = tmp_path / "cd"
    shutil.copytree(DICOMDIRS, root, ignore=shutil.ignore_patterns("TINY*", "DICOMDIR-*"))
    export(synthetic_archive(studies=1), root / "more")

    found = exported(root).index()

    assert found.unlisted == len(list(synthetic_archive(studies=1).manifest()))


def test_a_second_look_reads_only_what_changed(exported: Any, tmp_path: Path) -> None:
    archive = synthetic_archive(studies=2)
    files = export(archive, tmp_path / "export")
    job = exported(tmp_path / "export")
    job.index()
    first = answered(job)
    read: list[int] = []

    files[0].unlink()
    index_tree(
        (tmp_path / "export",), job.engine.job.source_id, job.ledger, Quarantine(tmp_path / "q"), charset="ISO_IR 100",
        now=lambda: datetime.now(UTC), report=lambda progress: read.append(progress.read),
    )  # fmt: skip

    assert read[-1] == 0
    assert sum(one.instance_count or 0 for one in answered(job)) == sum(one.instance_count or 0 for one in first) - 1


def test_a_file_that_goes_between_two_looks_is_missing_as_soon_as_the_second(exported: Any, tmp_path: Path) -> None:
    root = tmp_path / "cd"
    shutil.copytree(DICOMDIRS, root, ignore=shutil.ignore_patterns("TINY*", "DICOMDIR-*"))
    job = exported(root)
    job.index()

    next(root.joinpath("98892003", "MR700").iterdir()).unlink()
    found = job.index()

    assert (found.counts[FileState.DICOM], found.counts[FileState.MISSING]) == (30, 1)
    assert sum(one.instance_count or 0 for one in answered(job)) == 31


def test_a_disk_error_in_one_file_stops_neither_the_look_nor_a_mover_and_is_looked_at_again(
    exported: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = export(synthetic_archive(studies=2), tmp_path / "export")
    job, bad, pread = exported(tmp_path / "export"), files[0].stat().st_ino, os.pread

    def failing(descriptor: int, length: int, start: int) -> bytes:
        if os.fstat(descriptor).st_ino == bad:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return pread(descriptor, length, start)

    monkeypatch.setattr("storage.spool.os.pread", failing)
    first = job.index()
    monkeypatch.undo()
    second = job.index()
    hurt = next(iter(synthetic_archive(studies=2).manifest())).study_uid
    study = next(one for one in answered(job) if one.study_uid == hurt)
    monkeypatch.setattr("storage.spool.os.pread", failing)
    moved = job.tree(lambda incoming: 0).retrieve(MoveTarget(study_uid=study.study_uid), "", lambda: False)

    assert (first.counts[FileState.DAMAGED], first.counts[FileState.DICOM]) == (1, len(files) - 1)
    assert second.counts == {FileState.DICOM: len(files)}
    assert (moved.end, moved.failed, moved.completed) == (MoveEnd.PARTIAL, 1, (study.instance_count or 0) - 1)
    assert job.engine.kinds() == {"FILE_DAMAGED"}


def test_links_are_told_of_and_not_followed(exported: Any, tmp_path: Path) -> None:
    files = export(synthetic_archive(studies=1), tmp_path / "export")
    (tmp_path / "export" / "again").symlink_to(files[0])
    (tmp_path / "export" / "round").symlink_to(tmp_path / "export", target_is_directory=True)
    job = exported(tmp_path / "export")

    found = job.index()

    assert found.counts == {FileState.DICOM: len(files), FileState.DAMAGED: 2}
    assert job.engine.kinds() == {"FILE_DAMAGED"}


def test_a_name_that_was_corrected_in_the_files_replaces_the_earlier_one(exported: Any, tmp_path: Path) -> None:
    path = tmp_path / "export" / "one"
    path.parent.mkdir()
    original = Path(str(get_testdata_file("CT_small.dcm"))).read_bytes()
    path.write_bytes(original)
    job = exported(path.parent)
    job.index()

    path.write_bytes(original.replace(b"CompressedSamples^CT1", b"DecompressedSamp^CT21"))
    job.index()

    assert [one.patient_name for one in answered(job)] == ["DecompressedSamp^CT21"]


def test_an_export_that_is_not_mounted_is_not_an_empty_one(exported: Any, tmp_path: Path) -> None:
    job = exported(tmp_path / "absent")

    with pytest.raises(SourceUnreachable):
        job.index()
    with pytest.raises(SourceUnreachable):
        job.tree().echo()


def test_windows_match_as_in_any_archive(exported: Any, tmp_path: Path) -> None:
    archive = synthetic_archive(studies=30)
    export(archive, tmp_path / "export")
    job = exported(tmp_path / "export")
    job.index()
    everything = answered(job)
    dated = [one for one in everything if one.study_date and len(one.study_date) == 8]
    one = dated[0]
    day = datetime.strptime(one.study_date, "%Y%m%d").replace(tzinfo=UTC).date()
    ask = job.tree().find_studies

    assert one.study_uid in {s.study_uid for s in ask(StudyWindow(date_from=day, date_to=day)).studies}
    assert all(s.study_date for s in ask(StudyWindow(date_to=date(2100, 1, 1))).studies)
    assert {s.study_uid for s in ask(StudyWindow(study_uids=(Uid(one.study_uid),))).studies} == {one.study_uid}
    assert one.study_uid in {s.study_uid for s in ask(StudyWindow(modality=one.modalities[0])).studies}
    assert one.study_uid in {s.study_uid for s in ask(StudyWindow(patient_id=f"{one.patient_id[:2]}*")).studies}
    assert len(everything) == 30


def answered(job: Export) -> Any:
    return job.tree().find_studies(StudyWindow()).studies
