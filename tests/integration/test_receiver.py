"""Real senders deliver to the receiver: every byte arrives, quickly, whatever the class, syntax or toolkit."""

import os
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.uid import generate_uid
from pynetdicom import AE, build_context

from actors.dimse.handover import HandoverClient, HandoverFailed, HandoverServer
from actors.dimse.incoming import Incoming, InstanceHandler
from actors.dimse.negotiation import EXPLICIT_LE, IMPLICIT_LE
from actors.dimse.receiver import Receiver
from actors.dimse.store import StoreConversation, StoredAs, StoreEnd
from actors.options import Receiver as ReceiverOptions
from actors.source import SourceUnreachable
from imaging.digests import raw1
from imaging.octets import MemoryOctets
from imaging.part10 import encode_meta
from storage.budget import MemoryBudget
from storage.spool import LandingPlace, Spool

CT = "1.2.840.10008.5.1.4.1.1.2"
FILES = {
    "explicit": ("CT_small.dcm", "1.2.840.10008.1.2.1"),
    "implicit": ("rtplan.dcm", "1.2.840.10008.1.2"),
    "jpeg 2000": ("JPEG2000.dcm", "1.2.840.10008.1.2.4.91"),
    "rle": ("MR_small_RLE.dcm", "1.2.840.10008.1.2.5"),
    "big endian": ("MR_small_bigendian.dcm", "1.2.840.10008.1.2.2"),
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Catch:
    """A handler that keeps what it got."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.last: Incoming | None = None

    def __call__(self, incoming: Incoming) -> int:
        part10 = incoming.part10
        assert incoming.raw1 == raw1(part10, incoming.dataset_offset, incoming.transfer_syntax)
        octets = b"".join(bytes(part10.read(at, 1 << 20)) for at in range(0, part10.size, 1 << 20))
        self.files[incoming.sop_uid] = octets[incoming.dataset_offset :]
        self.last = incoming
        return 0


@pytest.fixture
def place(tmp_path: Path) -> Iterator[LandingPlace]:
    place = LandingPlace(Spool(tmp_path / "spool"), MemoryBudget(64 << 20), 4 << 20)
    yield place
    assert place.budget.use.used == 0
    assert list(place.spool.folder.iterdir()) == []
    place.spool.close()


@contextmanager
def listening(place: LandingPlace, handler: InstanceHandler, port: int = 0, **more: object) -> Iterator[Receiver]:
    tls = more.pop("tls", None)
    options = ReceiverOptions.model_validate({"ae_title": "LIMOSA", "port": port or free_port(), **more})
    receiver = Receiver(options, place.open, handler, tls=tls)  # type: ignore[arg-type]
    receiver.start()
    try:
        yield receiver
    finally:
        assert receiver.stop(timedelta(seconds=5))


def storescu(port: int, *arguments: str, nagle: str | None = "1") -> None:
    environment = {name: value for name, value in os.environ.items() if name != "TCP_NODELAY"}
    if nagle is not None:
        environment["TCP_NODELAY"] = nagle
    command = ["storescu", "-aec", "LIMOSA", "127.0.0.1", str(port), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def dataset_bytes(path: str | Path) -> bytes:
    with Path(path).open("rb") as file:
        pydicom.filereader.read_preamble(file, force=False)
        pydicom.filereader._read_file_meta_info(file)
        return file.read()


def copies(folder: Path, count: int) -> list[Path]:
    dataset = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    del dataset[0xFFFC, 0xFFFC]  # dcmtk does not send trailing padding
    made = []
    for number in range(count):
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        made.append(folder / f"{number}.dcm")
        dataset.save_as(made[-1])
    return made


@pytest.mark.peer("dcmtk")
def test_dcmtk_instances_arrive_byte_for_byte(place: LandingPlace, tmp_path: Path) -> None:
    catch, files = Catch(), copies(tmp_path, 5)

    with listening(place, catch) as receiver:
        storescu(receiver.port, *map(str, files))
        stats = receiver.stats

    assert sorted(catch.files.values()) == sorted(map(dataset_bytes, files))
    assert (stats.instances, stats.associations, sum(stats.aborted.values())) == (5, 1, 0)
    assert stats.bytes == sum(map(len, catch.files.values()))


@pytest.mark.peer("dcmtk")
def test_a_sender_with_nagle_on_is_not_kept_waiting(place: LandingPlace, tmp_path: Path) -> None:
    catch, files = Catch(), copies(tmp_path, 100)

    with listening(place, catch) as receiver:
        started = time.monotonic()
        storescu(receiver.port, *map(str, files), nagle=None)
        seconds = time.monotonic() - started

    print(f"100 instances of 39 KB with Nagle on: {seconds:.2f} s")
    assert len(catch.files) == 100
    assert seconds < 100 * 0.040 / 2


@pytest.mark.peer("dcmtk")
def test_dcmtk_echo_is_answered(place: LandingPlace) -> None:
    with listening(place, Catch()) as receiver:
        done = subprocess.run(["echoscu", "-aec", "LIMOSA", "127.0.0.1", str(receiver.port)], timeout=20)

    assert done.returncode == 0


@pytest.mark.parametrize("kind", FILES)
def test_every_syntax_is_taken_as_it_is_stored(place: LandingPlace, kind: str) -> None:
    name, syntax = FILES[kind]
    path, catch = get_testdata_file(name), Catch()
    meta = pydicom.filereader.read_file_meta_info(path)
    assert meta.TransferSyntaxUID == syntax

    with listening(place, catch) as receiver:
        sender = StoreConversation(
            host="127.0.0.1",
            port=receiver.port,
            called_ae="LIMOSA",
            calling_ae="PACS",
            pairs=[StoredAs(meta.MediaStorageSOPClassUID, syntax)],
        )
        outcome = sender.send(MemoryOctets(Path(path).read_bytes()))
        sender.close()

    assert outcome.end is StoreEnd.STORED
    assert catch.files == {meta.MediaStorageSOPInstanceUID: dataset_bytes(path)}
    assert catch.last is not None
    assert catch.last.transfer_syntax == syntax


def test_pynetdicom_sends_private_classes_with_move_originator(place: LandingPlace) -> None:
    dataset = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.113619.4.26"
    catch, entity = Catch(), AE(ae_title="PACS")
    entity.requested_contexts = [build_context(dataset.SOPClassUID, EXPLICIT_LE)]

    with listening(place, catch) as receiver:
        association = entity.associate("127.0.0.1", receiver.port, ae_title="LIMOSA")
        assert association.is_established
        from pynetdicom import _config

        _config.UNRESTRICTED_STORAGE_SERVICE = True
        try:
            status = association.send_c_store(dataset, originator_aet="MIGR", originator_id=17)
        finally:
            _config.UNRESTRICTED_STORAGE_SERVICE = False
        association.release()

    assert status.Status == 0
    assert catch.last is not None
    assert (catch.last.move_originator_ae, catch.last.move_originator_id) == ("MIGR", 17)
    assert (catch.last.peer.calling_ae, catch.last.peer.called_ae) == ("PACS", "LIMOSA")


def test_a_large_instance_streams_to_the_spool(place: LandingPlace) -> None:
    pixels = os.urandom(24 << 20)
    sizes: list[tuple[int, int]] = []
    spooled: list[str] = []

    def handler(incoming: Incoming) -> int:
        sizes.append((incoming.part10.size, incoming.dataset_offset))
        spooled.append(type(incoming.part10).__name__)
        assert incoming.raw1 == raw1(incoming.part10, incoming.dataset_offset, incoming.transfer_syntax)
        return 0

    meta = encode_meta(CT, "1.2.3", EXPLICIT_LE)
    with listening(place, handler) as receiver:
        sender = StoreConversation(
            host="127.0.0.1",
            port=receiver.port,
            called_ae="LIMOSA",
            calling_ae="PACS",
            pairs=[StoredAs(CT, EXPLICIT_LE)],
        )
        assert sender.send(MemoryOctets(meta + pixels)).end is StoreEnd.STORED
        sender.close()

    assert sizes == [(len(meta) + len(pixels), len(meta))]
    assert spooled == ["SpoolFile"]
    assert place.budget.use.peak <= 8 << 20


def test_the_handlers_status_is_the_answer(place: LandingPlace) -> None:
    file = MemoryOctets(encode_meta(CT, "1.2.3", EXPLICIT_LE) + bytes(200))

    with listening(place, lambda incoming: 0xA700) as receiver:
        sender = StoreConversation(
            host="127.0.0.1",
            port=receiver.port,
            called_ae="LIMOSA",
            calling_ae="PACS",
            pairs=[StoredAs(CT, EXPLICIT_LE), StoredAs(CT, IMPLICIT_LE)],
        )
        outcome = sender.send(file)
        sender.close()

    assert (outcome.end, outcome.status) == (StoreEnd.BUSY, 0xA700)


def test_addresses_and_callers_outside_the_lists_stay_outside(
    place: LandingPlace, wait_until: Callable[..., None]
) -> None:
    def call(port: int) -> StoreConversation:
        pairs = [StoredAs(CT, EXPLICIT_LE)]
        return StoreConversation(host="127.0.0.1", port=port, called_ae="LIMOSA", calling_ae="PACS", pairs=pairs)

    with listening(place, Catch(), allow=["10.0.0.0/8", "::1"]) as receiver:
        with pytest.raises(SourceUnreachable) as no_address:
            call(receiver.port)
        wait_until(lambda: receiver.stats.rejected["address"] == 1)
    with listening(place, Catch(), callers=["ARCHIVE"]) as receiver, pytest.raises(SourceUnreachable) as no_caller:
        call(receiver.port)
    with listening(place, Catch(), allow=["127.0.0.0/8"], callers=["PACS"]) as receiver:
        call(receiver.port).close()

    assert not no_address.value.refused
    assert no_caller.value.refused


def test_two_receivers_share_a_port_only_when_told_so(place: LandingPlace) -> None:
    with listening(place, Catch(), processes=2) as first, listening(place, Catch(), first.port, processes=2) as second:
        assert first.port == second.port

    with listening(place, Catch()) as alone, pytest.raises(OSError, match="in use"):
        Receiver(ReceiverOptions(ae_title="LIMOSA", port=alone.port), place.open, Catch()).start()


def test_a_stop_lets_the_instance_in_flight_end(place: LandingPlace) -> None:
    inside, proceed = threading.Event(), threading.Event()

    def handler(incoming: Incoming) -> int:
        inside.set()
        assert proceed.wait(10)
        return 0

    file = MemoryOctets(encode_meta(CT, "1.2.3", EXPLICIT_LE) + bytes(200))
    receiver = Receiver(ReceiverOptions(ae_title="LIMOSA", port=free_port()), place.open, handler)
    receiver.start()
    sender = StoreConversation(
        host="127.0.0.1", port=receiver.port, called_ae="LIMOSA", calling_ae="PACS", pairs=[StoredAs(CT, EXPLICIT_LE)]
    )
    ends: list[StoreEnd] = []
    sending = threading.Thread(target=lambda: ends.append(sender.send(file).end))
    sending.start()
    assert inside.wait(10)
    stopping = threading.Thread(target=receiver.stop)
    stopping.start()
    proceed.set()
    stopping.join(10)
    sending.join(10)

    assert ends == [StoreEnd.STORED]
    assert sender.send(file).end is StoreEnd.UNKNOWN
    assert receiver.stats.aborted["stopped"] == 1


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost"
    san = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(path), "-out", str(path) + ".crt"]
    subprocess.run([*command.split(), *san], check=True, capture_output=True)
    path.write_bytes(path.read_bytes() + Path(str(path) + ".crt").read_bytes())
    return path


def test_instances_arrive_over_tls_and_plain_callers_do_not(
    place: LandingPlace, certificate: Path, wait_until: Callable[..., None]
) -> None:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate)
    client = ssl.create_default_context(cafile=str(certificate))
    catch, data = Catch(), os.urandom(3 << 20)
    where = {"host": "127.0.0.1", "called_ae": "LIMOSA", "calling_ae": "PACS", "pairs": [StoredAs(CT, EXPLICIT_LE)]}

    with listening(place, catch, tls=server) as receiver:
        sender = StoreConversation(port=receiver.port, tls=client, **where)  # type: ignore[arg-type]
        outcome = sender.send(MemoryOctets(encode_meta(CT, "1.2.3", EXPLICIT_LE) + data))
        sender.close()
        with pytest.raises(SourceUnreachable):
            StoreConversation(port=receiver.port, **where)  # type: ignore[arg-type]
        wait_until(lambda: receiver.stats.rejected["tls"] == 1)

    assert outcome.end is StoreEnd.STORED
    assert catch.files == {"1.2.3": data}


def test_an_instance_is_handed_to_the_process_that_wants_it(place: LandingPlace, tmp_path: Path) -> None:
    catch, path = Catch(), tmp_path / "handover" / "mover-1"
    server = HandoverServer(path, place.open, catch)
    server.start()
    client = HandoverClient(path)
    statuses: list[int] = []

    def handler(incoming: Incoming) -> int:
        statuses.append(client.offer(incoming))
        return statuses[-1]

    data = [os.urandom(size) for size in (100, 70_000, 6 << 20)]
    with listening(place, handler) as receiver:
        sender = StoreConversation(
            host="127.0.0.1",
            port=receiver.port,
            called_ae="LIMOSA",
            calling_ae="PACS",
            pairs=[StoredAs(CT, EXPLICIT_LE)],
        )
        for number, one in enumerate(data):
            file = MemoryOctets(encode_meta(CT, f"1.2.{number}", EXPLICIT_LE) + one)
            assert sender.send(file).end is StoreEnd.STORED
        sender.close()
    client.close()
    server.stop()

    assert statuses == [0, 0, 0]
    assert [catch.files[f"1.2.{number}"] for number in range(3)] == data
    assert catch.last is not None
    assert (catch.last.peer.calling_ae, catch.last.sop_class) == ("PACS", CT)
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert not path.exists()
    assert catch.last is not None
    with pytest.raises(HandoverFailed):
        client.offer(catch.last)


@pytest.mark.parametrize(
    "octets",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"LMH1\xff\xff\xff\xff",
        b"LMH1\2\0\0\0{}" + bytes(8),
        b"LMH1\2\0\0\0no" + bytes(8),
        b"LMH1\2\0\0\0" + b"[]" + b"\xff" * 8,
    ],
    ids=["http", "absurd header", "empty header", "no json", "no object"],
)
def test_what_is_no_handover_ends_its_connection_only(place: LandingPlace, tmp_path: Path, octets: bytes) -> None:
    path = tmp_path / "handover" / "mover-1"
    server = HandoverServer(path, place.open, Catch())
    server.start()

    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.settimeout(10)
        stranger.connect(str(path))
        stranger.sendall(octets)
        try:
            answer = stranger.recv(100)
        except ConnectionResetError:
            answer = b""

    assert answer == b""
    server.stop()
    assert [thread for thread in threading.enumerate() if thread.name == "handover"] == []


@pytest.mark.parametrize(("size", "count"), [(527_000, 300), (21_000, 1_500)], ids=["CT", "tiny"])
def test_throughput_of_one_association_is_printed(place: LandingPlace, size: int, count: int) -> None:
    file = MemoryOctets(encode_meta(CT, "1.2.3", EXPLICIT_LE) + os.urandom(size))

    with listening(place, lambda incoming: 0) as receiver:
        sender = StoreConversation(
            host="127.0.0.1",
            port=receiver.port,
            called_ae="LIMOSA",
            calling_ae="PACS",
            pairs=[StoredAs(CT, EXPLICIT_LE)],
        )
        started = time.monotonic()
        ends = {sender.send(file).end for _ in range(count)}
        seconds = time.monotonic() - started
        sender.close()

    print(f"{size} bytes: {count * size / seconds / 1e6:.0f} MB/s, {count / seconds:.0f} instances/s, sender included")
    assert ends == {StoreEnd.STORED}
