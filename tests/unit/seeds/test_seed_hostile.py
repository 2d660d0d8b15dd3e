"""Seeds that want to harm whoever receives them. Each is signed by a valid key or altered after signing; each is
refused, and nothing comes to be outside the folder that the receiver named."""

import io
import os
import re
import struct
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import zstandard
from blake3 import blake3

from cluster.seeding.ingest import Ingest
from cluster.seeding.ingest_journal import IngestJournal
from imaging.facts import InstanceFacts
from imaging.uid import Uid
from storage.errors import StorageError
from storage.packs.format import END, PackEncoder, locator_line, member_header
from storage.packs.index import Index, serialise_index
from storage.packs.model import Container, Member, PackId, Receipt
from storage.packs.naming import index_key, member_name, pack_key
from storage.seeds.lines import line_of
from storage.seeds.manifest import end_line, packs_head
from storage.seeds.merkle import MerkleRoot
from storage.seeds.opening import open_seed
from storage.seeds.seal import SEAL
from storage.sinks.device import PAYLOAD

CONTENT = b"DICM of a study" * 40
PACK = PackId(study_uid=Uid("1.2.840.9"), revision=1)
BOMB = 64 << 20
"""Bytes that some of these unfold to where the index says 1,024."""


def facts(number: int, content: bytes = CONTENT, **changes: Any) -> InstanceFacts:
    digest = blake3(content).digest()
    known = InstanceFacts(
        study_uid=PACK.study_uid,
        series_uid=Uid("1.2.840.9.0"),
        sop_uid=Uid(f"1.2.840.9.{number}"),
        sop_class=Uid("1.2.840.10008.5.1.4.1.1.2"),
        transfer_syntax=Uid("1.2.840.10008.1.2.4.70"),
        raw_size=len(content),
        sto_size=len(content),
        raw1=digest,
        sto1=digest,
        pd1=digest,
        can1=digest,
    )
    return replace(known, **changes)


def padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % 512)


def header_of(number: int = 2, **changes: Any) -> bytes:
    """An instance's tar header with some fields changed, as tarfile writes it."""
    info = tarfile.TarInfo(member_name(Uid(f"1.2.840.9.{number}")))
    info.size = len(CONTENT)
    for name, value in changes.items():
        setattr(info, name, value)
    return info.tobuf(format=tarfile.GNU_FORMAT)


def block(at: int, value: bytes) -> Callable[[], bytes]:
    """The header with these bytes in place of its own, and a sum that is right again."""

    def make() -> bytes:
        header = bytearray(member_header(member_name(Uid("1.2.840.9.2")), len(CONTENT)))
        header[at : at + len(value)] = value
        header[148:156] = b" " * 8
        header[148:156] = b"%06o\0 " % sum(header)
        return bytes(header)

    return make


def pax(name: str, value: str) -> bytes:
    info = tarfile.TarInfo(member_name(Uid("1.2.840.9.2")))
    info.size = len(CONTENT)
    info.pax_headers = {name: value}
    return info.tobuf(format=tarfile.PAX_FORMAT)


def tar_of(
    second: bytes, *, tail: Callable[[bytes], bytes] = lambda tail: tail, body: bytes = padded(CONTENT)
) -> bytes:
    """A tar of two instances whose second member is preceded by `second`; index and locator fit to it."""
    body = padded(CONTENT)
    first = member_header(member_name(Uid("1.2.840.9.1")), len(CONTENT)) + body
    members = (
        Member(facts=facts(1), offset=0, length=len(first), lead=512),
        Member(facts=facts(2), offset=len(first), length=len(second) + len(body), lead=len(second)),
    )
    end = b"".join(PackEncoder(PACK, Container.TAR, members).finish())
    return first + second + body + tail(end)


