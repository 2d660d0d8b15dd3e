"""The Part-10 envelope: what we write, pydicom reads; what we read is checked."""

import io
import struct

import pydicom
import pytest

from imaging.errors import MalformedDataset
from imaging.octets import MemoryOctets
from imaging.part10 import encode_meta, split_part10
from imaging.uid import InvalidUid

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"


def test_pydicom_reads_the_meta_we_write() -> None:
    meta = pydicom.dcmread(io.BytesIO(encode_meta(CT, "1.2.34", EXPLICIT))).file_meta

    assert (meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID) == (CT, "1.2.34")
    assert meta.TransferSyntaxUID == EXPLICIT
    assert meta.FileMetaInformationGroupLength == len(encode_meta(CT, "1.2.34", EXPLICIT)) - 144
    assert meta.ImplementationVersionName == "LIMOSA"
    pydicom.dataset.validate_file_meta(meta)


def test_what_was_encoded_is_split_again() -> None:
    head = encode_meta(CT, "1.2.345", EXPLICIT)

    envelope = split_part10(MemoryOctets(head + b"\x08\0\x05\0CS\0\0"))

    assert (envelope.sop_class, envelope.sop_uid, envelope.transfer_syntax) == (CT, "1.2.345", EXPLICIT)
    assert envelope.dataset_offset == len(head)


def test_names_that_are_none_are_left_out_of_the_meta() -> None:
    head = encode_meta(None, None, EXPLICIT)

    envelope = split_part10(MemoryOctets(head + b"\x08\0\x05\0CS\0\0"))

    assert (envelope.sop_class, envelope.sop_uid, envelope.transfer_syntax) == (None, None, EXPLICIT)
    assert envelope.dataset_offset == len(head)
    assert pydicom.dcmread(io.BytesIO(head)).file_meta.FileMetaInformationGroupLength == len(head) - 144


def test_a_wrong_group_length_does_not_move_the_dataset() -> None:
    head = bytearray(encode_meta(CT, "1.2.3", EXPLICIT))
    head[140:144] = struct.pack("<L", 7)

    assert split_part10(MemoryOctets(head)).dataset_offset == len(head)


@pytest.mark.parametrize("uid", ["", "../../etc/passwd", "1.2.3\n", "1." * 40000, "1.2.3\0\0.4", "1..2"])
def test_no_uid_but_a_real_one_enters_the_meta(uid: str) -> None:
    with pytest.raises(InvalidUid) as refusal:
        encode_meta(CT, uid, EXPLICIT)

    assert uid == "" or uid not in str(refusal.value)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        bytes(132),
        bytes(128) + b"DICM",
        encode_meta(CT, "1.2.3", EXPLICIT)[:200],
        encode_meta(CT, "1.2.3", EXPLICIT).replace(EXPLICIT.encode(), b"../../../etc/passwd"),
    ],
)
def test_what_is_no_whole_envelope_is_refused(content: bytes) -> None:
    with pytest.raises(MalformedDataset):
        split_part10(MemoryOctets(content))
