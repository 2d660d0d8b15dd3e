"""A later revision takes the place of an earlier one at an Orthanc that keeps what it has; nothing else is touched."""

import io
import json
import zlib
from collections.abc import Iterator
from http.client import HTTPConnection
from types import SimpleNamespace
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from actors.destination_options import DimseOptions
from actors.destinations import open_destination
from imaging.facts import InstanceFacts
from imaging.instance import describe
from imaging.octets import MemoryOctets
from imaging.part10 import split_part10
from imaging.uid import Uid
from infra.simulator.peers import ORTHANC_WEB, OrthancPeer
from storage.errors import AlreadyThere
from storage.packs.model import Container, PackId
from storage.sinks.options import DicomwebOptions
from storage.sinks.protocol import Sink

pytestmark = [pytest.mark.peer("orthanc"), pytest.mark.filterwarnings("ignore")]

CT, SR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.88.11"
Made = tuple[InstanceFacts, bytes]


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OrthancPeer]:
    with OrthancPeer(tmp_path_factory.mktemp("orthanc"), **ORTHANC_WEB) as running:
        yield running


@pytest.fixture(params=["dicomweb", "dimse"])
def sink(request: pytest.FixtureRequest, orthanc: OrthancPeer) -> Sink:
    rule = {"name": "vna", "existing": "withdrawn", "orthanc": {"url": orthanc.rest_url}}
    if request.param == "dicomweb":
        return open_destination(DicomwebOptions.model_validate({"url": orthanc.web_url, **rule}))
    address = {"host": "127.0.0.1", "port": orthanc.port, "ae_title": orthanc.ae, "dicomweb": {"url": orthanc.web_url}}
    return open_destination(DimseOptions.model_validate(address | rule))


def instance(study: str, number: int, patient: str, sop_class: str = CT, pixels: bytes = b"\x01\x02\x03\x04") -> Made:
    made = Dataset()
    made.SOPClassUID, made.StudyInstanceUID = sop_class, study
    made.SeriesInstanceUID, made.SOPInstanceUID = f"{study}.1", f"{study}.1.{number}"
    made.PatientID, made.PatientName, made.Modality = patient, "NOE^JANE", "CT"
    if sop_class == CT:
        made.Rows = made.Columns = 2
        made.SamplesPerPixel, made.BitsAllocated, made.BitsStored, made.HighBit = 1, 8, 8, 7
        made.PixelRepresentation, made.PhotometricInterpretation = 0, "MONOCHROME2"
        made.add_new(0x7FE00010, "OB", pixels)
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file = io.BytesIO()
    made.save_as(file, enforce_file_format=True)
    octets = MemoryOctets(file.getvalue())
    envelope = split_part10(octets)
    return describe(octets, envelope.dataset_offset, envelope.transfer_syntax, bytes(32)), file.getvalue()


def write(sink: Sink, revision: int, journal: Any, *instances: Made) -> None:
    pack = PackId(study_uid=Uid(instances[0][0].study_uid), revision=revision)
    writer = sink.writer(pack, Container.TAR, 0, journal, journal.row)
    try:
        for facts, part10 in instances:
            writer.add(facts, MemoryOctets(part10))
        writer.finish()
    finally:
        writer.close()


def held(orthanc: OrthancPeer, study: str) -> list[tuple[str, str]]:
    """Patient and instance of everything that the archive holds of the study."""
    found = [pydicom.dcmread(io.BytesIO(got(orthanc, f"/instances/{name}/file"))) for name in listed(orthanc)]
    return sorted((one.PatientID, one.SOPInstanceUID) for one in found if one.StudyInstanceUID == study)


def listed(orthanc: OrthancPeer) -> list[str]:
    return json.loads(got(orthanc, "/instances"))


def got(orthanc: OrthancPeer, path: str) -> bytes:
    connection = HTTPConnection("127.0.0.1", orthanc.http_port, timeout=20)
    connection.request("GET", path)
    body = connection.getresponse().read()
    connection.close()
    return body


@pytest.fixture
def study(request: pytest.FixtureRequest) -> str:
    """A study of this test's own."""
    return f"1.2.840.99.{zlib.crc32(request.node.nodeid.encode()) + 1}"


def test_another_patient_takes_the_place_of_the_first(
    sink: Sink, orthanc: OrthancPeer, kit: SimpleNamespace, study: str
) -> None:
    first = [instance(study, 1, "7"), instance(study, 2, "7"), instance(study, 3, "7", SR)]
    later = [instance(study, 1, "8"), instance(study, 2, "8"), instance(study, 3, "8", SR)]
    write(sink, 1, kit.Journal(), *first)
    journal = kit.Journal()
    journal.earlier = {first[2][0].sop_uid: frozenset({first[2][0].can1})}

    write(sink, 2, journal, *later)
    write(sink, 2, kit.Journal(), *later)

    assert held(orthanc, study) == [("8", f"{study}.1.{number}") for number in (1, 2, 3)]


@pytest.mark.parametrize("other", ["pixels", "report"])
def test_what_is_no_older_version_stays_and_is_a_conflict(
    sink: Sink, orthanc: OrthancPeer, kit: SimpleNamespace, study: str, other: str
) -> None:
    kind = SR if other == "report" else CT
    write(sink, 1, kit.Journal(), instance(study, 1, "7", kind))

    with pytest.raises(AlreadyThere):
        write(sink, 2, kit.Journal(), instance(study, 1, "8", kind, pixels=b"\x09\x09\x09\x09"))

    assert held(orthanc, study) == [("7", f"{study}.1.1")]


def test_the_service_says_whether_it_takes_back(sink: Sink) -> None:
    assert [probe.ok for probe in sink.probe() if probe.what == "takes back"] == [True]