HEADERS: dict[str, Callable[[], bytes]] = {
    "a path out of the folder": lambda: header_of(name="../../../../etc/cron.d/limosa"),
    "an absolute path": lambda: header_of(name="/etc/passwd"),
    "a path that goes up inside": lambda: header_of(name="instances/../../x.dcm"),
    "a path with backslashes": lambda: header_of(name="instances\\..\\..\\x.dcm"),
    "a drive letter": lambda: header_of(name="C:/x.dcm"),
    "another member's name": lambda: header_of(1),
    "an empty name": lambda: header_of(name=""),
    "a name in upper case": lambda: header_of(name="INSTANCES/1.2.840.9.2.DCM"),
    "a name with a line break": lambda: header_of(name="instances/1.2\n.dcm"),
    "a symbolic link": lambda: header_of(type=tarfile.SYMTYPE, linkname="/etc/passwd"),
    "a hard link": lambda: header_of(type=tarfile.LNKTYPE, linkname="instances/1.2.840.9.1.dcm"),
    "a folder": lambda: header_of(type=tarfile.DIRTYPE),
    "a pipe": lambda: header_of(type=tarfile.FIFOTYPE),
    "a character device": lambda: header_of(type=tarfile.CHRTYPE),
    "a block device": lambda: header_of(type=tarfile.BLKTYPE),
    "a sparse file": lambda: header_of(type=tarfile.GNUTYPE_SPARSE),
    "a type nobody knows": block(156, b"Z"),
    "a set-user-id mode": lambda: header_of(mode=0o4755),
    "an owner": lambda: header_of(uname="root", uid=0, gname="root"),
    "a size beyond the pack": lambda: header_of(size=1 << 40),
    "a negative size": block(124, b"\xff" * 12),
    "a size of eight exabytes": block(124, b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff"),
    "a smaller size": lambda: header_of(size=1),
    "a sum that is wrong": lambda: header_of()[:148] + b"000000\0 " + header_of()[156:],
    "a long name of GNU tar": lambda: header_of(name="instances/" + "../" * 50 + "etc/x"),
    "a path by PAX": lambda: pax("path", "../../etc/x"),
    "a link by PAX": lambda: pax("linkpath", "/etc/passwd"),
    "a size by PAX": lambda: pax("size", "1"),
    "a file before it": lambda: header_of(name="evil.sh") + padded(CONTENT) + header_of(),
}


def frame(plain: bytes, **settings: Any) -> bytes:
    return zstandard.ZstdCompressor(level=1, **settings).compress(plain)


def zst_of(second: bytes, *, tail: bytes = b"") -> bytes:
    """A tar.zst of two instances, the second one's frame as given; index and locator fit to it."""
    head = member_header(member_name(Uid("1.2.840.9.1")), len(CONTENT))
    first = frame(head + padded(CONTENT))
    members = (
        Member(facts=facts(1), offset=0, length=len(first), lead=512),
        Member(facts=facts(2), offset=len(first), length=len(second), lead=512),
    )
    body = serialise_index(Index(pack=PACK, container=Container.TAR_ZST, members=members))
    body = body[:-1].ljust(len(body) - 1 + -len(body) % 512) + b"\n"
    index = frame(member_header("index.jsonl", len(body)) + body)
    at = len(first) + len(second)
    locator = locator_line(at, len(index), 512, len(body))
    return first + second + index + frame(END) + tail + struct.pack("<II", 0x184D2A50, 512) + locator


GOOD = member_header(member_name(Uid("1.2.840.9.2")), len(CONTENT)) + padded(CONTENT)


def large_window() -> bytes:
    """A frame that asks whoever unfolds it for 2 GiB of memory."""
    window = zstandard.ZstdCompressionParameters(window_log=30, write_content_size=False)
    made = zstandard.ZstdCompressor(compression_params=window).compressobj()
    return made.compress(GOOD) + made.flush()


FRAMES: dict[str, Callable[[], bytes]] = {
    "a bomb of zeros": lambda: frame(bytes(BOMB)),
    "a bomb behind the instance": lambda: frame(GOOD + bytes(BOMB)),
    "a bomb in a second frame": lambda: frame(GOOD) + frame(bytes(BOMB)),
    "a hidden member in a second frame": lambda: frame(GOOD) + frame(header_of(name="evil.sh") + padded(CONTENT)),
    "a frame that is cut off": lambda: frame(GOOD)[:-20],
    "a frame that lacks its last byte": lambda: frame(GOOD)[:-1],
    "no frame at all": lambda: b"x" * 100,
    "bytes behind the frame": lambda: frame(GOOD) + b"garbage",
    "a window of a gigabyte": large_window,
    "a frame of nothing": lambda: frame(b""),
    "a gzip": lambda: bytes.fromhex("1f8b0800000000000003") + b"x" * 100,
    "another instance's bytes": lambda: frame(GOOD.replace(b"DICM", b"MCID")),
    "padding that says something": lambda: frame(GOOD[:-4] + b"evil"),
}


def beside_of(raw: bytes, container: Container) -> bytes:
    """The index that the pack itself holds, as it lies beside it; something that is none where it holds none."""
    plain = raw
    if container is Container.TAR_ZST:
        try:
            plain = zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True).read()
        except zstandard.ZstdError:
            # Damaged in the middle: the index has a frame of its own.
            start = raw.rfind(zstandard.FRAME_HEADER, 0, raw.rfind(zstandard.FRAME_HEADER))
            plain = zstandard.ZstdDecompressor().stream_reader(raw[start:], read_across_frames=True).read()
    found = INDEX.search(plain)
    return found[1] + b"\n" if found else b"{}\n"


