"""CT images of a study in the making, as scanners and archives write them, and what is read of them."""

import io
import struct
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from imaging.dose.context import context_of
from imaging.dose.reading import read_dose
from imaging.dose.records import InstanceDose, StudyDose
from imaging.dose.report import build_report
from imaging.dose.study import gather
from imaging.header import Header, read_header
from imaging.octets import MemoryOctets
from imaging.part10 import split_part10

CT = "1.2.840.10008.5.1.4.1.1.2"
MOMENT = datetime(2026, 11, 24, 14, 5, tzinfo=UTC)
TOSHIBA, ELSCINT, GE = "TOSHIBA_MEC_CT3", "ELSCINT1", "GEMS_PARM_01"


def image(number: int = 1, series: str = "1", **values: Any) -> Dataset:
    """One CT slice of a study in the making."""
    made = Dataset()
    made.SOPClassUID, made.StudyInstanceUID = CT, "1.2.3"
    made.SeriesInstanceUID, made.SOPInstanceUID = f"1.2.3.{series}", f"1.2.3.{series}.{number}"
    made.Modality, made.Manufacturer, made.ManufacturerModelName = "CT", "TOSHIBA", "Aquilion"
    made.DeviceSerialNumber, made.SoftwareVersions = "4711", "V1"
    made.ImageType, made.BodyPartExamined = ["ORIGINAL", "PRIMARY", "AXIAL"], "CHEST"
    made.PatientName, made.PatientID, made.PatientBirthDate, made.PatientSex = "Doe^Jane", "7", "19700101", "F"
    made.StudyDate, made.StudyTime, made.AccessionNumber, made.StudyID = "20200102", "090000", "A1", "1"
    made.AcquisitionNumber, made.AcquisitionDate = "2", "20200102"
    made.AcquisitionTime, made.KVP, made.XRayTubeCurrent = f"0910{number:02d}", "120", "200"
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


def toshiba(number: int = 1, series: str = "1", **values: Any) -> Dataset:
    made = image(number, series, **values)
    block = made.private_block(0x7005, TOSHIBA, create=True)
    # As an archive that does not know the block hands it on.
    block.add_new(0x63, "UN", struct.pack("<d", 18.700000762939453))
    block.add_new(0x40, "FD", 612.2999877929688)
    block.add_new(0x08, "DS", "0.5")
    block.add_new(0x09, "LO", "0" * 8 + "1" * 64 + "0" * 8)
    block.add_new(0x23, "DS", "0.828")
    return made


def philips_info(**values: Any) -> Dataset:
    made = image(1, "99", Manufacturer="Philips", SeriesDescription="Dose Info", **values)
    made.ImageType = ["DERIVED", "SECONDARY", "LOCALIZER"]
    made.private_block(0x00E1, ELSCINT, create=True).add_new(0x21, "DS", "745.31")
    surview, helix = Dataset(), Dataset()
    surview.private_block(0x01F1, ELSCINT, create=True).add_new(0x01, "CS", "SURVIEW")
    surview.CTDIvol = 0.13
    surview.private_block(0x00E1, ELSCINT, create=True).add_new(0x21, "DS", "6.51")
    helix.KVP, helix.CTDIvol, helix.XRayTubeCurrentInuA, helix.ScanLength = "120", 14.12, 250_500, "523"
    helix.SingleCollimationWidth, helix.TotalCollimationWidth, helix.SpiralPitchFactor = 0.625, 40.0, 0.984
    helix.private_block(0x01F1, ELSCINT, create=True).add_new(0x01, "CS", "HELIX")
    helix.private_block(0x00E1, ELSCINT, create=True).add_new(0x21, "DS", "738.80")
    helix.private_block(0x01E1, ELSCINT, create=True).add_new(0x26, "CS", "32 CM")
    made.ExposureDoseSequence = [surview, helix]
    return made


def item(**values: Any) -> Dataset:
    made = Dataset()
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


def enhanced(frames: Sequence[dict[str, Any]], **values: Any) -> Dataset:
    """An enhanced CT image; each frame with what it says by itself, as CT Exposure and its event's UID."""
    made = image(1, **{"SOPClassUID": CT + ".1", "ImageType": ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]} | values)
    del made.KVP, made.XRayTubeCurrent
    phantom = item(CodeValue="113691", CodingSchemeDesignator="DCM", CodeMeaning="IEC Body Dosimetry Phantom")
    made.SharedFunctionalGroupsSequence = [
        item(
            CTAcquisitionTypeSequence=[item(AcquisitionType="SPIRAL")],
            CTAcquisitionDetailsSequence=[
                item(RevolutionTime=0.5, SingleCollimationWidth=0.5, TotalCollimationWidth=32.0)
            ],
            CTTableDynamicsSequence=[item(SpiralPitchFactor=0.828)],
            CTXRayDetailsSequence=[item(KVP="120")],
        )
    ]
    made.PerFrameFunctionalGroupsSequence = [
        item(
            FrameContentSequence=[item(FrameAcquisitionDateTime=f"2020010209{number:02d}00.5")],
            CTExposureSequence=[
                item(CTDIPhantomTypeCodeSequence=[phantom], **{k: v for k, v in frame.items() if k != "event"})
            ],
            IrradiationEventIdentificationSequence=[item(IrradiationEventUID=frame.get("event", "1.9.1"))],
        )
        for number, frame in enumerate(frames)
    ]
    made.NumberOfFrames = len(frames)
    return made


def headered(made: Dataset, syntax: str = ExplicitVRLittleEndian) -> Header:
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
    return opened(buffer.getvalue())


def opened(part10: bytes) -> Header:
    octets = MemoryOctets(part10)
    envelope = split_part10(octets)
    return read_header(octets, envelope.dataset_offset, envelope.transfer_syntax)


def said(made: Dataset, syntax: str = ExplicitVRLittleEndian) -> InstanceDose:
    found = read_dose(headered(made, syntax))
    assert found is not None
    return found


def study(*made: Dataset) -> StudyDose:
    return gather([said(one) for one in made])


def reported(made: Sequence[Dataset], when: datetime = MOMENT) -> bytes:
    return build_report(study(*made), context_of(headered(made[0])), when)
