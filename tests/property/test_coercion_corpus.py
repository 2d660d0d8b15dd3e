"""What must hold for every file that pydicom ships, whatever rules do: pixels stay, twice is once, no name is lost."""

import io
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import data_store
import pydicom
import pytest
from pydicom.data import get_charset_files, get_testdata_files
from pydicom.dataset import Dataset

from imaging.canonical import can1
from imaging.coercion.apply import coerce
from imaging.coercion.attributes import attribute
from imaging.coercion.dataset import Dataset as Coercible
from imaging.coercion.decisions import Decisions
from imaging.coercion.errors import NotCoercible
from imaging.coercion.rules import (
    CopyPrivate,
    Fill,
    FromClass,
    Originals,
    Otherwise,
    Repair,
    Replace,
    Rule,
    RuleSet,
    Set,
    Utf8,
)
from imaging.coercion.utf8 import to_utf8
from imaging.digests import raw1
from imaging.errors import Refused
from imaging.header import Header, read_header
from imaging.instance import Instance, identify
from imaging.octets import MemoryOctets, chunks
from imaging.part10 import split_part10
from imaging.pixels import digest_pixels
from imaging.splice import splice

pytestmark = pytest.mark.filterwarnings("ignore")

LARGEST = 400_000
"""Bytes: larger files differ in their pixels, which the splice never reads."""
MOMENT = datetime(2026, 11, 24, 14, 5, tzinfo=UTC)
REPAIRED = ("StudyDate", "StudyTime", "PatientAge", "PatientBirthDate", "SeriesNumber", "BodyPartExamined", "KVP")
RULES = (
    Rule(
        name="repair",
        version=1,
        actions=tuple(Repair(tag=attribute(name), otherwise=Otherwise.EMPTY) for name in REPAIRED),
    ),
    Rule(name="fill", version=1, actions=(FromClass(), Fill(tag=attribute("StudyID")))),
    Rule(
        name="site",
        version=1,
        actions=(
            Set(tag=attribute("InstitutionName"), value="Klinik"),
            Replace(tag=attribute("PatientID"), pattern="^(?!N)", by="N"),
            CopyPrivate(tag=attribute("SpiralPitchFactor"), creator="GEMS_ACQU_01", group=0x0019, low=0x23, vr="DS"),
        ),
    ),
)
TO_UTF8 = Rule(name="utf8", version=1, actions=(Utf8(undeclared="ISO_IR 100"),))
STRICT = RuleSet(rules=(Rule(name="utf8", version=1, actions=(Utf8(),)),))


def corpus() -> list[Path]:
    roots = [Path(name) for name in (*get_testdata_files(), *get_charset_files())]
    roots += [path for path in Path(data_store.__file__).parent.rglob("*") if path.is_file()]
    found = {path.name: path for path in roots if path.is_file() and path.stat().st_size < LARGEST}
    return [path for _, path in sorted(found.items()) if instance_of(path.read_bytes()) is not None]


def instance_of(content: bytes) -> Instance | None:
    """None for what no mover would take in."""
    octets = MemoryOctets(content)
    try:
        envelope = split_part10(octets)
        received = raw1(octets, envelope.dataset_offset, envelope.transfer_syntax)
        found = identify(octets, envelope.dataset_offset, envelope.transfer_syntax, received)
        can1(found.reading.header)
    except Refused:
        return None
    return found


CORPUS = corpus()
CHARSETS = sorted(Path(name) for name in get_charset_files("*.dcm"))


def opened(content: bytes) -> Header:
    octets = MemoryOctets(content)
    envelope = split_part10(octets)
    return read_header(octets, envelope.dataset_offset, envelope.transfer_syntax)


def coerced(content: bytes, rules: RuleSet) -> bytes:
    instance = instance_of(content)
    assert instance is not None
    made = coerce(instance, Decisions(rules, source="source", moment=MOMENT))
    return b"".join(chunks(made.part10, 0, made.part10.size))


