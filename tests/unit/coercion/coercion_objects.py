"""A small dataset, and what rules make of it."""

import io
from datetime import UTC, datetime
from typing import Any

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from imaging.coercion.apply import Coerced, coerce
from imaging.coercion.decisions import Decisions
from imaging.coercion.rules import Action, Rule, RuleSet
from imaging.digests import raw1
from imaging.instance import Instance, identify
from imaging.octets import MemoryOctets, chunks
from imaging.part10 import split_part10

MOMENT = datetime(2026, 11, 24, 14, 5, tzinfo=UTC)


def dataset(**values: Any) -> Dataset:
    made = Dataset()
    made.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    made.StudyInstanceUID, made.SeriesInstanceUID, made.SOPInstanceUID = "1.2.1", "1.2.2", "1.2.3"
    made.Modality, made.Manufacturer = "CT", "Example Medical"
    made.Rows = made.Columns = 2
    made.SamplesPerPixel, made.BitsAllocated, made.BitsStored, made.HighBit = 1, 8, 8, 7
    made.PixelRepresentation, made.PhotometricInterpretation = 0, "MONOCHROME2"
    made.add_new(0x7FE00010, "OB", b"1234")
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


def written(made: Dataset, syntax: str = ExplicitVRLittleEndian) -> bytes:
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = syntax
    buffer = io.BytesIO()
    pydicom.dcmwrite(
        buffer,
        made,
        implicit_vr=syntax == ImplicitVRLittleEndian,
        little_endian=syntax != ExplicitVRBigEndian,
        enforce_file_format=True,
    )
    return buffer.getvalue()


def instance_of(octets: MemoryOctets) -> Instance:
    envelope = split_part10(octets)
    received = raw1(octets, envelope.dataset_offset, envelope.transfer_syntax)
    return identify(octets, envelope.dataset_offset, envelope.transfer_syntax, received)


def outcome(part10: bytes, rules: RuleSet, source: str = "source") -> Coerced:
    return coerce(instance_of(MemoryOctets(part10)), Decisions(rules, source=source, moment=MOMENT))


def file_of(coerced: Coerced) -> bytes:
    return b"".join(chunks(coerced.part10, 0, coerced.part10.size))


def read(part10: bytes) -> Dataset:
    return pydicom.dcmread(io.BytesIO(part10))


def rule(*actions: Action, **changes: Any) -> Rule:
    return Rule(**{"name": "rule", "version": 1, "actions": actions} | changes)


def after(made: Dataset, *actions: Action, **changes: Any) -> Dataset:
    return read(file_of(outcome(written(made), RuleSet(rules=(rule(*actions, **changes),)))))
