"""Writes the first inputs of each target into `corpus`: traffic and packs made here, datasets cut from pydicom's files.

python tests/fuzz/fuzz_seeds.py
"""

import io
import struct
import warnings
from collections.abc import Iterator
from pathlib import Path

import fuzz_association
import fuzz_conversation
import pydicom
from fuzz_pack import PACK
from pydicom.data import get_testdata_file

from actors.dimse.associate import Answer, AssociateAccept, AssociateRequest, Proposal, Rejection, Role
from actors.dimse.command import Tag, Verb, encode_command
from actors.dimse.identifier import encode_identifier
from actors.dimse.items import encode_accept, encode_rejection, encode_request
from actors.dimse.pdata import encode_message
from actors.dimse.wire import HEADER_SIZE, RELEASE_RP, RELEASE_RQ
from imaging.digests import raw1
from imaging.instance import describe
from imaging.octets import MemoryOctets
from imaging.part10 import encode_meta, split_part10
from imaging.syntaxes import EXPLICIT_LE, IMPLICIT_LE
from storage.packs.format import PackEncoder
from storage.packs.index import Index, serialise_index
from storage.packs.model import Container

HERE = Path(__file__).parent
LARGEST = 4096
"""Bytes of one seed: libFuzzer works on short inputs, and the corpus stays small."""
FILES = (
    "CT_small.dcm",
    "MR_small_bigendian.dcm",
    "MR_small_implicit.dcm",
    "reportsi.dcm",
    "rtplan.dcm",
    "SC_rgb_rle.dcm",
    "JPEG2000.dcm",
    "image_dfl.dcm",
    "nested_priv_SQ.dcm",
    "priv_SQ.dcm",
    "UN_sequence.dcm",
    "OT-PAL-8-face.dcm",
    "liver_nonbyte_aligned_1frame.dcm",
)
SYNTAX_SHAPES = {
    "1.2.840.10008.1.2": 0,
    "1.2.840.10008.1.2.1": 1,
    "1.2.840.10008.1.2.2": 2,
    "1.2.840.10008.1.2.1.99": 36,
}
Values = dict[int, int | bytes]

CT = "1.2.840.10008.5.1.4.1.1.2"


def message(values: Values, field: int, dataset: bytes | None, context: int = 1) -> bytes:
    octets = encode_command(field, {Tag.MESSAGE_ID: 1, **values}, dataset_type=0x0101 if dataset is None else 1)
    return b"".join(encode_message(context, octets, None if dataset is None else [dataset], 4096))


def association() -> Iterator[tuple[str, bytes]]:
    store = {Tag.AFFECTED_SOP_CLASS: CT.encode(), Tag.AFFECTED_SOP_INSTANCE: b"1.2.3"}
    one = message(store, Verb.C_STORE, bytes(300))
    echo = message({Tag.AFFECTED_SOP_CLASS: b"1.2.840.10008.1.1"}, Verb.C_ECHO, None, 3)
    find = message({Tag.AFFECTED_SOP_CLASS: b"1.2.840.10008.5.1.4.1.2.2.1"}, Verb.C_FIND, bytes(20), 5)
    for number, body in enumerate((one, one + one + RELEASE_RQ, echo + RELEASE_RQ, find + echo, one[:-40])):
        for shape in (16, 17, 20):
            yield f"traffic-{number}-{shape}", bytes((shape,)) + body
    yield "whole", b"\0" + fuzz_association.REQUEST + one + RELEASE_RQ
    yield "no-room", b"\x30" + b"".join(message(store, Verb.C_STORE, bytes(40_000))[:3000] for _ in range(1))
    for number, body in enumerate((bytes(range(64)), b"\2\0\3\1\5\5\1" * 9, b"\4\0\2\7\1\2\3\20\5\1\0" * 5)):
        yield f"script-{number}", b"\x18" + body
        yield f"script-refused-{number}", b"\x7b" + body


