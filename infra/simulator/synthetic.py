"""A made-up hospital: the same for a seed, studies of many makers and ages, bytes made when they are asked for."""

import hashlib
import random
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from pydicom.charset import convert_encodings
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.tag import Tag

from infra.simulator import attributes as at
from infra.simulator.archive import Archive, Instance
from infra.simulator.content import MadeContent
from infra.simulator.kinds import ADDED_KINDS, BIG_ENDIAN, DEFLATED, IMAGE_KINDS, IMPLICIT, Kind, Reference
from infra.simulator.patients import Header, study_header


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """One instance before it has bytes."""

    kind: Kind
    syntax: str
    reference: Reference
    series_number: int
    number: int


def synthetic_archive(
    *, studies: int = 20, seed: int = 7, instances: int = 4, side: int = 24, modalities: Sequence[str] = ()
) -> Archive:
    """`studies` studies with up to `instances` images a series of `side` x `side` pixels.

    Equal arguments make equal archives, to the byte. `modalities` keeps the kinds of image series to those named.
    About one study in four also has a report, a presentation state, key objects or a document.

    Raises
    ------
    ValueError
        No kind of image has any of the modalities.
    """
    kinds = tuple(kind for kind in IMAGE_KINDS if not modalities or kind.modality in modalities)
    if not kinds:
        raise ValueError(f"no synthetic images of {', '.join(modalities)}")
    return Archive(
        instance for number in range(studies) for instance in _study(seed, number, studies, kinds, instances, side)
    )


def _study(
    seed: int, number: int, studies: int, kinds: Sequence[Kind], instances: int, side: int
) -> Sequence[Instance]:
    chance = random.Random(f"layout {seed} {number}")  # noqa: S311 - repeatable on purpose
    header = study_header(seed, number, studies)
    study_uid = _uid(seed, number)
    plans: list[_Plan] = []
    first = kinds[number % len(kinds)]
    series = [first] * chance.choice((1, 1, 2, 3))
    if number % 4 == 1:
        series.append(ADDED_KINDS[number // 4 % len(ADDED_KINDS)])
    for index, kind in enumerate(series):
        series_uid = _uid(seed, number, index)
        syntax = kind.syntaxes[(number // len(kinds) + index) % len(kind.syntaxes)]
        for place in range(1 if kind.single else chance.randint(1, max(1, instances))):
            reference = Reference(
                sop_class=kind.sop_class,
                sop_uid=_uid(seed, number, index, place),
                series_uid=series_uid,
                study_uid=study_uid,
            )
            plans.append(
                _Plan(kind=kind, syntax=syntax, reference=reference, series_number=index + 1, number=place + 1)
            )
    images = tuple(plan.reference for plan in plans if not plan.kind.single)
    return [_instance(plan, header, images, side) for plan in plans]


def _uid(*path: int) -> str:
    """A UID under the root for UUIDs (PS3.5 section B.2), the same for a path."""
    digest = hashlib.blake2b(repr(path).encode(), digest_size=16).digest()
    return f"2.25.{int.from_bytes(digest, 'big')}"


def _instance(plan: _Plan, header: Header, images: tuple[Reference, ...], side: int) -> Instance:
    values = {
        **header.values,
        "SpecificCharacterSet": header.charset.encode(),
        "Modality": plan.kind.modality.encode(),
        "SeriesNumber": str(plan.series_number).encode(),
        "SeriesDescription": f"{plan.kind.name} series {plan.series_number}".encode(),
        "InstanceNumber": str(plan.number).encode(),
        "SOPClassUID": plan.reference.sop_class.encode(),
        "SOPInstanceUID": plan.reference.sop_uid.encode(),
        "StudyInstanceUID": plan.reference.study_uid.encode(),
        "SeriesInstanceUID": plan.reference.series_uid.encode(),
    }
    if not header.charset:
        del values["SpecificCharacterSet"]
    attributes = {at.tag_of(keyword): value for keyword, value in values.items()}
    return Instance(
        study_uid=plan.reference.study_uid,
        series_uid=plan.reference.series_uid,
        sop_uid=plan.reference.sop_uid,
        sop_class=plan.reference.sop_class,
        transfer_syntax=plan.syntax,
        attributes=attributes,
        content=MadeContent(partial(_dataset_bytes, plan, attributes, images, side)),
        name=plan.kind.name,
    )


def _dataset_bytes(plan: _Plan, attributes: dict[int, bytes], images: Sequence[Reference], side: int) -> bytes:
    dataset = Dataset()
    vendor = plan.kind.vendor
    dataset.Manufacturer, dataset.ManufacturerModelName = vendor.manufacturer, vendor.model
    dataset.SoftwareVersions, dataset.DeviceSerialNumber = vendor.software, "TEST0001"
    vendor.add_private(dataset, plan.number)
    plan.kind.fill(dataset, plan.syntax, plan.number, side, images)
    for tag, value in attributes.items():
        vr = dictionary_VR(tag)
        padded = value + (b"\0" if vr == "UI" else b" ") * (len(value) % 2)
        dataset[tag] = RawDataElement(Tag(tag), vr, len(padded), padded, 0, plan.syntax == IMPLICIT, True)
    buffer = DicomBytesIO()
    buffer.is_implicit_VR = plan.syntax == IMPLICIT
    buffer.is_little_endian = plan.syntax != BIG_ENDIAN
    # Declared as read like this, pydicom writes our encoded text as it is instead of decoding it first.
    declared = dataset.get("SpecificCharacterSet")
    charset = convert_encodings(declared) if declared else None
    dataset.set_original_encoding(buffer.is_implicit_VR, buffer.is_little_endian, charset)
    write_dataset(buffer, dataset)
    octets = buffer.getvalue()
    if plan.syntax == DEFLATED:
        packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        octets = packer.compress(octets) + packer.flush()
        octets += b"\0" * (len(octets) % 2)
    return octets
