"""TLS from the job file's settings: real peers get through with the right certificates, nobody else does."""

import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pydicom
import pytest
from pydantic import ValidationError
from pydicom.data import get_testdata_file
from pynetdicom import AE, build_context

from actors.destination_options import DimseOptions as DimseDestination
from actors.dimse.receiver import Receiver
from actors.dimse.scu import DimseSource
from actors.dimse.sink import DimseSink
from actors.dimse.tls import receiver_context, requestor_context
from actors.options import DimseSource as DimseOptions
from actors.options import Receiver as ReceiverOptions
from actors.options import TlsOptions
from actors.source import FindEnd, MoveEnd, MoveTarget, SourceUnreachable, StudyWindow
from imaging.digests import raw1
from imaging.instance import describe
from imaging.octets import MemoryOctets
from imaging.part10 import split_part10
from infra.simulator.peers import OrthancPeer
from storage.budget import MemoryBudget
from storage.errors import Rejected, Retryable
from storage.sinks.service import Outgoing
from storage.spool import LandingPlace, Spool


@dataclass(frozen=True)
class Papers:
    """A certificate for 127.0.0.1, its key, and the authority that signed it."""

    certificate: Path
    key: Path
    ca: Path

    def options(self, **changes: Path | None) -> TlsOptions:
        return TlsOptions.model_validate({"certificate": self.certificate, "key": self.key, "ca": self.ca, **changes})


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