def conversation() -> Iterator[tuple[str, bytes]]:
    answer = encode_identifier({"StudyInstanceUID": "1.2.3", "PatientName": "A^B"}, IMPLICIT_LE)

    def said(
        field: int, status: int, dataset: bytes | None = None, more: dict[int, int | bytes] | None = None
    ) -> bytes:
        return message({Tag.RESPONDED_TO: 1, Tag.STATUS: status, **(more or {})}, field | 0x8000, dataset)

    find = said(Verb.C_FIND, 0xFF00, answer)
    counts: Values = {Tag.REMAINING: 1, Tag.COMPLETED: 1, Tag.FAILED: 0, Tag.WARNING: 0}
    failed = encode_identifier({"FailedSOPInstanceUIDList": "1.2.3"}, IMPLICIT_LE)
    yield "find", b"\x10" + find * 3 + said(Verb.C_FIND, 0) + RELEASE_RP
    yield "find-endless", b"\x10" + find * 25
    yield "find-cut", b"\x16" + find * 2
    yield "find-refused", b"\x10" + said(Verb.C_FIND, 0xA700)
    yield "move", b"\x30" + said(Verb.C_MOVE, 0xFF00, None, counts) + said(Verb.C_MOVE, 0, None, counts)
    yield "move-partial", b"\x30" + said(Verb.C_MOVE, 0xB000, failed, counts)
    yield "move-endless", b"\x30" + said(Verb.C_MOVE, 0xFF00, None, counts) * 25
    yield "store", b"\x50" + said(Verb.C_STORE, 0) + RELEASE_RP
    yield "store-pending", b"\x50" + said(Verb.C_STORE, 0xFF00)
    sent = message({Tag.MESSAGE_ID: 1, Tag.AFFECTED_SOP_INSTANCE: b"1.2.3.4"}, Verb.C_STORE, bytes(64), context=3)
    yield "get", b"\x70" + sent + said(Verb.C_GET, 0xFF00, None, counts) + sent + said(Verb.C_GET, 0, None, counts)
    yield "get-endless", b"\x70" + sent * 25
    yield "get-between", b"\x70" + sent[:-20] + said(Verb.C_GET, 0, None, counts)
    yield "rejected", b"\0" + encode_rejection(Rejection(result=1, source=1, reason=3))
    yield "accepted", b"\0" + fuzz_conversation.ACCEPT
    yield "script", b"\x18" + b"\2\3\1\1\1\1" * 6
    yield "script-move", b"\x38" + b"\2\5\11\1\1\1\1\2\3" * 6


def negotiation() -> Iterator[tuple[str, bytes]]:
    proposals = tuple(
        Proposal(
            context=2 * n + 1,
            abstract_syntax=f"1.2.840.10008.5.1.4.1.1.{n}",
            transfer_syntaxes=(IMPLICIT_LE, EXPLICIT_LE),
        )
        for n in range(4)
    )
    role = Role(sop_class=CT, scu=1, scp=1)
    asked = AssociateRequest(called_ae="A", calling_ae="B", proposals=proposals, roles=(role,))
    body = encode_request(asked)[HEADER_SIZE:]
    yield "request", b"\0" + body
    extra = b"\x53\0\0\4\0\5\0\5" + b"\x56\0\0\6\0\2" + b"1.23" + b"\x58\0\0\x0a\1\1\0\2me\0\2pw"
    at = body.rindex(b"\x50\0", 0)
    length = int.from_bytes(body[at + 2 : at + 4], "big") + len(extra)
    yield "request-extras", b"\0" + body[:at] + b"\x50\0" + length.to_bytes(2, "big") + body[at + 4 :] + extra
    answers = tuple(Answer(context=2 * n + 1, result=n, transfer_syntax=IMPLICIT_LE) for n in range(4))
    accept = AssociateAccept(called_ae="A", calling_ae="B", answers=answers, asynchronous=True, roles=(role,))
    yield "accept", b"\1" + encode_accept(accept)[HEADER_SIZE:]
    yield "rejection", b"\2" + encode_rejection(Rejection(result=1, source=1, reason=7))[HEADER_SIZE:]
    values: Values = {
        Tag.MESSAGE_ID: 7,
        Tag.AFFECTED_SOP_CLASS: CT.encode(),
        Tag.MOVE_ORIGINATOR: b"PACS",
    }
    yield "command", b"\3" + encode_command(Verb.C_STORE, values, dataset_type=1)


def identifier() -> Iterator[tuple[str, bytes]]:
    keys = {
        "StudyInstanceUID": "1.2.3",
        "PatientName": "Müller^Eva",
        "StudyDate": "20200101",
        "ModalitiesInStudy": "CT\\SR",
        "NumberOfStudyRelatedInstances": "12",
    }
    yield "implicit", b"\1" + encode_identifier(keys, IMPLICIT_LE)
    yield "explicit", b"\x11" + encode_identifier(keys, EXPLICIT_LE)
    yield "japanese", b"\x0b\\ISO 2022 IR 87\n1.2.3\n\n\n\nYamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B"
    yield "latin", b"\x19ISO_IR 100\n1.2\n2020\n12\nA1\nM\xfcller\nID"


