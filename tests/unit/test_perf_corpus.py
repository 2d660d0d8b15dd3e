"""The truth that long scenarios hold results against."""

from dataclasses import replace
from pathlib import Path

import pytest

from infra.simulator.archive import Archive
from infra.simulator.specs import archive_from
from perf.corpus import Corpus
from perf.harness import Wrong

CORPUS = Corpus(studies=2, instances=3, side=16)


def files(folder: Path) -> dict[str, Path]:
    paths = Archive(CORPUS.manifest).export(folder)
    return dict(zip((instance.sop_uid for instance in CORPUS.manifest), paths, strict=True))


def test_what_the_simulator_is_told_to_hold_is_what_is_expected() -> None:
    held = archive_from(CORPUS.specs).manifest()

    assert [each.dataset() for each in held if each.sop_uid in CORPUS.raw1] == [
        each.dataset() for each in CORPUS.manifest
    ]
    assert len(held) == len(CORPUS.manifest) + len(CORPUS.warm)


def test_a_part_of_a_corpus_holds_its_first_studies() -> None:
    assert CORPUS.part(1).manifest.study_uids == CORPUS.manifest.study_uids[:1]
    assert CORPUS.part(None) is CORPUS


def test_files_with_the_right_pixels_pass(tmp_path: Path) -> None:
    CORPUS.check_files(files(tmp_path))


def test_a_missing_file_does_not_pass(tmp_path: Path) -> None:
    found = files(tmp_path)
    found.popitem()

    with pytest.raises(Wrong, match="5 of 6"):
        CORPUS.check_files(found)


def test_one_other_pixel_does_not_pass(tmp_path: Path) -> None:
    found = files(tmp_path)
    path = next(iter(found.values()))
    octets = bytearray(path.read_bytes())
    octets[-7] ^= 1
    path.write_bytes(octets)

    with pytest.raises(Wrong, match="other pixels"):
        replace(CORPUS).check_files(found)
