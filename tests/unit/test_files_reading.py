"""What a file of an export is, told by its bytes."""

from pathlib import Path

import pytest
from pydicom.data import get_testdata_file

from actors.files.dicomdir import UnreadableDirectory, promised
from actors.files.reading import look_at
from imaging.octets import MemoryOctets
from storage.ledger.files import FileState, FoundFile, FoundIdentity

CT = Path(str(get_testdata_file("CT_small.dcm"))).read_bytes()
FOLDER = Path(str(get_testdata_file("CT_small.dcm"))).parent


def looked(raw: bytes, charset: str = "ISO_IR 100") -> tuple[FoundFile, FoundIdentity | None]:
    return look_at(Path("x"), MemoryOctets(raw), charset)


def dataset_of(raw: bytes) -> bytes:
    """Everything behind the file meta, whose group length tells where that is."""
    return raw[144 + int.from_bytes(raw[140:144], "little") :]


def test_a_sound_file_names_its_instance_and_whose_it_is() -> None:
    file, study = looked(CT)

    assert file.state is FileState.DICOM
    assert file.sop_class == "1.2.840.10008.5.1.4.1.1.2"
    assert study is not None
    assert (study.patient_name, study.patient_id, study.modality) == ("CompressedSamples^CT1", "1CT1", "CT")
    assert study.study_date == "20040119"


@pytest.mark.parametrize(
    "raw",
    [CT[132:], dataset_of(CT)],
    ids=["file meta without a preamble", "a bare dataset"],
)
def test_a_file_without_its_envelope_is_still_the_same_instance(raw: bytes) -> None:
    file, study = looked(raw)

    assert file.state is FileState.DICOM
    assert (file.sop_uid, file.transfer_syntax) == (looked(CT)[0].sop_uid, looked(CT)[0].transfer_syntax)
    assert study == looked(CT)[1]


@pytest.mark.parametrize("raw", [b"", b"MZ\x90\0" * 50, b"%PDF-1.4\n" * 40, b"\x08\0\x08\0" + b"x" * 200, b"\x02\0"])
def test_what_is_no_dicom_is_left_alone(raw: bytes) -> None:
    assert looked(raw)[0].state in (FileState.OTHER, FileState.DAMAGED)
    assert looked(raw)[0].sop_uid is None


def test_a_file_that_breaks_off_in_its_pixels_still_belongs_to_its_study() -> None:
    file, study = looked(CT[:-20_000])

    assert file.state is FileState.DAMAGED
    assert (file.study_uid, file.sop_uid) == (looked(CT)[0].study_uid, looked(CT)[0].sop_uid)
    assert file.reason
    assert study is not None
    assert study.patient_id == "1CT1"


def test_a_file_that_breaks_off_in_its_header_still_belongs_to_its_study() -> None:
    file, study = looked(CT[:5000])

    assert (file.state, file.sop_uid) == (FileState.DAMAGED, looked(CT)[0].sop_uid)
    assert study is not None
    assert study.patient_id is None


def test_a_file_that_breaks_off_before_its_identity_is_damaged_and_nobodys() -> None:
    file, study = looked(CT[:400])

    assert (file.state, file.sop_uid, study) == (FileState.DAMAGED, None, None)


def test_a_directory_is_no_instance() -> None:
    assert looked((FOLDER / "dicomdirtests" / "DICOMDIR").read_bytes())[0].state is FileState.DIRECTORY


@pytest.mark.parametrize("name", ["DICOMDIR", "DICOMDIR-reordered", "DICOMDIR-bigEnd", "DICOMDIR-implicit"])
def test_a_directory_names_each_file_with_its_place_in_the_study(name: str) -> None:
    found = promised(FOLDER / "dicomdirtests" / name)

    assert len(found) == 31
    assert len({one.sop_uid for one in found}) == 31
    assert all(one.path.is_file() for one in found)


def test_a_directory_that_is_none_is_told() -> None:
    with pytest.raises(UnreadableDirectory):
        promised(FOLDER / "dicomdirtests" / "README.txt")


def test_a_directory_whose_offsets_are_no_numbers_is_told(tmp_path: Path) -> None:
    sound = (FOLDER / "dicomdirtests" / "DICOMDIR").read_bytes()
    offset = b"\x04\0\0\x14"
    assert offset + b"UL" in sound
    (tmp_path / "DICOMDIR").write_bytes(sound.replace(offset + b"UL", offset + b"DS"))

    with pytest.raises(UnreadableDirectory):
        promised(tmp_path / "DICOMDIR")


def test_text_without_a_declared_character_set_is_read_in_the_sources() -> None:
    raw = CT.replace(b"CompressedSamples^CT1 ", "Müller^Änne         ".encode()[:22]).replace(
        b"\x08\0\x05\0CS", b"\x08\0\x01\0CS"
    )

    _, study = looked(raw, "ISO_IR 192")

    assert study is not None
    assert study.patient_name is not None
    assert study.patient_name.startswith("Müller^Änne")