INDEX = re.compile(rb'(\{"format":"limosa-index".*\{"end":\d+,"blake3":"[0-9a-f]{64}"\})', re.DOTALL)


def put(kit: Any, raw: bytes, container: Container) -> None:
    """The bytes are a pack on the device, with the index beside it that it holds itself."""
    key = pack_key(PACK, container, PAYLOAD)
    path, beside = kit.root / key, kit.root / index_key(PACK, PAYLOAD)
    for each in (path, beside):
        each.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(raw)
    beside.write_bytes(beside_of(raw, container))
    kit.receipts[PACK] = Receipt(key=key, container=container, size=len(raw), crc64=0)


def outside(folder: Path, *own: Path) -> set[str]:
    return {str(path) for path in folder.rglob("*") if not any(path.is_relative_to(each) for each in own)}


def assert_refused(kit: Any, note: str, folder: Path) -> str:
    """Nothing of it would be used, and nothing was written outside the state folder; what was said."""
    state = folder / "state"
    state.mkdir()
    before = outside(folder, state)
    journal = IngestJournal(state / "journal.jsonl", "0" * 64, "s3://images")
    try:
        opened = open_seed(kit.root, note, kit.key.verifier, state)
        found = list(Ingest(opened, journal, "").examine(lambda octets: None))
        said = "; ".join(f"{each.key} {each.what} {' '.join(each.instances)}" for each in found)
        assert found, "it was taken"
    except StorageError as error:
        said = str(error)
    finally:
        journal.close()
    assert outside(folder, state) == before
    return said


@pytest.mark.parametrize("trick", HEADERS)
def test_a_tar_with_a_hostile_member_is_refused_although_it_is_signed(trick: str, seed: Any, tmp_path: Path) -> None:
    put(seed, tar_of(HEADERS[trick]()), Container.TAR)
    _, note = seed.seal()

    said = assert_refused(seed, note, tmp_path)

    assert "1.2.840.9.2" in said and pack_key(PACK, Container.TAR, PAYLOAD) in said


@pytest.mark.parametrize("trick", FRAMES)
def test_a_frame_that_is_not_what_the_index_says_is_refused(trick: str, seed: Any, tmp_path: Path) -> None:
    put(seed, zst_of(FRAMES[trick]()), Container.TAR_ZST)
    _, note = seed.seal()

    said = assert_refused(seed, note, tmp_path)

    assert "1.2.840.9.2" in said


def hidden() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        info = tarfile.TarInfo("../../evil.sh")
        info.size = 4
        tar.addfile(info, io.BytesIO(b"evil"))
    return file.getvalue()


