"""Sending to a PACS: files leave byte for byte as they are stored, or are not sent."""

import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file

from actors.dimse.store import StoreConversation, StoredAs, StoreEnd
from imaging.octets import MemoryOctets
from imaging.part10 import split_part10

NAMES = ("CT_small.dcm", "JPEG2000.dcm", "MR_small_RLE.dcm", "rtplan.dcm")


@contextmanager
def storescp(folder: Path, wait_until: Callable[..., None], *arguments: str) -> Iterator[int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder.mkdir()
    environment = {**os.environ, "TCP_NODELAY": "1"}
    command = ["storescp", "-aet", "PACS", "-od", str(folder), *arguments, str(port)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def answers() -> bool:
        return subprocess.run(["echoscu", "127.0.0.1", str(port)], capture_output=True).returncode == 0

    try:
        wait_until(answers, what="storescp")
        yield port
    finally:
        process.terminate()
        process.wait(10)


def conversation(port: int, files: dict[str, bytes]) -> StoreConversation:
    envelopes = [split_part10(MemoryOctets(octets)) for octets in files.values()]
    pairs = [StoredAs(str(envelope.sop_class), envelope.transfer_syntax) for envelope in envelopes]
    return StoreConversation(host="127.0.0.1", port=port, called_ae="PACS", calling_ae="LIMOSA", pairs=pairs)


def dataset_of(octets: bytes) -> bytes:
    return octets[split_part10(MemoryOctets(octets)).dataset_offset :]


@pytest.fixture
def files() -> dict[str, bytes]:
    return {name: Path(get_testdata_file(name)).read_bytes() for name in NAMES}


@pytest.mark.peer("dcmtk")
def test_files_arrive_as_they_are_stored(
    tmp_path: Path, files: dict[str, bytes], wait_until: Callable[..., None]
) -> None:
    with storescp(tmp_path / "in", wait_until, "+xa", "+B") as port:
        sender = conversation(port, files)
        ends = [sender.send(MemoryOctets(octets)).end for octets in files.values()]
        sender.close()

    arrived = [dataset_of(path.read_bytes()) for path in (tmp_path / "in").iterdir()]
    assert ends == [StoreEnd.STORED] * len(files)
    assert sorted(arrived) == sorted(map(dataset_of, files.values()))


@pytest.mark.peer("dcmtk")
def test_what_the_archive_does_not_take_is_not_sent(
    tmp_path: Path, files: dict[str, bytes], wait_until: Callable[..., None]
) -> None:
    del files["rtplan.dcm"]  # storescp dislikes its content once it decodes it

    with storescp(tmp_path / "in", wait_until) as port:
        sender = conversation(port, files)
        ends = {name: sender.send(MemoryOctets(octets)).end for name, octets in files.items()}
        sender.close()

    assert ends == {
        "CT_small.dcm": StoreEnd.STORED,
        "JPEG2000.dcm": StoreEnd.NO_CONTEXT,
        "MR_small_RLE.dcm": StoreEnd.NO_CONTEXT,
    }


@pytest.mark.peer("dcmtk")
def test_a_lost_association_is_an_unknown_outcome(
    tmp_path: Path, files: dict[str, bytes], wait_until: Callable[..., None]
) -> None:
    with storescp(tmp_path / "in", wait_until, "--abort-after") as port:
        sender = conversation(port, files)
        first = sender.send(MemoryOctets(files["CT_small.dcm"]))
        second = sender.send(MemoryOctets(files["CT_small.dcm"]))
        sender.close()

    assert (first.end, second.end) == (StoreEnd.UNKNOWN, StoreEnd.UNKNOWN)


@pytest.mark.peer("dcmtk")
def test_a_large_file_is_cut_to_what_the_archive_takes(tmp_path: Path, wait_until: Callable[..., None]) -> None:
    source = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    source.PixelData = os.urandom(5_000_000)
    source.save_as(tmp_path / "large.dcm")
    octets = (tmp_path / "large.dcm").read_bytes()

    with storescp(tmp_path / "in", wait_until, "--max-pdu", "4096", "+B") as port:
        sender = conversation(port, {"large": octets})
        end = sender.send(MemoryOctets(octets)).end
        sender.close()

    assert end is StoreEnd.STORED
    assert [dataset_of(path.read_bytes()) for path in (tmp_path / "in").iterdir()] == [dataset_of(octets)]
