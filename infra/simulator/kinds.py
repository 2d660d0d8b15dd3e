"""The kinds of object a study is made of, as datasets: pixels, reports, documents, references."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pydicom
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels.encoders.base import RLELosslessEncoder
from pydicom.uid import UID

from infra.simulator import vendors
from infra.simulator.vendors import Vendor

IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
RLE = "1.2.840.10008.1.2.5"
JPEG = "1.2.840.10008.1.2.4.50"
JPEG_LS = "1.2.840.10008.1.2.4.80"
JPEG_2000 = "1.2.840.10008.1.2.4.90"

_PREPARED = {
    JPEG: "SC_rgb_jpeg_dcmtk.dcm",
    JPEG_LS: "MR_small_jpeg_ls_lossless.dcm",
    JPEG_2000: "MR_small_jp2klossless.dcm",
}
"""Samples of pydicom whose compressed frames are borrowed: nothing here can encode these syntaxes."""

_PIXEL_KEYWORDS = (
    "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "Rows", "Columns", "BitsAllocated",
    "BitsStored", "HighBit", "PixelRepresentation", "PixelData",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """Another instance of the same study, for objects that point at images."""

    sop_class: str
    sop_uid: str
    series_uid: str
    study_uid: str


Fill = Callable[[Dataset, str, int, int, Sequence[Reference]], None]
"""Adds what makes an instance its kind: dataset, transfer syntax, number in series, side in pixels, images."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One sort of series."""

    name: str
    modality: str
    sop_class: str
    vendor: Vendor
    syntaxes: tuple[str, ...]
    fill: Fill
    single: bool = False
    """One instance a series, however many the others have."""


