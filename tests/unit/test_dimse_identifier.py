"""Identifiers: questions as archives want them, answers read whatever is wrong with them."""

from io import BytesIO

import pytest
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset

from actors.dimse.find import find_end
from actors.dimse.identifier import Identifier, encode_identifier
from actors.dimse.move import move_keys
from actors.dimse.negotiation import EXPLICIT_LE, IMPLICIT_LE
from actors.dimse.store import MOST_CONTEXTS, StoredAs, StoreEnd, batches, classify
from actors.source import FindEnd, MoveTarget
from imaging.errors import MalformedDataset
from imaging.uid import Uid

STUDY, SERIES = Uid("1.2.3"), Uid("1.2.3.4")


def element(tag: tuple[int, int], vr: bytes, value: bytes) -> bytes:
    group, number = tag
    return b"".join(
        (group.to_bytes(2, "little"), number.to_bytes(2, "little"), vr, len(value).to_bytes(2, "little"), value)
    )


def answer(*elements: bytes, charset: str = "ISO_IR 100") -> Identifier:
    return Identifier(b"".join(elements), EXPLICIT_LE, charset)


@pytest.mark.parametrize("syntax", [EXPLICIT_LE, IMPLICIT_LE])
def test_a_question_reads_as_it_was_asked(syntax: str) -> None:
    octets = encode_identifier({"PatientName": "M\u00fcl*", "StudyInstanceUID": "", "StudyDate": "19990101-"}, syntax)

    read: Dataset = read_dataset(BytesIO(octets), syntax == IMPLICIT_LE, True)

    assert str(read.PatientName) == "M\u00fcl*"
    assert read.StudyInstanceUID == ""
    assert read.StudyDate == "19990101-"
    assert list(read.keys()) == sorted(read.keys())


def test_absent_is_not_empty() -> None:
    read = answer(element((0x0008, 0x0050), b"SH", b""))

    assert read.text("AccessionNumber") == ""
    assert read.text("ModalitiesInStudy") is None
    assert read.texts("ModalitiesInStudy") is None
    assert read.count("NumberOfStudyRelatedInstances") is None


@pytest.mark.parametrize(
    ("declared", "raw", "text"),
    [
        (b"", b"M\xfcller^Eva ", "M\u00fcller^Eva"),
        (b"ISO_IR 192", "M\u00fcller".encode(), "M\u00fcller"),
        (b"ISO_IR 144", b"\xb8\xd2\xd0\xdd", "\u0418\u0432\u0430\u043d"),
        (b"NO SUCH SET", b"M\xfcller", "M\u00fcller"),
        (b"ISO_IR 192", b"M\xfcller", "M\ufffdller"),
        (b"\\ISO 2022 IR 87", b"Yamada=\x1b$B;3ED\x1b(B", "Yamada=\u5c71\u7530"),
    ],
    ids=["undeclared", "utf-8", "cyrillic", "nonsense", "wrongly declared", "japanese"],
)
def test_text_is_read_in_the_answers_own_character_set(declared: bytes, raw: bytes, text: str) -> None:
    charset = element((0x0008, 0x0005), b"CS", declared) if declared else b""

    read = answer(charset, element((0x0010, 0x0010), b"PN", raw))

    assert read.text("PatientName") == text


def test_undeclared_text_is_read_as_the_profile_says() -> None:
    read = answer(element((0x0010, 0x0010), b"PN", b"\xb8\xd2\xd0\xdd"), charset="ISO_IR 144")

    assert read.text("PatientName") == "\u0418\u0432\u0430\u043d"


def test_numbers_and_uids_that_are_none_become_nothing() -> None:
    read = answer(
        element((0x0020, 0x000D), b"UI", b"../../etc/passwd"),
        element((0x0020, 0x1206), b"IS", b"-3"),
        element((0x0020, 0x1208), b"IS", b" 12 "),
    )

    assert read.uid("StudyInstanceUID") is None
    assert read.count("NumberOfStudyRelatedSeries") is None
    assert read.count("NumberOfStudyRelatedInstances") == 12


def test_bytes_that_are_no_dataset_are_refused() -> None:
    with pytest.raises(MalformedDataset):
        answer(b"\x08\0\x05\0CS\xff\xff..")


@pytest.mark.parametrize(
    ("target", "keys"),
    [
        (MoveTarget(study_uid=STUDY), {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "1.2.3"}),
        (
            MoveTarget(study_uid=STUDY, series_uid=SERIES),
            {"QueryRetrieveLevel": "SERIES", "StudyInstanceUID": "1.2.3", "SeriesInstanceUID": "1.2.3.4"},
        ),
        (
            MoveTarget(study_uid=STUDY, series_uid=SERIES, sop_uids=(Uid("1.5"), Uid("1.6"))),
            {
                "QueryRetrieveLevel": "IMAGE",
                "StudyInstanceUID": "1.2.3",
                "SeriesInstanceUID": "1.2.3.4",
                "SOPInstanceUID": "1.5\\1.6",
            },
        ),
    ],
)
def test_a_retrieve_names_the_unique_keys_of_its_level_and_nothing_else(
    target: MoveTarget, keys: dict[str, str]
) -> None:
    assert move_keys(target) == keys


@pytest.mark.parametrize(
    ("status", "end"),
    [
        (0x0000, FindEnd.SUCCESS),
        (0xFE00, FindEnd.CANCELLED),
        (0xA700, FindEnd.REFUSED),
        (0xA900, FindEnd.FAILED),
        (0xC001, FindEnd.FAILED),
        (None, FindEnd.LOST),
    ],
)
def test_final_find_statuses_have_their_meaning(status: int | None, end: FindEnd) -> None:
    assert find_end(status) is end


@pytest.mark.parametrize(
    ("status", "end"),
    [
        (0x0000, StoreEnd.STORED),
        (0xB000, StoreEnd.COERCED),
        (0xB006, StoreEnd.COERCED),
        (0x0111, StoreEnd.DUPLICATE),
        (0xA700, StoreEnd.BUSY),
        (0xA900, StoreEnd.REFUSED),
        (0xC123, StoreEnd.REFUSED),
        (0x0122, StoreEnd.REFUSED),
        (None, StoreEnd.UNKNOWN),
    ],
)
def test_store_statuses_have_their_meaning(status: int | None, end: StoreEnd) -> None:
    assert classify(status) is end


def test_contexts_are_split_over_associations_without_repeats() -> None:
    pairs = [StoredAs(f"1.2.{n}", EXPLICIT_LE) for n in range(300)]

    groups = batches(pairs + pairs)

    assert [len(group) for group in groups] == [MOST_CONTEXTS, MOST_CONTEXTS, 44]
    assert {pair for group in groups for pair in group} == set(pairs)