def dataset() -> Iterator[tuple[str, bytes]]:
    for name in FILES:
        path = get_testdata_file(name)
        if not isinstance(path, str):
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read = pydicom.dcmread(path, force=True)
            read.file_meta.setdefault("TransferSyntaxUID", EXPLICIT_LE)
            if "PixelData" in read and not read.file_meta.TransferSyntaxUID.is_compressed:
                read.Rows, read.Columns, read.PixelData = 4, 4, bytes(32)
                read["PixelData"].VR = "OW"
            for element in [one for one in read if one.VR in ("OB", "OW", "UN") and one.tag != 0x7FE00010]:
                if isinstance(element.value, bytes) and len(element.value) > 64:
                    element.value = element.value[:32]
            stream = io.BytesIO()
            read.file_meta.MediaStorageSOPClassUID = read.get("SOPClassUID", CT)
            read.file_meta.MediaStorageSOPInstanceUID = read.get("SOPInstanceUID", "1.2.3")
            read.save_as(stream, enforce_file_format=True)
        content = stream.getvalue()
        envelope = split_part10(MemoryOctets(content))
        body = content[envelope.dataset_offset :]
        if len(body) < LARGEST:
            yield name.removesuffix(".dcm"), bytes((SYNTAX_SHAPES.get(envelope.transfer_syntax, 3),)) + body
    sequence = struct.pack("<HH2sHL", 8, 0x1115, b"SQ", 0, 0xFFFFFFFF)
    item, end = b"\xfe\xff\x00\xe0" + b"\xff" * 4, b"\xfe\xff\x0d\xe0" + bytes(4)
    stop = b"\xfe\xff\xdd\xe0" + bytes(4)
    yield "nested", b"\x11" + (sequence + item) * 6 + (end + stop) * 6
    yield (
        "private",
        b"\x11\x09\0\x10\0LO\4\0ACME\x09\0\1\x10UN\0\0\x08\0\0\0\xfe\xff\x00\xe0" + bytes(4),
    )
    pixels = struct.pack("<HH2sHL", 0x7FE0, 0x10, b"OB", 0, 0xFFFFFFFF) + b"\xfe\xff\x00\xe0" + bytes(4)
    yield "fragments", b"\x0b" + pixels + b"\xfe\xff\x00\xe0\4\0\0\0\xff\xd8\xff\xd9" + stop
    yield "deflated", b"\x0c" + b"\x10\0\x10\0PN\4\0A^B "


def splices() -> Iterator[tuple[str, bytes]]:
    """Two edits in front of each dataset."""
    for name, octets in dataset():
        yield name, octets[:1] + b"\2\3\5ID 12\x44" + octets[1:]


def packs() -> Iterator[tuple[str, bytes]]:
    files = []
    for number in range(2):
        identity = {
            "SOPClassUID": CT,
            "SOPInstanceUID": f"1.2.3.{number}",
            "StudyInstanceUID": str(PACK.study_uid),
            "SeriesInstanceUID": "1.2.3.9",
        }
        meta = encode_meta(CT, identity["SOPInstanceUID"], EXPLICIT_LE)
        content = MemoryOctets(meta + encode_identifier(identity, EXPLICIT_LE))
        files.append((describe(content, len(meta), EXPLICIT_LE, raw1(content, len(meta), EXPLICIT_LE)), content))
    for container, whole, inside in ((Container.TAR, 2, 4), (Container.TAR_ZST, 3, 5)):
        encoder = PackEncoder(PACK, container)
        octets = b"".join(bytes(piece) for facts, content in files for piece in encoder.add(facts, content))
        body = octets
        lines = serialise_index(Index(pack=PACK, container=container, members=tuple(encoder.members)))
        octets += b"".join(map(bytes, encoder.finish()))
        yield f"{container.value}", bytes((whole,)) + octets
        kept = lines.splitlines()[:-1]
        yield f"{container.value}-inside", bytes((inside,)) + len(body).to_bytes(2, "little") + body + b"\n".join(kept)
        yield f"{container.value}-index", b"\0" + lines
        yield f"{container.value}-lines", b"\1" + b"\n".join(kept)


def hl7() -> Iterator[tuple[str, bytes]]:
    head = "MSH|^~\\&|HIS|NORTH|PACS|NORTH|20240102030405||ADT^{0}|7|P|2.5||||||{1}\rEVN|{0}|20240102\r"
    merge = "PID|1||22^^^NORTH^MR||DOE^JANE||19700101|F\rMRG|11^^^NORTH^MR~8^^^MPI\rPV1|1|I\r"
    for number, trigger in enumerate(("A40", "A18", "A43", "A24", "A31", "A45")):
        yield trigger, bytes((number * 4,)) + (head.format(trigger, "") + merge).encode()
    latin = (head.format("A40", "8859/1~ISO IR87") + merge).replace("DOE", "D\u00d6E")
    yield "charset", b"\1" + latin.encode("latin-1")
    two = head.format("A40", "UNICODE UTF-8") + merge
    yield "batch", b"\2" + f"FHS|^~\\&\rBHS|^~\\&\r{two}{two}BTS|2\rFTS|1\r".encode()
    yield "framed", b"\x0c" + b"\x0b" + two.replace("\r", "\r\n").encode() + b"\x1c\r\x0b" + two[:90].encode()
    yield "escapes", b"\0" + two.replace("JANE", "J\\F\\A\\X4E\\\\E\\\\.br\\").encode()


def main() -> None:
    for target, seeds in {
        "association": association(),
        "conversation": conversation(),
        "negotiation": negotiation(),
        "identifier": identifier(),
        "dataset": dataset(),
        "splice": splices(),
        "pack": packs(),
        "hl7": hl7(),
    }.items():
        folder = HERE / "corpus" / target
        folder.mkdir(parents=True, exist_ok=True)
        for name, octets in seeds:
            (folder / name).write_bytes(octets[: 2 * LARGEST])


if __name__ == "__main__":
    main()