def spliced(content: bytes) -> bytes:
    octets = MemoryOctets(content)
    header = opened(content)
    charset = Coercible(header).charset
    found = to_utf8(header, (), charset)
    assert found is not None
    made = splice(header.octets, split_part10(octets).dataset_offset, header, found.edits)
    return b"".join(chunks(made, 0, made.size))


def texts(dataset: Dataset) -> Iterator[tuple[str, ...]]:
    """Every text of a dataset, items included, as pydicom decodes it."""
    dataset.decode()
    for element in dataset:
        if element.VR == "SQ":
            for number, item in enumerate(element.value):
                yield from ((str(element.tag), str(number), *rest) for rest in texts(item))
        elif element.VR in ("PN", "LO", "SH", "ST", "LT", "UC", "UT"):
            values = element.value if isinstance(element.value, pydicom.multival.MultiValue) else [element.value]
            yield (str(element.tag), *(str(value or "").rstrip("= ") for value in values))


def read(content: bytes) -> Dataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pydicom.dcmread(io.BytesIO(content), force=True)


def pixels(content: bytes) -> bytes | None:
    found = digest_pixels(opened(content))
    return found.pd1 if found else None


def test_the_corpus_is_really_there() -> None:
    assert len(CORPUS) > 120
    assert len(CHARSETS) > 15


@pytest.mark.parametrize("originals", list(Originals))
def test_pixels_stay_and_twice_is_once_for_every_file(originals: Originals) -> None:
    rules = RuleSet(rules=(*RULES, TO_UTF8), originals=originals)
    refused: list[str] = []

    for path in CORPUS:
        content = path.read_bytes()
        try:
            once = coerced(content, rules)
        except NotCoercible:
            refused.append(path.name)
            continue
        assert pixels(once) == pixels(content), path.name
        assert coerced(once, rules) == once, path.name

    assert len(refused) < 15, refused


@pytest.mark.parametrize("path", CHARSETS, ids=[path.name for path in CHARSETS])
def test_text_in_utf8_is_the_text_it_was(path: Path) -> None:
    content = path.read_bytes()

    # Some of these samples name no instance, so no mover would take them in; their text is converted all the same.
    converted = coerced(content, STRICT) if instance_of(content) else spliced(content)

    assert list(texts(read(converted))) == list(texts(read(content)))
    if not content.isascii():
        assert read(converted).SpecificCharacterSet == "ISO_IR 192"
    assert can1(opened(converted)) == can1(opened(content))


def test_conversion_to_utf8_keeps_what_every_header_says() -> None:
    told = 0

    for path in CORPUS:
        content = path.read_bytes()
        try:
            converted = coerced(content, STRICT)
        except NotCoercible as refusal:
            # Nothing is guessed: bytes outside the declared character set are told, not converted.
            assert "CHARSET_" in refusal.defect or "twice" in refusal.defect, path.name
            told += 1
            continue
        assert coerced(converted, STRICT) == converted, path.name
        assert can1(opened(converted)) == can1(opened(content)) or private_text(content), path.name

    assert told < 10


def private_text(content: bytes) -> bool:
    """CAN1 takes private values as bytes, so their text changes it."""
    return any(
        element.tag.is_private and element.VR in ("LO", "LT", "PN", "SH", "ST", "UT") for element in read(content)
    )


def test_undeclared_text_outside_ascii_is_caught_and_read_only_as_somebody_says() -> None:
    made = read(Path(CHARSETS[0]).read_bytes())
    made.PatientName = "X"
    del made.SpecificCharacterSet
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, made)
    content = buffer.getvalue().replace(b"PN\x02\x00X ", b"PN\x06\x00M\xfcller")

    with pytest.raises(NotCoercible) as refusal:
        coerced(content, STRICT)
    converted = coerced(content, RuleSet(rules=(TO_UTF8,)))

    assert "CHARSET_UNDECLARED" in refusal.value.defect
    assert str(read(converted).PatientName) == "Müller"