def _grey(dataset: Dataset, syntax: str, number: int, side: int, _: Sequence[Reference]) -> None:
    if syntax in _PREPARED:
        _borrow(dataset, _PREPARED[syntax])
        return
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows = dataset.Columns = side
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    noise = random.Random(number).randbytes(side * side)  # noqa: S311 - repeatable on purpose
    values = [(place // side * 16 + number + (noise[place] & 7)) % 4096 for place in range(side * side)]
    order = "big" if syntax == BIG_ENDIAN else "little"
    _pixels(dataset, syntax, [b"".join(value.to_bytes(2, order) for value in values)], "OW")


def _ct(dataset: Dataset, syntax: str, number: int, side: int, images: Sequence[Reference]) -> None:
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.KVP, dataset.ExposureTime, dataset.XRayTubeCurrent = "120", "750", "210"
    dataset.SliceThickness = "1.25"
    _grey(dataset, syntax, number, side, images)


def _ultrasound(dataset: Dataset, syntax: str, number: int, side: int, _: Sequence[Reference]) -> None:
    frames = 3 + number % 3
    dataset.NumberOfFrames = frames
    dataset.FrameTime = "33.3"
    dataset.FrameIncrementPointer = 0x00181063
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PlanarConfiguration = 3, "RGB", 0
    dataset.Rows = dataset.Columns = side
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
    loop = [bytes((place + frame * 11 + number) % 200 for place in range(side * side * 3)) for frame in range(frames)]
    _pixels(dataset, syntax, loop, "OB")


def _colour(dataset: Dataset, syntax: str, number: int, side: int, images: Sequence[Reference]) -> None:
    if syntax in _PREPARED:
        _borrow(dataset, _PREPARED[syntax])
    else:
        _ultrasound(dataset, syntax, number, side, images)
        del dataset.FrameTime, dataset.FrameIncrementPointer


def _report(dataset: Dataset, _: str, number: int, __: int, images: Sequence[Reference]) -> None:
    dataset.CompletionFlag, dataset.VerificationFlag = "COMPLETE", "UNVERIFIED"
    dataset.ValueType, dataset.ContinuityOfContent = "CONTAINER", "SEPARATE"
    dataset.ConceptNameCodeSequence = [_code("18748-4", "LN", "Diagnostic Imaging Report")]
    finding = Dataset()
    finding.RelationshipType, finding.ValueType = "CONTAINS", "TEXT"
    finding.ConceptNameCodeSequence = [_code("121071", "DCM", "Finding")]
    finding.TextValue = f"Invented finding number {number}."
    dataset.ContentSequence = [finding]
    if images:
        dataset.CurrentRequestedProcedureEvidenceSequence = [_evidence(images)]


def _document(dataset: Dataset, _: str, number: int, __: int, ___: Sequence[Reference]) -> None:
    dataset.ConversionType, dataset.BurnedInAnnotation = "WSD", "YES"
    dataset.DocumentTitle, dataset.MIMETypeOfEncapsulatedDocument = "Invented letter", "application/pdf"
    text = b"%%PDF-1.4\n%% test letter %06d\n%%%%EOF\n" % number
    dataset.EncapsulatedDocument = text + b"\0" * (len(text) % 2)


def _presentation(dataset: Dataset, _: str, number: int, __: int, images: Sequence[Reference]) -> None:
    dataset.ContentLabel, dataset.ContentDescription, dataset.ContentCreatorName = "WINDOW", "", "READER^TEST"
    dataset.PresentationCreationDate, dataset.PresentationCreationTime = "20200101", "120000"
    dataset.PresentationLUTShape = "IDENTITY"
    dataset.ShutterShape, dataset.ShutterPresentationValue = "RECTANGULAR", 0
    dataset.ShutterLeftVerticalEdge, dataset.ShutterRightVerticalEdge = "1", str(20 + number)
    dataset.ShutterUpperHorizontalEdge, dataset.ShutterLowerHorizontalEdge = "1", "20"
    dataset.ReferencedSeriesSequence = [_series_of(images)] if images else []


def _key_objects(dataset: Dataset, _: str, __: int, ___: int, images: Sequence[Reference]) -> None:
    dataset.ReferencedPerformedProcedureStepSequence = []
    dataset.ValueType, dataset.ContinuityOfContent = "CONTAINER", "SEPARATE"
    dataset.ConceptNameCodeSequence = [_code("113000", "DCM", "Of Interest")]
    dataset.ContentSequence = []
    for image in images[:3]:
        item = Dataset()
        item.RelationshipType, item.ValueType = "CONTAINS", "IMAGE"
        item.ReferencedSOPSequence = [_sop(image)]
        dataset.ContentSequence.append(item)
    if images:
        dataset.CurrentRequestedProcedureEvidenceSequence = [_evidence(images)]


def _pixels(dataset: Dataset, syntax: str, frames: Sequence[bytes], vr: str) -> None:
    if syntax == RLE:
        settings = {
            "rows": dataset.Rows, "columns": dataset.Columns, "samples_per_pixel": dataset.SamplesPerPixel,
            "bits_allocated": dataset.BitsAllocated, "bits_stored": dataset.BitsStored,
            "pixel_representation": 0, "number_of_frames": 1,
            "photometric_interpretation": dataset.PhotometricInterpretation, "planar_configuration": 0,
        }  # fmt: skip
        packed = [RLELosslessEncoder.encode(frame, encoding_plugin="pydicom", **settings) for frame in frames]
        dataset.add_new(0x7FE00010, "OB", encapsulate(packed))
        dataset["PixelData"].is_undefined_length = True
        return
    octets = b"".join(frames)
    # Implicit VR has no OB for pixels (PS3.5 section A.1).
    dataset.add_new(0x7FE00010, "OW" if syntax == IMPLICIT else vr, octets + b"\0" * (len(octets) % 2))


def _borrow(dataset: Dataset, sample: str) -> None:
    path = get_testdata_file(sample)
    if not isinstance(path, str):
        raise FileNotFoundError(sample)
    borrowed = pydicom.dcmread(path)
    for keyword in _PIXEL_KEYWORDS:
        if keyword in borrowed:
            dataset[keyword] = borrowed[keyword]


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, scheme, meaning
    return code


def _sop(image: Reference) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = UID(image.sop_class), UID(image.sop_uid)
    return item


def _series_of(images: Sequence[Reference]) -> Dataset:
    first = images[0].series_uid
    series = Dataset()
    series.SeriesInstanceUID = UID(first)
    series.ReferencedImageSequence = [_sop(image) for image in images if image.series_uid == first]
    return series


def _evidence(images: Sequence[Reference]) -> Dataset:
    series = Dataset()
    series.SeriesInstanceUID = UID(images[0].series_uid)
    series.ReferencedSOPSequence = [_sop(image) for image in images if image.series_uid == images[0].series_uid]
    study = Dataset()
    study.StudyInstanceUID = UID(images[0].study_uid)
    study.ReferencedSeriesSequence = [series]
    return study


_STORAGE = "1.2.840.10008.5.1.4.1.1."
_ANY_GREY = (EXPLICIT, IMPLICIT, RLE, EXPLICIT, BIG_ENDIAN, JPEG_2000, JPEG_LS, DEFLATED)

IMAGE_KINDS = tuple(
    Kind(name=name, modality=modality, sop_class=_STORAGE + suffix, vendor=vendor, syntaxes=syntaxes, fill=fill)
    for name, modality, suffix, vendor, syntaxes, fill in (
        ("ct-ge", "CT", "2", vendors.GE, _ANY_GREY, _ct),
        ("mr-siemens", "MR", "4", vendors.SIEMENS, (EXPLICIT, JPEG_LS, JPEG_2000, IMPLICIT), _grey),
        ("ct-toshiba", "CT", "2", vendors.TOSHIBA, (EXPLICIT, BIG_ENDIAN, DEFLATED, RLE), _ct),
        ("us-philips", "US", "3.1", vendors.PHILIPS_US, (EXPLICIT, RLE, BIG_ENDIAN), _ultrasound),
        ("cr-agfa", "CR", "1", vendors.AGFA, (EXPLICIT, IMPLICIT, JPEG_2000), _grey),
        ("ct-philips", "CT", "2", vendors.PHILIPS, (EXPLICIT, IMPLICIT), _ct),
        ("mg-hologic", "MG", "1.2", vendors.HOLOGIC, (EXPLICIT, JPEG_2000), _grey),
        ("sc-colour", "OT", "7", vendors.WORKSTATION, (JPEG, EXPLICIT), _colour),
    )
)
ADDED_KINDS = tuple(
    Kind(
        name=name, modality=modality, sop_class=_STORAGE + suffix, vendor=vendors.WORKSTATION,
        syntaxes=syntaxes, fill=fill, single=True,
    )
    for name, modality, suffix, syntaxes, fill in (
        ("sr", "SR", "88.11", (EXPLICIT, IMPLICIT, DEFLATED), _report),
        ("pr", "PR", "11.1", (EXPLICIT,), _presentation),
        ("ko", "KO", "88.59", (EXPLICIT, IMPLICIT), _key_objects),
        ("pdf", "DOC", "104.1", (EXPLICIT,), _document),
    )
)  # fmt: skip