TAILS: dict[str, Callable[[], tuple[bytes, Container]]] = {
    "a second tar behind the end": lambda: (tar_of(header_of(), tail=lambda end: end + hidden()), Container.TAR),
    "no end blocks": lambda: (tar_of(GOOD[:512], tail=lambda end: end[:-1024]), Container.TAR),
    "a member behind the index": lambda: (tar_of(GOOD[:512], tail=lambda end: end[:-1024] + hidden()), Container.TAR),
    "a hidden tar in a frame": lambda: (zst_of(frame(GOOD), tail=frame(hidden())), Container.TAR_ZST),
    "a bomb behind the end": lambda: (zst_of(frame(GOOD), tail=frame(bytes(BOMB))), Container.TAR_ZST),
    "nothing": lambda: (b"\0", Container.TAR),
    "zeros": lambda: (bytes(4096), Container.TAR),
    "only an end": lambda: (frame(END), Container.TAR_ZST),
}


@pytest.mark.parametrize("trick", TAILS)
def test_what_stands_behind_the_instances_is_held_to_as_well(trick: str, seed: Any, tmp_path: Path) -> None:
    raw, container = TAILS[trick]()
    put(seed, raw, container)
    _, note = seed.seal()

    said = assert_refused(seed, note, tmp_path)

    assert "tar end or what is behind it" in said or "index cannot be read" in said


def index_with(**changes: Any) -> bytes:
    """A tar's bytes whose index says something else of its second member."""
    raw = tar_of(GOOD[:512])
    member = Member(facts=facts(2), offset=1536, length=1536, lead=512)
    fields = {name: changes[name] for name in changes if name in ("offset", "length", "lead")}
    told = replace(
        member, facts=replace(member.facts, **{k: v for k, v in changes.items() if k not in fields}), **fields
    )
    members = (Member(facts=facts(1), offset=0, length=1536, lead=512), told)
    end = b"".join(PackEncoder(PACK, Container.TAR, members).finish())
    return raw[:3072] + end


INDEXES: dict[str, Callable[[], bytes]] = {
    "an instance twice": lambda: index_with(sop_uid=Uid("1.2.840.9.1")),
    "a name out of the folder": lambda: index_with(sop_uid="../../../etc/passwd"),
    "members that overlap": lambda: index_with(offset=512),
    "a member beyond the end": lambda: index_with(length=1 << 40),
    "an absurd size": lambda: index_with(sto_size=1 << 62),
    "a lead beyond the member": lambda: index_with(lead=1 << 30, length=(1 << 30) + 4096),
    "a digest of nothing": lambda: index_with(sto1=bytes(32)),
}


@pytest.mark.parametrize("trick", INDEXES)
def test_an_index_that_lies_is_refused(trick: str, seed: Any, tmp_path: Path) -> None:
    put(seed, INDEXES[trick](), Container.TAR)
    _, note = seed.seal()

    assert_refused(seed, note, tmp_path)


def row(**changes: Any) -> bytes:
    value = {
        "key": pack_key(PACK, Container.TAR, PAYLOAD), "study_uid": "1.2.840.9", "revision": 1, "container": "tar",
        "size": 1, "crc64": "0" * 16, "sha256": "0" * 64, "blake3": "0" * 64, "instances": 1, "index_size": 1,
        "index_sha256": "0" * 64,
    }  # fmt: skip
    return line_of(value | changes)


LISTS: dict[str, Callable[[bytes], list[bytes]]] = {
    "a key out of the device": lambda good: [row(key="../../../etc/shadow")],
    "a key elsewhere on it": lambda good: [row(key="limosa/seal.txt")],
    "a study out of the folder": lambda good: [row(study_uid="../..")],
    "a pack twice": lambda good: [good, good],
    "packs out of order": lambda good: [good, row()] if row() < good else [row(), good],
    "a revision of nothing": lambda good: [row(revision=0)],
    "a container nobody knows": lambda good: [row(container="zip")],
    "loose files": lambda good: [row(container="p10")],
    "an absurd size": lambda good: [row(size=1 << 70)],
    "a negative size": lambda good: [row(size=-1)],
    "a size that is true": lambda good: [row(size=True)],
    "one field more": lambda good: [row(evil=1)],
    "no JSON": lambda good: [b"evil\n"],
    "JSON that nests for ever": lambda good: [b"[" * 4000 + b"\n"],
    "a line without end": lambda good: [b"x" * 10_000],
    "something behind its end": lambda good: [good, end_line(1), good],
}