def made_papers(folder: Path, name: str = "IP:127.0.0.1") -> Papers:
    folder.mkdir(exist_ok=True)
    ca, ca_key = folder / "ca.pem", folder / "ca.key"
    certificate, key, request = folder / "own.pem", folder / "own.key", folder / "own.csr"
    new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    openssl("req", "-x509", *new_key, "-days", "2", "-subj", "/CN=authority", "-keyout", str(ca_key), "-out", str(ca))
    openssl("req", *new_key, "-subj", "/CN=pacs", "-keyout", str(key), "-out", str(request))
    extensions = folder / "extensions"
    extensions.write_text(f"subjectAltName={name}\n")
    signing = ["x509", "-req", "-days", "2", "-in", str(request), "-CA", str(ca), "-CAkey", str(ca_key)]
    openssl(*signing, "-CAcreateserial", "-extfile", str(extensions), "-out", str(certificate))
    return Papers(certificate, key, ca)


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Papers:
    return made_papers(tmp_path_factory.mktemp("papers"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Papers:
    return made_papers(tmp_path_factory.mktemp("stranger"))


@pytest.fixture
def receiver(papers: Papers, tmp_path: Path) -> Iterator[Receiver]:
    place = LandingPlace(Spool(tmp_path / "spool"), MemoryBudget(64 << 20), 8 << 20)
    options = ReceiverOptions(ae_title="LIMOSA", port=free_port(), tls=papers.options())
    assert options.tls is not None
    receiver = Receiver(options, place.open, lambda incoming: 0, tls=receiver_context(options.tls))
    receiver.start()
    yield receiver
    assert receiver.stop(timedelta(seconds=5))


@pytest.fixture
def archive(papers: Papers, wait_until: Callable[..., None], tmp_path: Path) -> Iterator[int]:
    """A dcmtk peer that answers C-ECHO over TLS to callers with a certificate of its authority."""
    port = free_port()
    command = ["storescp", "+B", "+tls", str(papers.key), str(papers.certificate), "+cf", str(papers.ca), str(port)]
    with (tmp_path / "storescp.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=tmp_path)

    def listens() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    try:
        wait_until(listens, what="storescp")
        yield port
    finally:
        process.terminate()
        process.wait(10)


def source(port: int, tls: TlsOptions | None, host: str = "127.0.0.1") -> DimseSource:
    return DimseSource(DimseOptions(host=host, port=port, ae_title="ANY", tls=tls))


@pytest.mark.peer("dcmtk")
def test_a_dcmtk_sender_with_the_right_certificate_delivers(receiver: Receiver, papers: Papers) -> None:
    tls = ["+tls", str(papers.key), str(papers.certificate), "+cf", str(papers.ca)]
    command = ["storescu", *tls, "-aec", "LIMOSA", "127.0.0.1", str(receiver.port)]

    done = subprocess.run([*command, get_testdata_file("MR_small.dcm")], capture_output=True, timeout=60)

    assert done.returncode == 0, done.stderr
    assert (receiver.stats.instances, receiver.stats.rejected) == (1, {})


@pytest.mark.peer("dcmtk")
@pytest.mark.parametrize(
    ("profile", "delivered"),
    [("--profile-bcp195", 1), ("--profile-bcp195-nd", 1), ("--profile-bcp195-ex", 1), ("--profile-aes", 0)],
)
def test_dcmtks_bcp_195_profiles_get_through_and_the_retired_one_does_not(
    receiver: Receiver, papers: Papers, profile: str, delivered: int
) -> None:
    tls = ["+tls", str(papers.key), str(papers.certificate), "+cf", str(papers.ca), profile]
    command = ["storescu", *tls, "-aec", "LIMOSA", "127.0.0.1", str(receiver.port)]

    subprocess.run([*command, get_testdata_file("MR_small.dcm")], capture_output=True, timeout=60)

    assert receiver.stats.instances == delivered


@pytest.mark.peer("dcmtk")
@pytest.mark.parametrize("caller", ["plain", "without a certificate", "of another authority"])
def test_a_sender_without_the_right_certificate_delivers_nothing(
    receiver: Receiver, papers: Papers, stranger: Papers, caller: str, wait_until: Callable[..., None]
) -> None:
    tls = {
        "plain": [],
        "without a certificate": ["+tla", "-ic"],
        "of another authority": ["+tls", str(stranger.key), str(stranger.certificate), "+cf", str(papers.ca)],
    }[caller]
    command = ["storescu", *tls, "-to", "5", "-aec", "LIMOSA", "127.0.0.1", str(receiver.port)]

    done = subprocess.run([*command, get_testdata_file("MR_small.dcm")], capture_output=True, timeout=60)

    assert done.returncode != 0
    wait_until(lambda: receiver.stats.rejected["tls"] == 1)
    assert receiver.stats.associations == 0


@pytest.mark.peer("dcmtk")
def test_a_dcmtk_archive_is_asked_over_tls_again_and_again(archive: int, papers: Papers) -> None:
    asking = source(archive, papers.options())

    asking.echo()
    kept = asking._conversation
    asking.echo()

    assert asking._conversation is kept
    asking.close()


@pytest.mark.parametrize(
    ("ours", "said"),
    [
        ("of another authority", "does not accept our certificate"),
        ("none", "does not accept our certificate"),
        ("no trust in theirs", "the certificate of .* is not accepted: .*certificate"),
    ],
)
def test_a_certificate_in_the_way_is_named(
    receiver: Receiver, papers: Papers, stranger: Papers, ours: str, said: str
) -> None:
    tls = {
        "of another authority": stranger.options(ca=papers.ca),
        "none": TlsOptions(ca=papers.ca),
        "no trust in theirs": papers.options(ca=stranger.ca),
    }[ours]

    with pytest.raises(SourceUnreachable, match=said) as refusal:
        source(receiver.port, tls).echo()

    assert refusal.value.permanent
    assert not refusal.value.refused


def test_an_archive_without_tls_is_named_as_such(papers: Papers) -> None:
    with socket.create_server(("127.0.0.1", 0)) as plain:

        def answer() -> None:
            connection, _ = plain.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"\x07\0\0\0\0\4\0\0\2\0")

        answering = threading.Thread(target=answer)
        answering.start()
        with pytest.raises(SourceUnreachable, match="does not speak TLS as we do") as refusal:
            source(plain.getsockname()[1], papers.options()).echo()
        answering.join(10)

    assert refusal.value.permanent


def test_a_pynetdicom_sender_with_the_right_certificate_delivers(receiver: Receiver, papers: Papers) -> None:
    dataset, entity = pydicom.dcmread(get_testdata_file("MR_small.dcm")), AE(ae_title="PACS")
    entity.requested_contexts = [build_context(dataset.SOPClassUID, dataset.file_meta.TransferSyntaxUID)]
    theirs = requestor_context(papers.options())

    association = entity.associate("127.0.0.1", receiver.port, ae_title="LIMOSA", tls_args=(theirs, "127.0.0.1"))
    status = association.send_c_store(dataset)
    association.release()

    assert status.Status == 0
    assert receiver.stats.instances == 1


@pytest.mark.peer("orthanc")
def test_orthanc_is_asked_and_sends_over_tls_with_certificates_on_both_sides(
    receiver: Receiver, papers: Papers, tmp_path: Path
) -> None:
    limosa = {"AET": "LIMOSA", "Host": "127.0.0.1", "Port": receiver.port, "UseDicomTls": True}
    peer = OrthancPeer(
        tmp_path / "orthanc",
        DicomModalities={"LIMOSA": limosa},
        DicomTlsEnabled=True,
        DicomTlsCertificate=str(papers.certificate),
        DicomTlsPrivateKey=str(papers.key),
        DicomTlsTrustedCertificates=str(papers.ca),
        DicomTlsRemoteCertificateRequired=True,
    )
    with peer:
        assert peer.load([Path(str(get_testdata_file("MR_small.dcm")))])
        options = DimseOptions(host="127.0.0.1", port=peer.port, ae_title=peer.ae, tls=papers.options())
        asking = DimseSource(options)

        found = asking.find_studies(StudyWindow())
        outcome = asking.retrieve(MoveTarget(study_uid=found.studies[0].study_uid), "LIMOSA", lambda: False)
        asking.close()
        with pytest.raises(SourceUnreachable):
            source(peer.port, None).echo()

    assert (found.end, outcome.end) == (FindEnd.SUCCESS, MoveEnd.SUCCESS)
    assert (receiver.stats.instances, receiver.stats.rejected) == (1, {})


@pytest.mark.peer("dcmtk")
def test_an_archive_that_is_not_trusted_or_does_not_trust_us_is_not_asked(
    archive: int, papers: Papers, stranger: Papers
) -> None:
    for tls in (papers.options(ca=stranger.ca), papers.options(ca=None), TlsOptions(ca=papers.ca), None):
        with pytest.raises(SourceUnreachable):
            source(archive, tls).echo()


def test_a_certificate_for_another_host_is_refused(receiver: Receiver, papers: Papers) -> None:
    with pytest.raises(SourceUnreachable, match="certificate of localhost") as refusal:
        source(receiver.port, papers.options(), host="localhost").echo()

    assert refusal.value.permanent


def test_files_that_cannot_be_used_are_named_and_nothing_is_asked_at_a_prompt(papers: Papers, tmp_path: Path) -> None:
    locked = tmp_path / "locked.key"
    openssl("ec", "-in", str(papers.key), "-aes256", "-passout", "pass:secret", "-out", str(locked))

    for tls, named in (
        (papers.options(key=locked), papers.certificate),
        (papers.options(certificate=tmp_path / "gone.pem"), tmp_path / "gone.pem"),
        (papers.options(ca=papers.key), papers.key),
    ):
        with pytest.raises(SourceUnreachable) as failure:
            source(free_port(), tls).echo()
        with pytest.raises(OSError, match="cannot be used for TLS"):
            receiver_context(tls)
        assert str(named) in str(failure.value)


@pytest.mark.parametrize("make", [receiver_context, requestor_context])
def test_only_what_bcp_195_recommends_is_spoken(papers: Papers, make: Callable[[TlsOptions], ssl.SSLContext]) -> None:
    context = make(papers.options())

    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.verify_mode is ssl.CERT_REQUIRED
    ciphers = context.get_ciphers()
    assert all(cipher["aead"] for cipher in ciphers)
    assert {cipher["kea"] for cipher in ciphers} == {"kx-any", "kx-ecdhe"}


def test_settings_that_make_no_sense_are_refused(papers: Papers) -> None:
    for tls in ({"key": papers.key}, {"certificate": "own.pem"}, {"cert": papers.certificate}):
        with pytest.raises(ValidationError):
            TlsOptions.model_validate(tls)
    with pytest.raises(ValidationError, match="certificate"):
        ReceiverOptions(ae_title="LIMOSA", port=104, tls=TlsOptions(ca=papers.ca))


# Sending to an archive


def sink(port: int, tls: TlsOptions | None) -> DimseSink:
    address = {"name": "vna", "host": "127.0.0.1", "port": port, "ae_title": "ANY", "tls": tls}
    return DimseSink(DimseDestination.model_validate(address | {"dicomweb": {"url": "http://127.0.0.1:9/never-asked"}}))


def mr() -> Outgoing:
    octets = MemoryOctets(Path(str(get_testdata_file("MR_small.dcm"))).read_bytes())
    envelope = split_part10(octets)
    digest = raw1(octets, envelope.dataset_offset, envelope.transfer_syntax)
    facts = describe(
        octets, dataset_offset=envelope.dataset_offset, transfer_syntax=envelope.transfer_syntax, raw1=digest
    )
    return Outgoing(facts=facts, part10=octets)


@pytest.mark.peer("dcmtk")
def test_an_archive_is_written_over_tls_byte_for_byte(archive: int, papers: Papers, tmp_path: Path) -> None:
    outgoing = mr()

    sink(archive, papers.options()).send(outgoing, first=True)

    [file] = (path for path in tmp_path.iterdir() if path.name.startswith("MR"))
    stored = MemoryOctets(file.read_bytes())
    envelope = split_part10(stored)
    assert raw1(stored, envelope.dataset_offset, envelope.transfer_syntax) == outgoing.facts.raw1


@pytest.mark.peer("dcmtk")
def test_an_archive_that_is_not_trusted_or_does_not_trust_us_is_written_nothing(
    archive: int, papers: Papers, stranger: Papers, tmp_path: Path
) -> None:
    for tls in (papers.options(ca=stranger.ca), stranger.options(ca=papers.ca), TlsOptions(ca=papers.ca), None):
        with pytest.raises((Rejected, Retryable), match=f"ANY@127.0.0.1:{archive}"):
            sink(archive, tls).send(mr(), first=True)

    assert [path for path in tmp_path.iterdir() if path.name.startswith("MR")] == []


def test_a_certificate_that_cannot_be_read_is_named_before_anything_is_sent(papers: Papers, tmp_path: Path) -> None:
    with pytest.raises(Rejected, match=r"gone\.pem"):
        sink(free_port(), papers.options(certificate=tmp_path / "gone.pem"))