@pytest.mark.parametrize("trick", LISTS)
def test_a_list_that_lies_is_refused_although_it_is_signed(trick: str, seed: Any, tmp_path: Path) -> None:
    seed.write(1, [1000])
    seal, _ = seed.seal()
    path = seed.root / "limosa" / "packs.jsonl"
    good = path.read_bytes().splitlines(keepends=True)[1]
    lines = LISTS[trick](good)
    path.write_bytes(b"".join([packs_head(seal.device), *lines, end_line(len(lines))]))
    tree = MerkleRoot()
    for line in lines:
        tree.add(line[:-1])
    forged = replace(seal, packs=len(lines), root=tree.root(), packs_sha256=seed.sha256(path))
    note = forged.signed(seed.key)
    (seed.root / SEAL).write_text(note)

    assert_refused(seed, note, tmp_path)


def swap(kit: Any, make: Callable[[Path], None]) -> None:
    """Something else is in place of the first pack."""
    path = kit.path(next(iter(kit.receipts.values())))
    path.unlink()
    make(path)


def link_folder(kit: Any) -> None:
    studies = kit.root / "data" / "studies"
    studies.rename(kit.root.parent / "elsewhere")
    studies.symlink_to(kit.root.parent / "elsewhere")


TREES: dict[str, Callable[[Any], Any]] = {
    "a link at a pack": lambda kit: swap(kit, lambda path: path.symlink_to("/etc/passwd")),
    "a pipe at a pack": lambda kit: swap(kit, os.mkfifo),
    "a folder at a pack": lambda kit: swap(kit, lambda path: path.mkdir()),
    "no pack": lambda kit: swap(kit, lambda path: None),
    "a pack of a byte more": lambda kit: kit.path(next(iter(kit.receipts.values()))).open("ab").write(b"\0"),
    "a link at a folder": link_folder,
    "a link beside the packs": lambda kit: (kit.root / "data" / "x").symlink_to("/etc"),
    "a file nobody sealed": lambda kit: (kit.root / "data" / "index" / "evil.jsonl").write_bytes(b"evil"),
    "a program nobody sealed": lambda kit: (kit.root / "limosa" / "autorun.inf").write_bytes(b"evil"),
    "a second name of a pack": lambda kit: (kit.root.parent / "name").hardlink_to(
        kit.path(next(iter(kit.receipts.values())))
    ),
    "no seal": lambda kit: (kit.root / SEAL).unlink(),
    "another seal": lambda kit: (kit.root / SEAL).write_text("evil"),
    "no list": lambda kit: (kit.root / "limosa/packs.jsonl").unlink(),
    "a list that grows": lambda kit: (kit.root / "limosa/packs.jsonl").open("ab").write(b"x" * 100_000),
    "another list of instances": lambda kit: (kit.root / "limosa/instances.jsonl.zst").write_bytes(frame(bytes(BOMB))),
    "a link at the list": lambda kit: (
        (kit.root / "limosa/packs.jsonl").rename(kit.root.parent / "list"),
        (kit.root / "limosa/packs.jsonl").symlink_to(kit.root.parent / "list"),
    ),
    "another label": lambda kit: (kit.root / "limosa/device.json").write_text(
        (kit.root / "limosa/device.json").read_text().replace(kit.device.id, "0" * 32)
    ),
    "no label": lambda kit: (kit.root / "limosa/device.json").unlink(),
}


@pytest.mark.parametrize("trick", TREES)
def test_a_device_that_was_altered_after_sealing_is_refused(trick: str, loaded: Any, tmp_path: Path) -> None:
    _, note = loaded.seal()
    TREES[trick](loaded)

    assert_refused(loaded, note, tmp_path)


@pytest.mark.parametrize(
    ("make", "container"),
    [(lambda: tar_of(GOOD[:512]), Container.TAR), (lambda: zst_of(frame(GOOD)), Container.TAR_ZST)],
    ids=["tar", "tar.zst"],
)
def test_honest_seeds_are_taken_by_the_same_judge(
    make: Callable[[], bytes], container: Container, loaded: Any, tmp_path: Path
) -> None:
    put(loaded, make(), container)
    _, note = loaded.seal()

    with pytest.raises(AssertionError, match="it was taken"):
        assert_refused(loaded, note, tmp_path)
